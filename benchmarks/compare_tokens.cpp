#include "compare_tokens.hpp"

#include <atomic>
#include <cmath>
#include <set>

#include "backends/reference/expert.hpp"
#include "backends/reference/routing.hpp"
#include "base/fail.hpp"
#include "base/float_types.hpp"

namespace sluice::bench {
namespace {

void check_routing(std::string_view who, const MoeSpec& spec, const ComputedToken& computed) {
  const auto experts = static_cast<std::size_t>(spec.router.num_experts);
  const auto top_k = static_cast<std::size_t>(spec.router.top_k);
  std::vector<double> logits(computed.logits.begin(), computed.logits.end());
  std::vector<double> scores(experts), choice(experts), weights(top_k);
  std::vector<double> groups(static_cast<std::size_t>(spec.router.n_group));
  std::vector<std::int64_t> order(experts), ids(top_k);
  reference::route_token(spec.router, {}, logits, {scores, choice, groups, order}, ids, weights);
  for (std::size_t slot = 0; slot < top_k; ++slot) {
    // fp32 through exp, a sum of K and a quotient: some twenty roundings.
    const double error = std::abs(computed.weights[slot] - weights[slot]);
    if (computed.ids[slot] == ids[slot] && error <= 1e-5 * weights[slot] + 1e-30) continue;
    fail(ErrorKind::internal,
         "{} is not timed, because it is wrong: token {}, slot {} went to expert {} with weight "
         "{}; the definition says expert {} with {}",
         who, computed.token, slot, computed.ids[slot], computed.weights[slot], ids[slot],
         weights[slot]);
  }
}

DefinedSlot run_slot(const Shape& shape, const MoeSpec& spec, const LayerValues& values,
                     std::int64_t token, std::int64_t expert) {
  reference::ExpertWeights weights;
  weights.width = shape.intermediate;
  weights.gate = values.gate(expert);
  weights.up = values.up(expert);
  weights.down = values.down(expert);
  const auto row = values.hidden(token);
  const std::vector<double> x(row.begin(), row.end());
  std::vector<double> h(static_cast<std::size_t>(shape.intermediate));
  DefinedSlot result{std::vector<double>(x.size()), std::vector<double>(x.size())};
  reference::run_expert(spec.experts, weights, x, h, result.value);
  for (std::size_t i = 0; i < x.size(); ++i) {
    for (std::size_t j = 0; j < h.size(); ++j) {
      result.magnitude[i] += std::abs(static_cast<double>(weights.down[i * h.size() + j]) * h[j]);
    }
  }
  return result;
}

void check_output(std::string_view who, const ComputedToken& computed,
                  std::span<const DefinedSlot> slots, bool slot_outputs_rounded) {
  for (std::size_t i = 0; i < computed.output.size(); ++i) {
    double expected = 0.0;
    double magnitude = 0.0;
    double rounded = 0.0;
    for (std::size_t slot = 0; slot < computed.ids.size(); ++slot) {
      const double weight = computed.weights[slot];
      expected += weight * slots[slot].value[i];
      magnitude += std::abs(weight) * slots[slot].magnitude[i];
      if (slot_outputs_rounded) {
        rounded += std::abs(weight) *
                   (std::abs(slots[slot].value[i]) + slots[slot].magnitude[i] / 256.0) / 256.0;
      }
    }
    const double got = bf16_to_float(computed.output[i]);
    const double bound = (std::abs(expected) + magnitude) / 256.0 + rounded;
    if (std::abs(got - expected) <= bound) continue;
    fail(ErrorKind::internal,
         "{} is not timed, because it is wrong: token {}, element {} is {}; the definition says {} "
         "within {}",
         who, computed.token, i, got, expected, bound);
  }
}

template <typename T>
std::vector<T> row_of(std::span<const T> all, std::int64_t token, std::int64_t columns) {
  const auto row =
      all.subspan(static_cast<std::size_t>(token * columns), static_cast<std::size_t>(columns));
  return {row.begin(), row.end()};
}

}  // namespace

std::vector<ComputedToken> sample_tokens(const Shape& shape, std::int64_t tokens,
                                         std::span<const float> logits,
                                         std::span<const std::int32_t> ids,
                                         std::span<const float> weights,
                                         std::span<const std::uint16_t> output) {
  std::vector<ComputedToken> sampled;
  for (const std::int64_t t : std::set<std::int64_t>{0, tokens / 2, tokens - 1}) {
    sampled.push_back({t, row_of(logits, t, shape.experts), row_of(ids, t, shape.top_k),
                       row_of(weights, t, shape.top_k), row_of(output, t, shape.hidden)});
  }
  return sampled;
}

std::vector<DefinedSlot> define_slots(std::string_view who, const Shape& shape, const MoeSpec& spec,
                                      const LayerValues& values,
                                      const std::vector<ComputedToken>& tokens,
                                      Executor& executor) {
  for (const ComputedToken& token : tokens) check_routing(who, spec, token);
  const auto top_k = static_cast<std::size_t>(shape.top_k);
  std::vector<DefinedSlot> slots(tokens.size() * top_k);
  std::atomic<std::size_t> next{0};
  auto work = [&](int) {
    for (std::size_t i = next++; i < slots.size(); i = next++) {
      const ComputedToken& computed = tokens[i / top_k];
      slots[i] = run_slot(shape, spec, values, computed.token, computed.ids[i % top_k]);
    }
  };
  executor.run(work);
  return slots;
}

void compare_outputs(std::string_view who, const std::vector<ComputedToken>& tokens,
                     std::span<const DefinedSlot> slots, bool slot_outputs_rounded) {
  for (const ComputedToken& token : tokens) {
    check_output(who, token, slots.first(token.ids.size()), slot_outputs_rounded);
    slots = slots.subspan(token.ids.size());
  }
}

}  // namespace sluice::bench
