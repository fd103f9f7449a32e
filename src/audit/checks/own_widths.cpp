// The given spec at its own widths: what a kernel does beyond its blocks shows nowhere else, and
// the other checks cut widths to 128 so that the oracle takes seconds.
#include <fmt/format.h>

#include <cstring>

#include "audit/cases/draw_spec.hpp"
#include "audit/checks/check.hpp"
#include "audit/edit_case.hpp"
#include "spec/perturb.hpp"

namespace sluice::auditing {
namespace {

constexpr std::int64_t kTokens = 40;
// Weights, and multiplications of the oracle: seconds in the quick suite, a minute in the full one.
// All copies together take some six bytes of memory for each byte of bf16 weights.
constexpr std::int64_t kQuickWeights = std::int64_t{1} << 27;  // 256 MiB in bf16
constexpr std::int64_t kFullWeights = std::int64_t{1} << 30;   // 2 GiB
constexpr std::int64_t kQuickWork = std::int64_t{1} << 30;
constexpr std::int64_t kFullWork = std::int64_t{1} << 33;

std::int64_t weights_of_expert(const MoeSpec& spec) {
  const std::int64_t matrices = is_gated(spec.experts.activation) ? 3 : 2;
  return matrices * spec.experts.hidden_size * local_width(spec);
}

std::int64_t weights_of(const MoeSpec& spec) {
  const std::int64_t matrices = is_gated(spec.experts.activation) ? 3 : 2;
  return local_expert_count(spec) * weights_of_expert(spec) +
         matrices * spec.experts.hidden_size * local_shared_width(spec);
}

// Half of everything that counts experts. False: no such layer, or no choice left in it.
bool halve_experts(MoeSpec& spec) {
  const auto halve = [](std::int64_t& count) {
    const bool even = count % 2 == 0;
    count /= 2;
    return even;
  };
  LayerSpec& layer = spec.layer;
  const bool whole = halve(spec.router.num_experts) && halve(layer.local_expert_offset) &&
                     (layer.num_local_experts == kAllExperts || halve(layer.num_local_experts));
  return whole && layer.expert_map.empty() && spec.router.num_experts >= 2 * spec.router.top_k &&
         is_valid(spec);
}

std::string millions(std::int64_t count) { return fmt::format("{} million", count / 1000000); }

// The layer to test, or why there is none in `own`.
std::optional<MoeSpec> affordable(const Context& context, OwnWidths& own) {
  const std::int64_t most = context.slow ? kFullWeights : kQuickWeights;
  MoeSpec spec = *context.options.spec;
  for (MoeSpec fewer = spec; weights_of(spec) > most; spec = fewer) {
    if (halve_experts(fewer)) continue;
    own.why_not = fmt::format(
        "a layer of hidden_size {} and intermediate_size {} is too large: {} weights with {} "
        "experts, which are no fewer without changing what is tested; the suite {} takes {}",
        spec.experts.hidden_size, spec.experts.intermediate_size, millions(weights_of(spec)),
        spec.router.num_experts, context.options.suite, millions(most));
    if (!context.slow && weights_of(spec) <= kFullWeights) {
      own.why_not += fmt::format(", full takes {}", millions(kFullWeights));
    }
    return std::nullopt;
  }
  const Support support = negotiate(context.backend, spec);
  if (support.ok()) return spec;
  own.why_not = fmt::format(
      "with {} experts, so that memory suffices, the backend refuses it: {} {}",
      spec.router.num_experts, support.refusals.front().field, support.refusals.front().reason);
  return std::nullopt;
}

OwnedTensor rows_between(const OwnedTensor& tensor, std::int64_t first, std::int64_t end) {
  if (!tensor.given()) return {};
  OwnedTensor rows(tensor.dtype(), {end - first, tensor.shape()[1]});
  const std::size_t bytes = tensor.size_bytes() / static_cast<std::size_t>(tensor.shape()[0]);
  std::memcpy(rows.data(), tensor.data() + static_cast<std::size_t>(first) * bytes,
              rows.size_bytes());
  return rows;
}

RunResult result_rows(const RunResult& whole, std::int64_t first, std::int64_t end) {
  if (!whole.output.given()) return whole;
  return {rows_between(whole.output, first, end),
          rows_between(whole.ids, first, end),
          rows_between(whole.weights, first, end),
          whole.error,
          whole.memory,
          whole.threw_at_load};
}

// The field without which the wrong row would be right.
std::string lost_field(const Context& context, const Case& subject, const RunResult& result,
                       std::int64_t token) {
  const Case one = rows_of(subject, token, token + 1);
  for (const Field* field : live_fields(subject.spec)) {
    const auto without = without_field(one, *field);
    if (!without || without->output_dtype() != one.output_dtype()) continue;
    const Oracle oracle(*without, {context.options.allowances.slot_outputs_rounded});
    if (compare(*without, oracle, result, context.compare_options()).ok()) {
      return std::string(field->name);
    }
  }
  return {};
}

// The width that is wrong by itself, the others cut.
std::string wrong_width(Context& context) {
  const MoeSpec& small = *context.bank.source().given;
  for (const auto member : {&ExpertSpec::hidden_size, &ExpertSpec::intermediate_size}) {
    MoeSpec spec = small;
    spec.experts.*member = context.options.spec->experts.*member;
    if (spec.experts.*member == small.experts.*member || !accepts(context.backend, spec)) continue;
    const Case subject = plain_case(spec, context.options.seed, 2);
    const Oracle oracle(subject, {context.options.allowances.slot_outputs_rounded});
    const RunResult result = run_case(context.backend, subject, context.run);
    if (compare(subject, oracle, result, context.compare_options()).ok()) continue;
    return member == &ExpertSpec::hidden_size ? "experts.hidden_size" : "experts.intermediate_size";
  }
  return {};
}

// One failing call: which field or width is to blame. Mutants at these sizes would take minutes.
void explain(Context& context, const RunResult& part, std::int64_t first) {
  Finding& finding = context.findings.back();
  finding.exactness = false;
  const std::int64_t token = finding.comparison.token;
  if (token < first) return;  // it threw
  finding.field = lost_field(context, finding.prepared->subject,
                             result_rows(part, token - first, token - first + 1), token);
  finding.inert = !finding.field.empty();
  if (finding.inert) return;
  finding.field = wrong_width(context);
  if (finding.field.empty()) return;
  finding.bug_class = 'I';
  finding.comparison.message +=
      fmt::format("; {} alone is enough, other widths cut", finding.field);
}

}  // namespace

void check_own_widths(Context& context) {
  const auto& given = context.bank.source().given;
  // Mutants are judged at cut widths: each would cost seconds.
  if (!given || context.first_only || *given == *context.options.spec) return;
  OwnWidths own;
  const std::optional<MoeSpec> spec = affordable(context, own);
  if (!spec) {
    context.own_widths = std::move(own);
    return;
  }
  own.num_experts = spec->router.num_experts;
  own.layer = fmt::format("experts.hidden_size {}, experts.intermediate_size {}",
                          spec->experts.hidden_size, spec->experts.intermediate_size);
  if (const std::int64_t shared = shared_width(*spec); shared > 0) {
    own.layer += fmt::format(", layer.shared_intermediate_size {}", shared);
  }
  own.layer += fmt::format(", router.num_experts {}", own.num_experts);
  if (const std::int64_t all = context.options.spec->router.num_experts; all != own.num_experts) {
    own.layer += fmt::format(" of {}", all);
  }
  own.tokens = {1, kTokens};
  context.own_widths = std::move(own);

  Case subject = plain_case(*spec, context.options.seed, kTokens);
  subject.regime = "the given spec at its own widths";
  const PreparedPtr prepared = context.bank.alone(std::move(subject));
  LoadedCase loaded(context.backend, prepared->subject, context.run);
  // As many tokens as the oracle can afford, from both ends: kernels go wrong in their tails.
  const std::int64_t per_token = spec->router.top_k * weights_of_expert(*spec) +
                                 3 * spec->experts.hidden_size * local_shared_width(*spec);
  const std::int64_t judged =
      std::clamp<std::int64_t>((context.slow ? kFullWork : kQuickWork) / per_token, 4, kTokens);
  const auto judge = [&](const RunResult& part, std::int64_t first) {
    CompareOptions how = context.compare_options();
    how.first_token = first;
    how.part = true;
    if (context.judge(prepared, part, how)) return true;
    explain(context, part, first);
    return false;
  };
  if (!judge(loaded.run_rows(0, 1), 0)) return;
  const RunResult all = loaded.run(Poison::nan);
  const std::int64_t head = (judged + 1) / 2;
  const std::int64_t tail = kTokens - (judged - head);
  if (judge(result_rows(all, 0, head), 0)) judge(result_rows(all, tail, kTokens), tail);
}

}  // namespace sluice::auditing
