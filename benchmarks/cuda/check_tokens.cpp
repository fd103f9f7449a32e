#include "cuda/check_tokens.hpp"

#include "base/float_types.hpp"
#include "cuda/bench_tensors.hpp"
#include "cuda/random_bf16.hpp"

namespace sluice::bench {
namespace {

std::vector<float> drawn(std::uint64_t tensor, std::int64_t first, std::int64_t count,
                         float spread) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) {
    values[static_cast<std::size_t>(i)] =
        bf16_to_float(random_bf16(tensor, static_cast<std::uint64_t>(first + i), spread));
  }
  return values;
}

}  // namespace

void check_tokens(const Shape& shape, const MoeSpec& spec, const std::vector<ComputedToken>& tokens,
                  bool slot_outputs_rounded, Executor& executor) {
  const std::int64_t half = shape.intermediate * shape.hidden;
  const LayerValues values{
      [&](std::int64_t e) { return drawn(gate_up_tensor(e), 0, half, kWeightSpread); },
      [&](std::int64_t e) { return drawn(gate_up_tensor(e), half, half, kWeightSpread); },
      [&](std::int64_t e) { return drawn(down_tensor(e), 0, half, kWeightSpread); },
      [&](std::int64_t t) {
        return drawn(kHiddenTensor, t * shape.hidden, shape.hidden, kHiddenSpread);
      }};
  const auto slots = define_slots("cuda", shape, spec, values, tokens, executor);
  compare_outputs("cuda", tokens, slots, slot_outputs_rounded);
}

}  // namespace sluice::bench
