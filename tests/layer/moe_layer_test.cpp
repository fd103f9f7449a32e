#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <sluice/error.hpp>
#include <string>

#include "base/float_types.hpp"
#include "layer/small_layer.hpp"

namespace sluice {
namespace {

using test::SmallLayer;
using test::Tokens;

LayerOptions reference() {
  LayerOptions options;
  options.backend = "reference";
  options.load.executor = make_executor(2);
  return options;
}

TEST(MoeLayer, RouterWeightAndLogitsGiveTheSameBits) {
  const SmallLayer small;
  MoeLayer layer(small.spec, small.weights(), reference());
  Tokens own(5);
  layer.forward(own.from_hidden(), own.views());

  Tokens given(5);
  for (std::int64_t token = 0; token < 5; ++token) {
    for (std::int64_t expert = 0; expert < 6; ++expert) {
      float logit = 0;
      for (std::int64_t i = 0; i < 8; ++i) {
        logit += small.router_weight[static_cast<std::size_t>(expert * 8 + i)] *
                 given.hidden[static_cast<std::size_t>(token * 8 + i)];
      }
      given.logits[static_cast<std::size_t>(token * 6 + expert)] = logit;
    }
  }
  layer.forward(given.from_logits(), given.views());
  EXPECT_EQ(own.ids, given.ids);
  EXPECT_EQ(own.weights, given.weights);
  EXPECT_EQ(own.output, given.output);
}

TEST(MoeLayer, RouterReadsEveryWidthOfHiddenStates) {
  const SmallLayer small;
  MoeLayer layer(small.spec, small.weights(), reference());
  Tokens wide(3);
  layer.forward(wide.from_hidden(), wide.views());
  for (DType dtype : {DType::bf16, DType::f16}) {
    Tokens narrow(3, dtype);
    std::vector<std::uint16_t> hidden;
    for (float value : narrow.hidden) {
      hidden.push_back(dtype == DType::bf16 ? float_to_bf16(value) : float_to_f16(value));
    }
    layer.forward({test::view(hidden, dtype, {3, 8}), {}, {}, {}}, narrow.views());
    EXPECT_EQ(narrow.ids, wide.ids) << to_string(dtype);
    EXPECT_EQ(narrow.weights, wide.weights) << to_string(dtype);
  }
}

TEST(MoeLayer, GivenRoutingEqualsOwnRouting) {
  for (bool on_output : {false, true}) {
    SmallLayer small;
    small.spec.router.apply_routed_scale_to_output = on_output;
    MoeLayer layer(small.spec, small.weights(), reference());
    Tokens own(7);
    layer.forward(own.from_logits(), own.views());
    Tokens given(7);
    ForwardInput input = given.from_hidden();
    input.topk_ids = test::view(own.ids, DType::i32, {7, 3});
    input.topk_weights = test::view(own.weights, DType::f32, {7, 3});
    layer.forward(input, given.views());
    EXPECT_EQ(own.output, given.output) << on_output;
    EXPECT_NE(given.output_at(0), 0.0f);
  }
}

TEST(MoeLayer, MatchesAHandComputedToken) {
  SmallLayer small;
  small.spec.router.top_k = 1;
  const auto weights = small.weights();
  MoeLayer layer(small.spec, weights, reference());
  Tokens tokens(1);
  const std::int64_t id = 4;
  const float weight = 0.5f;
  ForwardInput input = tokens.from_hidden();
  input.topk_ids = {&id, DType::i64, {1, 1}, {}};
  input.topk_weights = {&weight, DType::f32, {1, 1}, {}};
  ForwardOutput output = tokens.views();
  output.topk_ids = {};
  output.topk_weights = {};
  layer.forward(input, output);

  const auto block = [&](const float* up, const float* down, int width, int row) {
    float sum = 0;
    for (int i = 0; i < width; ++i) {
      float dot = 0;
      for (int c = 0; c < 8; ++c) dot += up[i * 8 + c] * tokens.hidden[static_cast<std::size_t>(c)];
      if (dot > 0) sum += down[row * width + i] * dot * dot;
    }
    return sum;
  };
  for (int row = 0; row < 8; ++row) {
    const float routed =
        block(small.gate_up.data() + 4 * 16 * 8, small.down.data() + 4 * 8 * 16, 16, row);
    const float shared = block(small.shared_gate_up.data(), small.shared_down.data(), 32, row);
    // The factor is part of given weights, so it must not be applied again; never to the shared.
    EXPECT_EQ(tokens.output_at(row), weight * routed + shared) << row;
  }
}

// On every backend alike; without a down bias none of 0 makes it NaN.
TEST(MoeLayer, AWeightBeyondFp32MakesTheOutputInfinite) {
  SmallLayer small;
  small.spec.router.routed_scaling_factor = 1e30;
  std::vector<float> outputs[2];
  for (const bool is_cpu : {false, true}) {
    LayerOptions options = reference();
    if (is_cpu) options.backend = "cpu";
    MoeLayer layer(small.spec, small.weights(), options);
    Tokens token(1);
    token.logits = {1e9f, 2, 1, -3, -3, -3};
    layer.forward(token.from_logits(), token.views());
    EXPECT_EQ(token.ids, (std::vector<std::int32_t>{0, 2, 1}));
    EXPECT_TRUE(std::isinf(token.weights[0]));
    for (std::int64_t i = 0; i < 8; ++i) outputs[is_cpu].push_back(token.output_at(i));
  }
  EXPECT_TRUE(std::isinf(outputs[0][0]));
  for (std::size_t i = 0; i < 8; ++i) {
    const float first = outputs[0][i];
    const float second = outputs[1][i];
    EXPECT_FALSE(std::isfinite(first)) << i;
    EXPECT_TRUE(first == second || (std::isnan(first) && std::isnan(second)))
        << i << ": " << first << " and " << second;
  }
}

TEST(MoeLayer, NoTokensIsLegalForEveryEntry) {
  const SmallLayer small;
  MoeLayer layer(small.spec, small.weights(), reference());
  Tokens none(0);
  layer.forward(none.from_hidden(), none.views());
  layer.forward(none.from_logits(), none.views());
}

class Workers final : public Executor {
 public:
  explicit Workers(int count) : count_(count) {}
  int workers() const override { return count_; }
  void run(const Task&) override { ADD_FAILURE() << "run"; }

