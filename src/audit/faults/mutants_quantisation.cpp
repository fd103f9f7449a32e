// N: scales and encodings of the weights.
#include <algorithm>
#include <bit>
#include <cstring>

#include "audit/faults/edit_weights.hpp"
#include "audit/faults/mutant_tables.hpp"
#include "formats/fp8.hpp"
#include "formats/small_floats.hpp"

namespace sluice::auditing {
namespace {

// A scale can be lost only where the backend takes weights that have one.
bool takes_scaled_weights(const Backend& backend) {
  if (!backend.claims().contains("experts.weight_format")) return false;
  MoeSpec spec;
  spec.router = {.num_experts = 4, .top_k = 2};
  // Whole blocks of every format, for gate and for up.
  spec.experts.hidden_size = spec.experts.intermediate_size = formats::kFp8Block;
  const auto scaled = formats::scaled_formats();
  return std::any_of(scaled.begin(), scaled.end(), [&](WeightFormat format) {
    spec.experts.weight_format = format;
    const std::vector<Refusal> refusals = backend.supports(spec).refusals;
    // What it says of the other fields of this one spec is another matter.
    return std::none_of(refusals.begin(), refusals.end(), [](const Refusal& refusal) {
      return refusal.field == "experts.weight_format";
    });
  });
}

// Rows of the GEMM 1 matrix that share one row of scales; 0: some share covers gate and up.
std::int64_t rows_per_scale(const ExpertSpec& spec, std::int64_t rows, const TensorView& scales) {
  const std::int64_t scale_rows = scales.shape.rank() == 0 ? 1 : scales.shape[0];
  if (scale_rows == rows) return 1;
  const bool whole_blocks =
      rows == scale_rows * formats::kFp8Block && scale_rows % 2 == 0;  // fp8_e4m3_block128 alone
  return whole_blocks && spec.gate_up_order != GateUpOrder::interleaved ? formats::kFp8Block : 0;
}

// The row of gate that belongs to row `row` of scales: itself, if it is gate's.
std::int64_t gates_row(GateUpOrder order, std::int64_t row, std::int64_t rows) {
  switch (order) {
    case GateUpOrder::gate_up:
      return row % (rows / 2);
    case GateUpOrder::up_gate:
      return rows / 2 + row % (rows / 2);
    case GateUpOrder::interleaved:
      break;
  }
  return row / 2 * 2;
}

void give_up_gates_scales(Load& load) {
  const ExpertSpec& spec = load.spec.experts;
  if (!is_gated(spec.activation)) return;
  for (TensorView& scales : load.weights.gate_up_scale) {
    const std::int64_t shared = rows_per_scale(spec, 2 * local_width(load.spec), scales);
    if (shared == 0) continue;
    OwnedTensor copy = OwnedTensor::copy_of(scales);
    const std::int64_t rows = scales.shape[0];
    const std::size_t bytes = copy.size_bytes() / static_cast<std::size_t>(rows);
    const auto* from = static_cast<const std::byte*>(scales.data);
    for (std::int64_t row = 0; row < rows; ++row) {
      const std::int64_t gate = gates_row(spec.gate_up_order, row, rows);
      std::memcpy(copy.data() + static_cast<std::size_t>(row) * bytes,
                  from + static_cast<std::size_t>(gate) * bytes, bytes);
    }
    scales = load.keep(std::move(copy));
  }
}

// Scales that are all 0 or all 1.
TensorView filled(Load& load, const TensorView& scales, float value) {
  OwnedTensor copy(scales.dtype, scales.shape);
  std::uint8_t byte = 0;
  switch (scales.dtype) {
    case DType::u8:  // mxfp4's e8m0, 2^(byte - 127): 0 is as small as it gets
    case DType::f8_e8m0:
      byte = value == 0.0f ? 0 : 127;
      break;
    case DType::f8_e4m3:
      byte = float_to_e4m3(value);
      break;
    default:
      for (std::int64_t i = 0; i < copy.elements(); ++i) copy.set(i, value);
      return load.keep(std::move(copy));
  }
  std::fill_n(copy.data(), copy.size_bytes(), std::byte{byte});
  return load.keep(std::move(copy));
}

void ignore_down_scales(Load& load) {
  for (TensorView& scales : load.weights.down_scale) scales = filled(load, scales, 1.0f);
  TensorView& global = load.weights.down_global_scale;
  if (global) global = filled(load, global, 1.0f);
}

void zero_first_scale(Load& load) {
  ExpertMatrices& scales = load.weights.gate_up_scale;
  if (!scales.empty()) scales.front() = filled(load, scales.front(), 0.0f);
}

void rotate_down_scales(Load& load) {
  ExpertMatrices& scales = load.weights.down_scale;
  if (scales.size() > 1) std::rotate(scales.begin(), scales.begin() + 1, scales.end());
}

void truncate_to_bf16(Load& load) {
  const WeightFormat format = load.spec.experts.weight_format;
  if (format != WeightFormat::f32 && format != WeightFormat::f16) return;
  const EditMatrix cut = [](std::span<float> v, auto, auto, auto) {
    for (float& value : v) {
      value = std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) & 0xffff0000u);
    }
  };
  edit_gate_up(load, cut);
  edit_down(load, cut);
}

