#include "layer/rank_share.hpp"

#include <vector>

#include "base/fail.hpp"

namespace sluice {
namespace {

void drop_shared_experts(RankShare& share) {
  share.spec.layer.num_shared_experts = 0;
  share.spec.layer.shared_intermediate_size = 0;
  share.spec.layer.shared_expert_gate = false;
  share.weights.shared_gate_up_proj = {};
  share.weights.shared_gate_proj = {};
  share.weights.shared_up_proj = {};
  share.weights.shared_down_proj = {};
  share.weights.shared_expert_gate = {};
}

void check_every_expert_once(const MoeSpec& spec, Collective& collective) {
  std::vector<float> ranks_of_expert(static_cast<std::size_t>(spec.router.num_experts));
  for (std::size_t expert = 0; expert < ranks_of_expert.size(); ++expert) {
    if (local_expert(spec, static_cast<std::int64_t>(expert)) >= 0) ranks_of_expert[expert] = 1;
  }
  collective.sum(ranks_of_expert);
  const auto expected = static_cast<float>(spec.layer.tp_size);
  for (std::size_t expert = 0; expert < ranks_of_expert.size(); ++expert) {
    if (ranks_of_expert[expert] == expected) continue;
    fail(ErrorKind::user,
         "expert {} is computed by {} of {} ranks, but tp_size {} asks for {}; give each rank its "
         "own local_expert_offset and num_local_experts, or its own expert_map",
         expert, ranks_of_expert[expert], collective.size(), spec.layer.tp_size, expected);
  }
}

}  // namespace

RankShare rank_share(const MoeSpec& spec, const MoeWeights& weights, Collective& collective) {
  RankShare share{spec, weights};
  if (collective.size() == 1) return share;
  check_every_expert_once(spec, collective);
  if (collective.rank() > 0) drop_shared_experts(share);
  share.spec.layer.output_dtype = OutputDType::f32;
  return share;
}

}  // namespace sluice
