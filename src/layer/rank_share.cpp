#include "layer/rank_share.hpp"

#include <algorithm>
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

struct RankFacts {
  float tp_size;
  float tp_rank;
  float shared_experts;
  float num_experts;
  float hidden_size;
};

// Every table over ranks is as long as the group and is written at the rank.
void check_place(const Collective& collective) {
  const int rank = collective.rank();
  const int size = collective.size();
  if (size >= 1 && rank >= 0 && rank < size) return;
  fail(
      ErrorKind::user,
      "the collective says that it is rank {} of {}; the size must be at least 1, and the rank lie "
      "in 0 … size - 1",
      rank, size);
}

// What every rank's spec says, known to every rank. A gather, as a sum of zeros and one value.
std::vector<RankFacts> gather_facts(const MoeSpec& spec, Collective& collective) {
  constexpr std::size_t kFacts = 5;
  const LayerSpec& layer = spec.layer;
  const auto ranks = static_cast<std::size_t>(collective.size());
  std::vector<float> values(ranks * kFacts);
  float* own = values.data() + static_cast<std::size_t>(collective.rank()) * kFacts;
  own[0] = static_cast<float>(layer.tp_size);
  own[1] = static_cast<float>(layer.tp_rank);
  own[2] = static_cast<float>(layer.num_shared_experts);
  own[3] = static_cast<float>(spec.router.num_experts);
  own[4] = static_cast<float>(spec.experts.hidden_size);
  collective.sum(values);
  std::vector<RankFacts> facts;
  for (std::size_t i = 0; i < values.size(); i += kFacts) {
    facts.push_back({values[i], values[i + 1], values[i + 2], values[i + 3], values[i + 4]});
  }
  return facts;
}

void check_same(const char* field, float RankFacts::*fact, const std::vector<RankFacts>& ranks) {
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    if (ranks[rank].*fact == ranks[0].*fact) continue;
    fail(ErrorKind::user, "{} is {} on rank 0 and {} on rank {}; it must be the same", field,
         ranks[0].*fact, ranks[rank].*fact, rank);
  }
}

// Before any other sum over ranks: these are what its length comes from.
void check_same_sizes(const std::vector<RankFacts>& ranks) {
  check_same("layer.tp_size", &RankFacts::tp_size, ranks);
  check_same("router.num_experts", &RankFacts::num_experts, ranks);
  check_same("experts.hidden_size", &RankFacts::hidden_size, ranks);
}

void check_every_expert_once(const MoeSpec& spec, Collective& collective) {
  const std::int64_t slices = spec.layer.tp_size;
  std::vector<float> holders(static_cast<std::size_t>(spec.router.num_experts * slices));
  for (std::int64_t expert = 0; expert < spec.router.num_experts; ++expert) {
    if (local_expert(spec, expert) < 0) continue;
    holders[static_cast<std::size_t>(expert * slices + spec.layer.tp_rank)] = 1;
  }
  collective.sum(holders);
  for (std::size_t i = 0; i < holders.size(); ++i) {
    if (holders[i] == 1.0f) continue;
    const auto slice = static_cast<std::int64_t>(i);
    fail(ErrorKind::user,
         "expert {} (slice {} of {}) is computed by {} of {} ranks, it must be one; give each rank "
         "its own local_expert_offset and num_local_experts, or its own expert_map",
         slice / slices, slice % slices, slices, holders[i], collective.size());
  }
}

// The lowest rank whose spec has shared experts computes them, for every tensor slice.
bool computes_shared_experts(const std::vector<RankFacts>& ranks, int rank) {
  const RankFacts& own = ranks[static_cast<std::size_t>(rank)];
  return std::none_of(ranks.begin(), ranks.begin() + rank, [&](const RankFacts& lower) {
    return lower.tp_rank == own.tp_rank && lower.shared_experts > 0;
  });
}

void check_shared_slices(const std::vector<RankFacts>& ranks) {
  const auto has_shared = [](const RankFacts& rank) { return rank.shared_experts > 0; };
  if (std::none_of(ranks.begin(), ranks.end(), has_shared)) return;
  for (const RankFacts& slice : ranks) {
    if (std::any_of(ranks.begin(), ranks.end(), [&](const RankFacts& rank) {
          return rank.tp_rank == slice.tp_rank && has_shared(rank);
        })) {
      continue;
    }
    fail(
        ErrorKind::user,
        "layer.num_shared_experts is 0 on every rank of tp_rank {}, but not on others; slice {} of "
        "the shared experts would be missing from the sum",
        slice.tp_rank, slice.tp_rank);
  }
}

}  // namespace

RankShare rank_share(const MoeSpec& spec, const MoeWeights& weights, Collective& collective) {
  RankShare share{spec, weights};
  check_place(collective);
  if (collective.size() == 1) return share;
  const auto ranks = gather_facts(spec, collective);
  check_same_sizes(ranks);
  check_shared_slices(ranks);
  check_every_expert_once(spec, collective);
  if (!computes_shared_experts(ranks, collective.rank())) drop_shared_experts(share);
  share.spec.layer.output_dtype = OutputDType::f32;
  return share;
}

}  // namespace sluice