// Formats with one scale per row or matrix have nothing to repeat.
void repeat_first_block_scale(Load& load) {
  for (ExpertMatrices* list : {&load.weights.gate_up_scale, &load.weights.down_scale}) {
    for (TensorView& scales : *list) {
      if (scales.shape.rank() != 2 || scales.shape[1] < 2) continue;
      OwnedTensor repeated = OwnedTensor::copy_of(scales);
      const auto rows = static_cast<std::size_t>(scales.shape[0]);
      const auto blocks = static_cast<std::size_t>(scales.shape[1]);
      const std::size_t bytes = repeated.size_bytes() / (rows * blocks);
      for (std::size_t at = 0; at < rows * blocks; ++at) {
        std::memcpy(repeated.data() + at * bytes, repeated.data() + at / blocks * blocks * bytes,
                    bytes);
      }
      scales = load.keep(std::move(repeated));
    }
  }
}

}  // namespace

void add_quantisation_mutants(std::vector<Mutant>& list) {
  const auto add = [&](std::string_view name, std::string_view meaning, std::string_view cases,
                       MakeFault make, bool (*applies)(const Backend&) = nullptr) {
    list.push_back({{name, 'N', meaning, cases}, std::move(make), {}, applies});
  };
  // These edit the scales themselves: weights without any have no scale to lose.
  add("up-takes-gate-scale", "up_proj's scales were gate_proj's",
      "vllm#54974, TensorRT-LLM#14199 (there the two global scales)", on_load(give_up_gates_scales),
      takes_scaled_weights);
  add("expert-takes-neighbours-scale", "each expert's down_proj had its neighbour's scales",
      "TensorRT-LLM#14199", on_load(rotate_down_scales), takes_scaled_weights);
  add("scale-uninitialised", "the first expert's gate_up scales were 0", "vllm#54189",
      on_load(zero_first_scale), takes_scaled_weights);
  add("down-scale-ignored", "down_proj's scales were 1",
      "flashinfer#3548 (2400x; there the scale of GEMM 2's activation)",
      on_load(ignore_down_scales), takes_scaled_weights);
  add("scales-of-first-block", "every block of a row had the scale of its first",
      "vllm#35497 (scales of another layout than the weights)", on_load(repeat_first_block_scale),
      takes_scaled_weights);
  add("weights-truncated-to-bf16", "f32 or f16 weights were truncated to bf16",
      "vllm#46838 (a precision substituted silently)", on_load(truncate_to_bf16));
  add("activations-in-bf16", "activation_format were bf16", "vllm#46838",
      with_spec([](MoeSpec& s) { s.experts.activation_format = ActivationFormat::bf16; }));
}

}  // namespace sluice::auditing