 private:
  int count_;
};

TEST(MoeLayer, RefusesAnExecutorOfNoOrAbsurdlyManyWorkers) {
  const SmallLayer layer;
  for (const int workers : {0, -1, 4097, std::numeric_limits<int>::max()}) {
    for (const char* backend : {"cpu", "reference"}) {
      LayerOptions options;
      options.backend = backend;
      options.load.executor = std::make_shared<Workers>(workers);
      try {
        const MoeLayer made(layer.spec, layer.weights(), options);
        ADD_FAILURE() << "accepted " << workers;
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::user);
        EXPECT_NE(std::string(error.what()).find(std::to_string(workers)), std::string::npos)
            << error.what();
      }
    }
  }
}

TEST(MoeLayer, HasNoWorkspaceForFewerThanNoTokens) {
  const SmallLayer layer;
  const MoeLayer made(layer.spec, layer.weights());
  EXPECT_NO_THROW(made.workspace_bytes(0));
  EXPECT_THROW(made.workspace_bytes(-1), Error);
}

TEST(MoeLayer, GrowsItsWorkspaceAndKeepsIt) {
  const SmallLayer small;
  MoeLayer layer(small.spec, small.weights(), reference());
  EXPECT_LE(layer.workspace_bytes(1), layer.workspace_bytes(9));
  for (std::int64_t tokens : {2, 9, 1}) {
    Tokens twice[2] = {Tokens(tokens), Tokens(tokens)};
    for (Tokens& run : twice) layer.forward(run.from_hidden(), run.views());
    EXPECT_EQ(twice[0].output, twice[1].output) << tokens;
  }
}

TEST(MoeLayer, SaysWhatItWritesAndWhatRan) {
  SmallLayer small;
  MoeLayer as_input(small.spec, small.weights(), reference());
  EXPECT_EQ(as_input.output_dtype(DType::bf16), DType::bf16);
  EXPECT_EQ(as_input.backend().name(), "reference");
  EXPECT_FALSE(as_input.variant().empty());
  EXPECT_EQ(as_input.spec(), small.spec);
  small.spec.layer.output_dtype = OutputDType::f32;
  MoeLayer wide(small.spec, small.weights(), reference());
  EXPECT_EQ(wide.output_dtype(DType::bf16), DType::f32);
}

// A backend that honours nothing but what it is given, and remembers what it was asked.
class Recorder final : public Backend {
 public:
  explicit Recorder(FieldSet claims) : claims_(claims) {}
  std::string_view name() const override { return "recorder"; }
  std::optional<std::string> unavailable() const override { return missing; }
  FieldSet claims() const override { return claims_; }
  Support supports(const MoeSpec&) const override { return {"recording", {}}; }
  std::unique_ptr<Experts> load(const MoeSpec&, const MoeWeights&,
                                const LoadOptions&) const override {
    return std::make_unique<Recording>(*this);
  }
  bool batch_invariant() const override { return false; }

