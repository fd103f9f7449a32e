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
using ExpertMatrices = std::vector<TensorView>;

struct MoeWeights {
  TensorView router_weight;  // [E, H] f32|bf16|f16; needed only to enter from hidden alone
  TensorView router_bias;    // [E] f32|bf16
  TensorView e_score_correction_bias;  // [E] f32|bf16

  // Local experts in local order (semantics of LayerSpec), GEMM 1 rows in gate_up_order. A
  // checkpoint with separate gate and up gives `gate_proj` and `up_proj` [I, H] per expert instead
  // of `gate_up_proj` [2I, H] ([I, H] if not gated); then gate_up_order must be gate_up.
  ExpertMatrices gate_up_proj;
  ExpertMatrices gate_proj;
  ExpertMatrices up_proj;
  ExpertMatrices down_proj;  // [H, I]
  TensorView gate_up_bias;   // [local experts, 2I] f32|bf16, rows in gate_up_order
  TensorView down_bias;      // [local experts, H] f32|bf16

  TensorView shared_gate_up_proj;  // [2S, H], S = shared_width(spec); rows in gate_up_order
  TensorView shared_gate_proj;     // or separately, as above
  TensorView shared_up_proj;
  TensorView shared_down_proj;    // [H, S]
  TensorView shared_expert_gate;  // [H] or [1, H]

  // Scales of quantised formats, one view per local expert, shapes as formats/ documents them.
  ExpertMatrices gate_up_scale;
  ExpertMatrices down_scale;
  TensorView gate_up_global_scale;  // nvfp4 only: [local experts] f32, multiplies
  TensorView down_global_scale;
};

// Splits a stacked [experts, rows, columns] tensor into one view per expert; [experts], such as one
// scale each, into scalars [].
ExpertMatrices split_experts(const TensorView& stacked);

// Throws one Error(user) listing every tensor that is missing, superfluous, misshapen or mistyped
// for the spec. Every backend may rely on it: Backend::load is only called on checked weights.
void check_weights(const MoeSpec& spec, const MoeWeights& weights);

}  // namespace sluice
