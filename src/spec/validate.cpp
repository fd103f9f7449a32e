#include <cmath>
#include <vector>

#include "base/problems.hpp"
#include "spec/choices.hpp"
#include "spec/perturb.hpp"
#include "spec/stray_choices.hpp"

namespace sluice {
namespace {

constexpr std::int64_t kWidthStep = 8;
// Far beyond any model, small enough that products of two sizes stay below 2^63.
constexpr std::int64_t kLargestSize = std::int64_t{1} << 30;

// Every contradiction in one error.
class Findings {
 public:
  template <typename... Args>
  void add(bool wrong, fmt::format_string<Args...> format, Args&&... args) {
    if (wrong) problems_.add(format, std::forward<Args>(args)...);
  }
  Problems& problems() { return problems_; }
  void raise() const { problems_.raise(ErrorKind::user, "the spec contradicts itself"); }

 private:
  Problems problems_;
};

// Backends hold the spec's numbers in fp32: finite here must not become infinite there. The bound
// is halfway between the largest fp32 number and the one that would follow.
bool is_finite_in_fp32(double value) { return std::abs(value) < 0x1.ffffffp+127; }

bool is_size(std::int64_t value) { return value >= 1 && value <= kLargestSize; }

void check_sizes(const MoeSpec& spec, Findings& findings) {
  const auto size = [&](const char* name, std::int64_t value) {
    findings.add(!is_size(value), "{} is {}; it must lie in 1 … {}", name, value, kLargestSize);
  };
  size("router.num_experts", spec.router.num_experts);
  size("router.top_k", spec.router.top_k);
  size("experts.hidden_size", spec.experts.hidden_size);
  size("experts.intermediate_size", spec.experts.intermediate_size);
  findings.add(spec.experts.hidden_size % kWidthStep != 0,
               "experts.hidden_size is {}; it must be a multiple of {}", spec.experts.hidden_size,
               kWidthStep);
}

void check_router(const RouterSpec& router, Findings& findings) {
  findings.add(router.top_k > router.num_experts,
               "router.top_k is {} but router.num_experts is {}; K cannot exceed E", router.top_k,
               router.num_experts);
  findings.add(router.n_group < 1 || router.n_group > router.num_experts,
               "router.n_group is {}; it must lie in 1 … router.num_experts ({})", router.n_group,
               router.num_experts);
  findings.add(router.topk_group < 1 || router.topk_group > router.n_group,
               "router.topk_group is {}; it must lie in 1 … router.n_group ({})", router.topk_group,
               router.n_group);
  if (router.n_group > 1 && router.n_group <= router.num_experts && router.topk_group >= 1) {
    findings.add(router.num_experts % router.n_group != 0,
                 "router.num_experts is {}, not divisible by router.n_group {}", router.num_experts,
                 router.n_group);
    const std::int64_t group = router.num_experts / router.n_group;
    findings.add(router.topk_group <= router.n_group && router.topk_group * group < router.top_k,
                 "router.topk_group {} keeps {} experts, fewer than router.top_k {}",
                 router.topk_group, router.topk_group * group, router.top_k);
    findings.add(router.group_score == GroupScore::sum_of_top2 && group < 2,
                 "router.group_score is sum_of_top2 but groups hold {} expert; use max", group);
    findings.add(router.score_order == ScoreOrder::after_topk,
                 "router.n_group is {} with router.score_order after_topk; groups are ranked by "
                 "scores, which then do not exist yet",
                 router.n_group);
  }
  findings.add(router.weights_from_biased_scores && !router.e_score_correction_bias,
               "router.weights_from_biased_scores is true but router.e_score_correction_bias is "
               "false; there is no biased score");
  findings.add(
      router.weights_from_biased_scores && router.score_order == ScoreOrder::after_topk,
      "router.weights_from_biased_scores is true with router.score_order after_topk; scores "
      "are computed after the choice and carry no bias");
  findings.add(router.apply_router_weight_on_input && router.top_k != 1,
               "router.apply_router_weight_on_input is true but router.top_k is {}; it is defined "
               "for K = 1 only",
               router.top_k);
  findings.add(!(router.norm_eps >= 0.0) || !is_finite_in_fp32(router.norm_eps),
               "router.norm_eps is {}; it must be finite in fp32 (below 3.5e38) and at least 0",
               router.norm_eps);
  findings.add(!is_finite_in_fp32(router.routed_scaling_factor),
               "router.routed_scaling_factor is {}; it must be finite in fp32 (below 3.5e38)",
               router.routed_scaling_factor);
}

void check_experts(const ExpertSpec& experts, Findings& findings) {
  const bool gated = is_gated(experts.activation);
  findings.add(!gated && experts.gate_up_order != GateUpOrder::gate_up,
               "experts.gate_up_order is {} but experts.activation {} has no gate",
               choice_name(experts.gate_up_order), choice_name(experts.activation));
  const auto swiglu_only = [&](const char* name, double value, double neutral) {
    findings.add(experts.activation != Activation::swiglu && value != neutral,
                 "experts.{} is {} but experts.activation is {}; it belongs to swiglu", name, value,
                 choice_name(experts.activation));
  };
  swiglu_only("swiglu_alpha", experts.swiglu_alpha, 1.0);
  swiglu_only("swiglu_beta", experts.swiglu_beta, 0.0);
  swiglu_only("swiglu_limit", experts.swiglu_limit, ExpertSpec{}.swiglu_limit);
  const auto finite = [&](const char* name, double value) {
    findings.add(!is_finite_in_fp32(value),
                 "experts.{} is {}; it must be finite in fp32 (below 3.5e38)", name, value);
  };
  finite("swiglu_alpha", experts.swiglu_alpha);
  finite("swiglu_beta", experts.swiglu_beta);
  // A limit may be infinite, and is where fp32 cannot hold it: neither ever cuts a number.
  findings.add(!(experts.swiglu_limit > 0.0), "experts.swiglu_limit is {}; it must be above 0",
               experts.swiglu_limit);
}

void check_shared(const MoeSpec& spec, Findings& findings) {
  const LayerSpec& layer = spec.layer;
  findings.add(layer.num_shared_experts < 0 || layer.num_shared_experts > kLargestSize,
               "layer.num_shared_experts is {}; it must be 0 or more", layer.num_shared_experts);
  findings.add(layer.shared_intermediate_size < 0 || layer.shared_intermediate_size > kLargestSize,
               "layer.shared_intermediate_size is {}; it must be 0 or more",
               layer.shared_intermediate_size);
  findings.add(layer.num_shared_experts == 0 && layer.shared_intermediate_size != 0,
               "layer.shared_intermediate_size is {} but layer.num_shared_experts is 0",
               layer.shared_intermediate_size);
  findings.add(layer.num_shared_experts == 0 && layer.shared_expert_gate,
               "layer.shared_expert_gate is true but layer.num_shared_experts is 0");
}

void check_slices(const MoeSpec& spec, Findings& findings) {
  const LayerSpec& layer = spec.layer;
  findings.add(layer.tp_size < 1, "layer.tp_size is {}; it must be at least 1", layer.tp_size);
  findings.add(layer.tp_rank < 0 || layer.tp_rank >= layer.tp_size,
               "layer.tp_rank is {}; it must lie in 0 … layer.tp_size - 1 ({})", layer.tp_rank,
               layer.tp_size - 1);
  if (layer.tp_size < 1 || layer.tp_size > kLargestSize) return;
  const std::int64_t step = kWidthStep * layer.tp_size;
  findings.add(spec.experts.intermediate_size % step != 0,
               "experts.intermediate_size is {}; it must be a multiple of {} (8 * layer.tp_size)",
               spec.experts.intermediate_size, step);
  findings.add(shared_width(spec) % step != 0,
               "the shared block is {} wide; it must be a multiple of {} (8 * layer.tp_size)",
               shared_width(spec), step);
}

void check_local_experts(const MoeSpec& spec, Findings& findings) {
  const LayerSpec& layer = spec.layer;
  const std::int64_t experts = spec.router.num_experts;
  const bool counted = layer.num_local_experts != kAllExperts;
  findings.add(counted && (layer.num_local_experts < 0 || layer.num_local_experts > experts),
               "layer.num_local_experts is {}; it must lie in 0 … router.num_experts ({})",
               layer.num_local_experts, experts);
  const std::int64_t local = counted ? layer.num_local_experts : experts;
  findings.add(layer.local_expert_offset < 0 || layer.local_expert_offset > experts - local,
               "layer.local_expert_offset {} plus {} local experts passes router.num_experts {}",
               layer.local_expert_offset, local, experts);
  if (layer.expert_map.empty()) return;
  findings.add(layer.local_expert_offset != 0 || (counted && local != experts),
               "layer.expert_map stands beside layer.local_expert_offset {} and "
               "layer.num_local_experts {}; give one or the other",
               layer.local_expert_offset, layer.num_local_experts);
  const auto entries = static_cast<std::int64_t>(layer.expert_map.size());
  findings.add(entries != experts, "layer.expert_map has {} entries; router.num_experts is {}",
               entries, experts);
  const std::int64_t held = local_expert_count(spec);
  std::vector<bool> taken(static_cast<std::size_t>(held), false);
  for (std::int64_t expert = 0; expert < entries; ++expert) {
    const std::int64_t slot = layer.expert_map[static_cast<std::size_t>(expert)];
    if (slot == -1) continue;
    const bool legal = slot >= 0 && slot < held && !taken[static_cast<std::size_t>(slot)];
    findings.add(!legal,
                 "layer.expert_map[{}] is {}; entries other than -1 must be 0 … {}, each once",
                 expert, slot, held - 1);
    if (legal) taken[static_cast<std::size_t>(slot)] = true;
  }
}

}  // namespace

void validate(const MoeSpec& spec) {
  Findings findings;
  check_sizes(spec, findings);
  find_stray_choices(spec, findings.problems());
  findings.raise();  // what follows divides and multiplies by the sizes
  check_router(spec.router, findings);
  check_experts(spec.experts, findings);
  check_shared(spec, findings);
  findings.raise();  // and this multiplies by the number of shared experts
  check_slices(spec, findings);
  check_local_experts(spec, findings);
  findings.raise();
}

bool is_valid(const MoeSpec& spec) {
  try {
    validate(spec);
    return true;
  } catch (const Error&) {
    return false;
  }
}

bool is_gated(Activation activation) {
  return activation == Activation::swiglu || activation == Activation::geglu ||
         activation == Activation::geglu_tanh;
}

std::int64_t gate_up_rows(const ExpertSpec& experts) {
  return is_gated(experts.activation) ? 2 * experts.intermediate_size : experts.intermediate_size;
}

std::int64_t shared_width(const MoeSpec& spec) {
  if (spec.layer.num_shared_experts == 0) return 0;
  if (spec.layer.shared_intermediate_size != 0) return spec.layer.shared_intermediate_size;
  return spec.layer.num_shared_experts * spec.experts.intermediate_size;
}

std::int64_t local_width(const MoeSpec& spec) {
  return spec.experts.intermediate_size / spec.layer.tp_size;
}

std::int64_t local_shared_width(const MoeSpec& spec) {
  return shared_width(spec) / spec.layer.tp_size;
}

std::int64_t local_expert_count(const MoeSpec& spec) {
  const LayerSpec& layer = spec.layer;
  if (!layer.expert_map.empty()) {
    std::int64_t count = 0;
    for (std::int32_t local : layer.expert_map) count += local != -1;
    return count;
  }
  return layer.num_local_experts == kAllExperts ? spec.router.num_experts : layer.num_local_experts;
}

std::int64_t local_expert(const MoeSpec& spec, std::int64_t global_expert) {
  const LayerSpec& layer = spec.layer;
  if (!layer.expert_map.empty()) {
    const auto entries = static_cast<std::int64_t>(layer.expert_map.size());
    if (global_expert < 0 || global_expert >= entries) return -1;
    return layer.expert_map[static_cast<std::size_t>(global_expert)];
  }
  const std::int64_t local = global_expert - layer.local_expert_offset;
  return local >= 0 && local < local_expert_count(spec) ? local : -1;
}

}  // namespace sluice