  std::optional<std::string> missing;
  mutable std::vector<std::size_t> workspaces;
  mutable std::vector<const std::byte*> addresses;

 private:
  class Recording final : public Experts {
   public:
    explicit Recording(const Recorder& owner) : owner_(owner) {}
    std::size_t workspace_bytes(std::int64_t tokens) const override {
      return 100 * static_cast<std::size_t>(tokens);
    }
    void forward(const ForwardInput&, const ForwardOutput&, std::span<std::byte> workspace,
                 void*) const override {
      owner_.workspaces.push_back(workspace.size());
      owner_.addresses.push_back(workspace.data());
    }
    std::size_t weight_bytes() const override { return 0; }

   private:
    const Recorder& owner_;
  };
  FieldSet claims_;
};

TEST(MoeLayer, AnInstanceWinsAndGetsItsExactWorkspace) {
  const SmallLayer small;
  const Recorder recorder(FieldSet::all());
  LayerOptions options;
  options.backend = "reference";
  options.instance = &recorder;
  MoeLayer layer(small.spec, small.weights(), options);
  EXPECT_EQ(&layer.backend(), &recorder);
  EXPECT_EQ(layer.variant(), "recording");
  for (std::int64_t tokens : {8, 3}) {
    Tokens run(tokens);
    layer.forward(run.from_logits(), run.views());
  }
  EXPECT_EQ(recorder.workspaces, (std::vector<std::size_t>{800, 300}));
  EXPECT_EQ(recorder.addresses[0], recorder.addresses[1]);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(recorder.addresses[0]) % kWorkspaceAlignment, 0u);
}

void expect_error(ErrorKind kind, const std::string& part, const std::function<void()>& action) {
  try {
    action();
    ADD_FAILURE() << "no error; expected one with: " << part;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

TEST(MoeLayer, RefusesByFieldBeforeItLoads) {
  const SmallLayer small;
  const Recorder forgetful(FieldSet::all().remove("router.routed_scaling_factor"));
  LayerOptions options;
  options.instance = &forgetful;
  expect_error(ErrorKind::unsupported, "router.routed_scaling_factor",
               [&] { MoeLayer(small.spec, small.weights(), options); });
  Recorder absent(FieldSet::all());
  absent.missing = "no such chip";
  options.instance = &absent;
  expect_error(ErrorKind::unsupported, "no such chip",
               [&] { MoeLayer(small.spec, small.weights(), options); });
}

TEST(MoeLayer, RefusesContradictionsAndWrongTensors) {
  SmallLayer small;
  MoeWeights weights = small.weights();
  weights.e_score_correction_bias = {};
  expect_error(ErrorKind::user, "e_score_correction_bias",
               [&] { MoeLayer(small.spec, weights, reference()); });
  LayerOptions unknown;
  unknown.backend = "referense";
  expect_error(ErrorKind::user, "did you mean \"reference\"",
               [&] { MoeLayer(small.spec, small.weights(), unknown); });
  small.spec.router.top_k = 7;
  expect_error(ErrorKind::user, "router.top_k is 7",
               [&] { MoeLayer(small.spec, small.weights(), reference()); });
}

TEST(MoeLayer, NeedsARouterWeightToEnterFromHiddenAlone) {
  const SmallLayer small;
  MoeWeights weights = small.weights();
  weights.router_weight = {};
  MoeLayer layer(small.spec, weights, reference());
  Tokens tokens(2);
  expect_error(ErrorKind::user, "router.weight",
               [&] { layer.forward(tokens.from_hidden(), tokens.views()); });
  layer.forward(tokens.from_logits(), tokens.views());
}

}  // namespace
}  // namespace sluice
