// What `sluice bench` times on a GPU is compared first: would the comparison notice?
#include "cuda/check_tokens.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <sluice/error.hpp>
#include <sluice/layer.hpp>

#include "base/float_types.hpp"
#include "cuda/bench_tensors.hpp"
#include "cuda/random_bf16.hpp"

namespace sluice::bench {
namespace {

const Shape kLayer = shape("96,72,10,3");

std::vector<std::uint16_t> drawn(std::uint64_t tensor, std::int64_t count, float spread) {
  std::vector<std::uint16_t> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = random_bf16(tensor, i, spread);
  return values;
}

// Three tokens by the reference backend.
std::vector<ComputedToken> computed(Draw draw) {
  constexpr std::int64_t kTokens = 3;
  std::vector<std::vector<std::uint16_t>> memory;
  MoeWeights weights;
  for (std::int64_t e = 0; e < kLayer.experts; ++e) {
    const std::int64_t half = kLayer.hidden * kLayer.intermediate;
    memory.push_back(drawn(gate_up_tensor(e), 2 * half, kWeightSpread));
    memory.push_back(drawn(down_tensor(e), half, kWeightSpread));
  }
  for (std::size_t e = 0; e < memory.size(); e += 2) {
    weights.gate_up_proj.push_back(
        {memory[e].data(), DType::bf16, {2 * kLayer.intermediate, kLayer.hidden}, {}});
    weights.down_proj.push_back(
        {memory[e + 1].data(), DType::bf16, {kLayer.hidden, kLayer.intermediate}, {}});
  }
  const auto hidden = drawn(kHiddenTensor, kTokens * kLayer.hidden, kHiddenSpread);
  const auto logits = draw_logits(kLayer, draw, kTokens, 5);
  std::vector<std::uint16_t> output(hidden.size());
  std::vector<std::int32_t> ids(static_cast<std::size_t>(kTokens * kLayer.top_k));
  std::vector<float> routed(ids.size());
  LayerOptions options;
  options.backend = "reference";
  MoeLayer layer(bench_spec(kLayer), weights, options);
  layer.forward({{hidden.data(), DType::bf16, {kTokens, kLayer.hidden}, {}},
                 {logits.data(), DType::f32, {kTokens, kLayer.experts}, {}},
                 {},
                 {}},
                {{output.data(), DType::bf16, {kTokens, kLayer.hidden}, {}},
                 {ids.data(), DType::i32, {kTokens, kLayer.top_k}, {}},
                 {routed.data(), DType::f32, {kTokens, kLayer.top_k}, {}}});
  const auto row = [](const auto& all, std::int64_t token, std::int64_t columns) {
    return std::decay_t<decltype(all)>(all.begin() + token * columns,
                                       all.begin() + (token + 1) * columns);
  };
  std::vector<ComputedToken> tokens;
  for (std::int64_t t = 0; t < kTokens; ++t) {
    tokens.push_back({t, row(logits, t, kLayer.experts), row(ids, t, kLayer.top_k),
                      row(routed, t, kLayer.top_k), row(output, t, kLayer.hidden)});
  }
  return tokens;
}

void check(const std::vector<ComputedToken>& tokens, bool slot_outputs_rounded = false) {
  const auto executor = make_executor(1);
  check_tokens(kLayer, bench_spec(kLayer), tokens, slot_outputs_rounded, *executor);
}

TEST(CheckTokens, AcceptsTheReference) {
  for (Draw draw : {Draw::uniform, Draw::zipf, Draw::hot}) EXPECT_NO_THROW(check(computed(draw)));
}

// How many steps of bf16 an element may be off.
TEST(CheckTokens, RoundedSlotsWidenTheBoundByThemselvesAlone) {
  EXPECT_NO_THROW(check(computed(Draw::uniform), true));
  std::vector<ComputedToken> tokens = computed(Draw::uniform);
  const auto steps_until_refused = [&](bool slot_outputs_rounded) {
    std::uint16_t& y = tokens[1].output[5];
    const std::uint16_t right = y;
    int steps = 0;
    try {
      for (; steps < 1000; ++steps, ++y) check(tokens, slot_outputs_rounded);
    } catch (const Error&) {
    }
    y = right;
    return steps;
  };
  const int exact = steps_until_refused(false);
  const int rounded = steps_until_refused(true);
  EXPECT_GT(exact, 0);
  EXPECT_GT(rounded, exact);
  EXPECT_LT(rounded, exact * 2 + 1) << "2^-8 of the slots, where the bound was 2^-8 of more";
}

TEST(CheckTokens, SeesWhatIsLost) {
  const std::pair<const char*, std::function<void(ComputedToken&)>> faults[] = {
      {"the factor, everywhere",
       [](ComputedToken& token) {
         for (float& weight : token.weights) weight /= 2.5f;
         for (auto& y : token.output) y = float_to_bf16(bf16_to_float(y) / 2.5f);
       }},
      {"the factor, in the output alone",
       [](ComputedToken& token) {
         for (auto& y : token.output) y = float_to_bf16(bf16_to_float(y) / 2.5f);
       }},
      {"two slots exchanged", [](ComputedToken& token) { std::swap(token.ids[0], token.ids[1]); }},
      {"another expert", [](ComputedToken& token) { token.ids[2] = (token.ids[2] + 1) % 10; }},
      {"another token", [](ComputedToken& token) { token.token = (token.token + 1) % 3; }},
      {"an element that was not written", [](ComputedToken& token) { token.output[77] = 0xffff; }}};
  for (const auto& [what, fault] : faults) {
    std::vector<ComputedToken> tokens = computed(Draw::uniform);
    fault(tokens[1]);
    EXPECT_THROW(check(tokens), Error) << what;
  }
}

// A peer beside ours: the definition takes much longer than either.
TEST(CompareTokens, DefineASlotOnceForEverybodyWhoComputedIt) {
  const std::int64_t half = kLayer.hidden * kLayer.intermediate;
  const auto floats = [](std::uint64_t tensor, std::int64_t first, std::int64_t count,
                         float spread) {
    const auto all = drawn(tensor, first + count, spread);
    std::vector<float> values;
    for (auto i = static_cast<std::size_t>(first); i < all.size(); ++i) {
      values.push_back(bf16_to_float(all[i]));
    }
    return values;
  };
  int defined = 0;
  const LayerValues values{
      [&](std::int64_t e) { return floats(gate_up_tensor(e), 0, half, kWeightSpread); },
      [&](std::int64_t e) { return floats(gate_up_tensor(e), half, half, kWeightSpread); },
      [&](std::int64_t e) {
        ++defined;
        return floats(down_tensor(e), 0, half, kWeightSpread);
      },
      [&](std::int64_t t) {
        return floats(kHiddenTensor, t * kLayer.hidden, kLayer.hidden, kHiddenSpread);
      }};
  std::vector<ComputedToken> tokens = computed(Draw::uniform);
  const auto executor = make_executor(1);
  const auto slots = define_slots("ours", kLayer, bench_spec(kLayer), values, tokens, *executor);
  EXPECT_NO_THROW(compare_outputs("ours", tokens, slots, false));
  tokens[2].output[7] = float_to_bf16(bf16_to_float(tokens[2].output[7]) + 1.0f);
  try {
    compare_outputs("a peer", tokens, slots, false);
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_TRUE(std::string_view(error.what()).starts_with("a peer is not timed"));
    EXPECT_NE(std::string_view(error.what()).find("token 2, element 7 "), std::string_view::npos);
  }
  EXPECT_EQ(defined, 3 * kLayer.top_k);
}

TEST(RandomBf16, IsSpreadAsAskedAndDiffersBetweenTensors) {
  double sum = 0.0, squares = 0.0;
  int equal = 0;
  constexpr int kCount = 20000;
  for (int i = 0; i < kCount; ++i) {
    const double value = bf16_to_float(random_bf16(3, static_cast<std::uint64_t>(i), 0.5f));
    sum += value;
    squares += value * value;
    equal += random_bf16(3, static_cast<std::uint64_t>(i), 0.5f) ==
             random_bf16(4, static_cast<std::uint64_t>(i), 0.5f);
  }
  // Six standard errors of a mean and of a variance of 20000 values.
  EXPECT_NEAR(sum / kCount, 0.0, 6 * 0.5 / 141);
  EXPECT_NEAR(squares / kCount, 0.25, 6 * 0.25 * 1.41 / 141);
  EXPECT_LT(equal, kCount / 50);
}

}  // namespace
}  // namespace sluice::bench
