#include "spec/draw.hpp"
#include "spec/perturb.hpp"

namespace sluice {
namespace {

constexpr std::int64_t kWidthStep = 8;  // widths are multiples of 8 (docs/semantics.md §2)

bool owns_part_of_experts(const LayerSpec& layer) {
  return layer.local_expert_offset != 0 || layer.num_local_experts != kAllExperts;
}

// A slice of I, and of the shared width, that is still a legal width.
bool can_split_width(const MoeSpec& spec, std::int64_t ranks) {
  return spec.experts.intermediate_size % (ranks * kWidthStep) == 0 &&
         shared_width(spec) % (ranks * kWidthStep) == 0;
}

}  // namespace

bool perturb_num_shared_experts(MoeSpec& spec, std::uint64_t seed) {
  Draw draw(seed);
  spec.layer.num_shared_experts = draw.integer(1, 2);
  return true;
}

bool perturb_shared_intermediate_size(MoeSpec& spec, std::uint64_t seed) {
  Draw draw(seed);
  if (spec.layer.num_shared_experts == 0) spec.layer.num_shared_experts = 1;
  const std::int64_t neutral = spec.layer.num_shared_experts * spec.experts.intermediate_size;
  spec.layer.shared_intermediate_size =
      neutral + kWidthStep * spec.layer.tp_size * draw.integer(1, 3);
  return true;
}

bool perturb_shared_expert_gate(MoeSpec& spec, std::uint64_t) {
  if (spec.layer.num_shared_experts == 0) spec.layer.num_shared_experts = 1;
  spec.layer.shared_expert_gate = true;
  return true;
}

bool perturb_local_expert_offset(MoeSpec& spec, std::uint64_t seed) {
  if (spec.router.num_experts < 2 || !spec.layer.expert_map.empty()) return false;
  Draw draw(seed);
  LayerSpec& layer = spec.layer;
  layer.local_expert_offset = draw.integer(1, spec.router.num_experts / 2);
  const std::int64_t rest = spec.router.num_experts - layer.local_expert_offset;
  if (layer.num_local_experts == kAllExperts || layer.num_local_experts > rest) {
    layer.num_local_experts = rest;
  }
  return true;
}

bool perturb_num_local_experts(MoeSpec& spec, std::uint64_t seed) {
  LayerSpec& layer = spec.layer;
  const std::int64_t rest = spec.router.num_experts - layer.local_expert_offset;
  if (rest < 2 || !layer.expert_map.empty()) return false;
  Draw draw(seed);
  layer.num_local_experts = draw.integer((rest + 1) / 2, rest - 1);
  return true;
}

bool perturb_expert_map(MoeSpec& spec, std::uint64_t seed) {
  if (spec.router.num_experts < 2 || owns_part_of_experts(spec.layer)) return false;
  Draw draw(seed);
  std::vector<std::int32_t> map(static_cast<std::size_t>(spec.router.num_experts), -1);
  // About two thirds of the experts, in an order that is not the global one.
  std::int32_t local = 0;
  for (std::size_t i = map.size(); i-- > 0;) {
    if (draw.integer(0, 2) != 0) map[i] = local++;
  }
  if (local == 0) map.front() = 0;
  spec.layer.expert_map = std::move(map);
  return true;
}

bool perturb_tp_rank(MoeSpec& spec, std::uint64_t seed) {
  if (spec.layer.tp_size == 1 && !perturb_tp_size(spec, seed)) return false;
  Draw draw(seed);
  spec.layer.tp_rank = draw.integer(1, spec.layer.tp_size - 1);
  return true;
}

bool perturb_tp_size(MoeSpec& spec, std::uint64_t seed) {
  if (!can_split_width(spec, 2)) return false;
  // Four have ranks that are neither the first nor the last.
  spec.layer.tp_size = seed % 2 == 0 && can_split_width(spec, 4) ? 4 : 2;
  return true;
}

bool perturb_output_dtype(MoeSpec& spec, std::uint64_t seed) {
  Draw draw(seed);
  spec.layer.output_dtype = draw.one_of(OutputDType::f32, OutputDType::bf16, OutputDType::f16);
  return true;
}

}  // namespace sluice
