// The tensors of one MoE layer, as the checkpoint holds them. Views only: the caller keeps the
// memory alive until Backend::load returns; load packs or copies what it needs. For tensors on a
// device it waits until all that was asked of the device before is done.
#pragma once

#include <vector>

#include <sluice/spec.hpp>
#include <sluice/tensor.hpp>

namespace sluice {

// One matrix [rows, columns] per local expert. Checkpoints store experts either one tensor each or
// stacked; both become this list.
//
// How ExpertSpec::weight_format stores a matrix of R rows and C columns; value times scale is the
// weight. Columns are the inner dimension of the product.
//
//   weight_format       values                       scales
//   bf16, f16           BF16|F16, or F32 [R, C]      – (F32 is rounded to it)
//   f32                 F32 [R, C]                   –
//   fp8_e4m3_tensor     F8_E4M3 [R, C]               F32|BF16 [] or [1]
//   fp8_e4m3_channel    F8_E4M3 [R, C]               F32|BF16 [R] or [R, 1]
//   fp8_e4m3_block128   F8_E4M3 [R, C]               F32|BF16 [ceil(R/128), ceil(C/128)]
//   nvfp4               U8 [R, C/2] or F4 [R, C]     F8_E4M3 [R, C/16], and a global scale
//   mxfp4               U8 [R, C/2] or F4 [R, C]     F8_E8M0|U8 [R, C/32]: 2^(byte - 127)
//   int4                U8 [R, C/2] or I32 [R, C/8]  F32|BF16|F16 [R, C/32] or [R, C/128]
//
// Blocks of gate_up start at its first row, and not anew where gate ends.
// 4-bit values: column 2i in the low nibble, column 2i + 1 in the high one. fp4 is e2m1; nibble n
// of int4 means n - 8. C is a multiple of 16 for nvfp4, of 32 for mxfp4 and int4.
using ExpertMatrices = std::vector<TensorView>;

struct MoeWeights {
  TensorView router_weight;  // [E, H] f32|bf16|f16; needed only to enter from hidden alone
  TensorView router_bias;    // [E] f32|bf16
  TensorView e_score_correction_bias;  // [E] f32|bf16

  // Local experts in local order (semantics of LayerSpec), GEMM 1 rows in gate_up_order, stored as
  // weight_format says above. I is I / tp_size of the spec here, and so is S below. A
  // checkpoint with separate gate and up gives `gate_proj` and `up_proj` [I, H] per expert instead
  // of `gate_up_proj` [2I, H] ([I, H] if not gated); then gate_up_order must be gate_up, and the
  // format one without scales.
  ExpertMatrices gate_up_proj;
  ExpertMatrices gate_proj;
  ExpertMatrices up_proj;
  ExpertMatrices down_proj;  // [H, I]
  TensorView gate_up_bias;   // [local experts, 2I or I] f32|bf16, rows in gate_up_order
  TensorView down_bias;      // [local experts, H] f32|bf16

  // Stored in weight_format; where that one has scales, in F32, BF16 or F16, used as they are.
  TensorView shared_gate_up_proj;  // [2S, H], S = shared_width(spec); rows in gate_up_order
  TensorView shared_gate_proj;     // or separately, as above
  TensorView shared_up_proj;
  TensorView shared_down_proj;    // [H, S]
  TensorView shared_expert_gate;  // [H] or [1, H] f32|bf16|f16

  // Scales of quantised formats, one view per local expert, as in the table above.
  ExpertMatrices gate_up_scale;
  ExpertMatrices down_scale;
  TensorView gate_up_global_scale;  // nvfp4 only: [local experts] f32, multiplies
  TensorView down_global_scale;     // likewise; ModelOpt's weight_scale_2, not its reciprocal
};

// Splits a stacked [experts, rows, columns] tensor into one view per expert; [experts], such as one
// scale each, into scalars [].
ExpertMatrices split_experts(const TensorView& stacked);

// Throws one Error(user) listing every tensor that is missing, superfluous, misshapen or mistyped
// for the spec, or what validate() has against the spec. Every backend may rely on it:
// Backend::load is only called on checked weights.
void check_weights(const MoeSpec& spec, const MoeWeights& weights);

}  // namespace sluice
