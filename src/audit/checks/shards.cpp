// Expert parallelism: every rank's part against the oracle, and the sum of the parts against the
// whole.
#include <fmt/format.h>

#include <numeric>

#include "audit/cases/draw_spec.hpp"
#include "audit/checks/check.hpp"

namespace sluice::auditing {
namespace {

using Maps = std::vector<std::vector<std::int32_t>>;

// Rows of a stacked tensor [from, …], one per entry of `globals`.
OwnedTensor pick(const OwnedTensor& stacked, const std::vector<std::int64_t>& globals) {
  const Shape& shape = stacked.shape();
  Shape picked{static_cast<std::int64_t>(globals.size())};
  for (int axis = 1; axis < shape.rank(); ++axis) picked.append(shape[axis]);
  OwnedTensor rows(stacked.dtype(), picked);
  const std::size_t bytes = stacked.size_bytes() / static_cast<std::size_t>(shape[0]);
  for (std::size_t i = 0; i < globals.size(); ++i) {
    std::memcpy(rows.data() + i * bytes,
                stacked.data() + static_cast<std::size_t>(globals[i]) * bytes, bytes);
  }
  return rows;
}

void remove_shared(Case& subject) {
  LayerSpec& layer = subject.spec.layer;
  layer.num_shared_experts = 0;
  layer.shared_intermediate_size = 0;
  layer.shared_expert_gate = false;
  for (const char* name : {"shared.gate_up_proj", "shared.down_proj", "shared_expert_gate"}) {
    subject.tensors.erase(name);
  }
}

// The part of `whole` (which holds every expert) that a rank with this placement computes.
Case rank_case(const Case& whole, const LayerSpec& placement, bool first) {
  Case part = whole;
  part.spec.layer.local_expert_offset = placement.local_expert_offset;
  part.spec.layer.num_local_experts = placement.num_local_experts;
  part.spec.layer.expert_map = placement.expert_map;
  std::vector<std::int64_t> globals(static_cast<std::size_t>(local_expert_count(part.spec)));
  for (std::int64_t e = 0; e < whole.spec.router.num_experts; ++e) {
    const std::int64_t local = local_expert(part.spec, e);
    if (local >= 0) globals[static_cast<std::size_t>(local)] = e;
  }
  for (const char* name :
       {"gate_up_proj", "down_proj", "gate_up_bias", "down_bias", "gate_up_scale", "down_scale",
        "gate_up_global_scale", "down_global_scale"}) {
    const auto found = part.tensors.find(name);
    if (found != part.tensors.end()) found->second = pick(found->second, globals);
  }
  if (!first) remove_shared(part);
  return part;
}

// Uneven contiguous ranges, an empty one among them.
std::vector<LayerSpec> ranges(std::int64_t experts, Draw& draw) {
  std::vector<LayerSpec> ranks;
  std::int64_t until_empty = draw.integer(0, 2);  // the first rank has the shared experts, too
  for (std::int64_t offset = 0; offset < experts;) {
    LayerSpec placement;
    placement.local_expert_offset = offset;
    placement.num_local_experts =
        until_empty-- == 0 ? 0 : std::min(draw.integer(1, 3), experts - offset);
    offset += placement.num_local_experts;
    ranks.push_back(placement);
  }
  return ranks;
}

// Experts dealt to three ranks at random, local order at random too; a fourth has none.
std::vector<LayerSpec> maps(std::int64_t experts, Draw& draw) {
  constexpr std::size_t kRanks = 3;
  std::vector<LayerSpec> ranks(kRanks + 1);
  for (LayerSpec& rank : ranks) rank.expert_map.assign(static_cast<std::size_t>(experts), -1);
  std::vector<std::int32_t> held(kRanks, 0);
  std::vector<std::size_t> order(static_cast<std::size_t>(experts));
  std::iota(order.begin(), order.end(), std::size_t{0});
  for (std::size_t i = order.size(); i > 0; --i) {
    const auto other = draw.integer(0, static_cast<std::int64_t>(i) - 1);
    std::swap(order[i - 1], order[static_cast<std::size_t>(other)]);
    const auto rank = static_cast<std::size_t>(draw.integer(0, kRanks - 1));
    ranks[rank].expert_map[order[i - 1]] = held[rank]++;
  }
  return ranks;
}

bool check_sum(Context& context, const PreparedPtr& whole, const std::vector<RunResult>& parts,
               const std::vector<PreparedPtr>& ranks) {
  const Case& subject = whole->subject;
  const std::int64_t width = subject.spec.experts.hidden_size;
  for (std::int64_t token = 0; token < subject.tokens(); ++token) {
    const auto& routing = whole->oracle.routing(token);
    if (routing && routing->ambiguous()) continue;  // ranks may differ, and both be right
    const std::vector<std::int32_t> ids = whole->oracle.ids(token);
    const std::vector<Approx> expected = whole->oracle.output(token, ids);
    std::vector<double> bound(static_cast<std::size_t>(width), 0.0);
    for (const PreparedPtr& rank : ranks) {
      const std::vector<Approx>& own = rank->oracle.output(token, ids);
      for (std::size_t i = 0; i < own.size(); ++i) {
        // What the rank may be off by, and the rounding of its fp32 output.
        bound[i] += own[i].error + kUnit * std::fabs(own[i].value);
      }
    }
    for (std::int64_t i = 0; i < width; ++i) {
      double sum = 0.0;
      for (const RunResult& part : parts) sum += part.output.get(token * width + i);
      const Approx& truth = expected[static_cast<std::size_t>(i)];
      if (std::fabs(sum - truth.value) <= bound[static_cast<std::size_t>(i)] + truth.error)
        continue;
      context.complain(whole, Stage::combine,
                       fmt::format("the ranks' outputs do not add up to the whole: token {}, "
                                   "column {}: {:.9g} for {:.9g}",
                                   token, i, sum, truth.value),
                       'G');
      return false;
    }
  }
  return true;
}

}  // namespace

void check_shards(Context& context) {
  const FieldSet claims = context.backend.claims();
  const bool has_ranges =
      claims.contains("layer.local_expert_offset") && claims.contains("layer.num_local_experts");
  const bool has_maps = claims.contains("layer.expert_map");
  if (!has_ranges && !has_maps) {
    context.report->verdict = Verdict::not_applicable;
    return;
  }
  const std::optional<MoeSpec> base = context.bank.source().base({8, 3, 40, 48});
  if (!base) return;
  for (int round = 0; round < std::min(context.rounds, 4); ++round) {
    if (context.done()) return;
    const bool use_maps = has_maps && (round % 2 == 1 || !has_ranges);
    const std::string key = fmt::format("shards#{}", context.seed(round));
    const PreparedPtr whole = context.bank.of(key, [&] {
      Draw draw(context.seed(round) * 31 + 7);
      constexpr std::string_view kPlacement[] = {
          "local_expert_offset", "num_local_experts", "expert_map", "tp_rank", "tp_size",
          "output_dtype"};
      MoeSpec wide = *base;
      wide.layer.output_dtype = OutputDType::f32;
      if (!accepts(context.bank.backend(), wide)) wide = *base;
      MoeSpec spec = context.bank.source().draw(wide, draw, kPlacement);
      const LayerSpec neutral;
      spec.layer.local_expert_offset = neutral.local_expert_offset;
      spec.layer.num_local_experts = neutral.num_local_experts;
      spec.layer.expert_map.clear();
      Case made = plain_case(spec, context.seed(round), 7);
      made.regime = "shards";
      return made;
    });
    Draw draw(context.seed(round) * 31 + 8);
    const std::int64_t experts = whole->subject.spec.router.num_experts;
    std::vector<RunResult> parts;
    std::vector<PreparedPtr> ranks;
    bool right = true;
    bool complete = true;
    for (const LayerSpec& placement : use_maps ? maps(experts, draw) : ranges(experts, draw)) {
      const std::string name = fmt::format("{}#{}", key, ranks.size());
      const PreparedPtr rank = context.bank.of(
          name, [&] { return rank_case(whole->subject, placement, ranks.empty()); });
      if (!accepts(context.backend, rank->subject.spec)) {
        complete = false;  // a placement that it does not take; the others must be right alone
        continue;
      }
      parts.push_back(run_case(context.backend, rank->subject, context.run));
      ranks.push_back(rank);
      right = context.judge(rank, parts.back(), context.compare_options()) && right;
      if (!right) break;
    }
    const bool f32 = whole->subject.output_dtype() == DType::f32;
    if (right && complete && f32 && context.options.allowances.reports_routing) {
      check_sum(context, whole, parts, ranks);
    }
  }
}

}  // namespace sluice::auditing
