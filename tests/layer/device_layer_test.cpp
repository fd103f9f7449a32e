// MoeLayer over a device backend, without a device.
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <sluice/error.hpp>

#include "backends/fake_device.hpp"
#include "layer/small_layer.hpp"

namespace sluice {
namespace {

using test::FakeArray;
using test::FakeBackend;
using test::kFakeDevice;
using test::SmallLayer;
using test::Tokens;

LayerOptions on(const Backend& backend) {
  LayerOptions options;
  options.instance = &backend;
  options.load.executor = make_executor(1);
  return options;
}

void expect_error(ErrorKind kind, const std::vector<std::string>& parts,
                  const std::function<void()>& action) {
  try {
    action();
    ADD_FAILURE() << "no error; expected one with: " << parts[0];
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    for (const std::string& part : parts) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  }
}

// Tokens whose tensors are on the fake device.
struct DeviceTokens {
  DeviceTokens(const FakeBackend& backend, Tokens& tokens)
      : host(tokens),
        hidden(backend.memory, tokens.from_hidden().hidden_states),
        logits(backend.memory, tokens.from_logits().router_logits),
        output(backend.memory, tokens.views().output),
        ids(backend.memory, tokens.views().topk_ids),
        weights(backend.memory, tokens.views().topk_weights) {}
  ForwardInput from_hidden() const { return {hidden.view(), {}, {}, {}, {}}; }
  ForwardInput from_logits() const { return {hidden.view(), logits.view(), {}, {}, {}}; }
  ForwardOutput views() const {
    return {output.mutable_view(), ids.mutable_view(), weights.mutable_view()};
  }
  void bring_back() {
    output.copy_out(host.output.data());
    ids.copy_out(host.ids.data());
    weights.copy_out(host.weights.data());
  }
  Tokens& host;
  FakeArray hidden, logits, output, ids, weights;
};

void expect_same(const Tokens& a, const Tokens& b) {
  EXPECT_EQ(a.output, b.output);
  EXPECT_EQ(a.ids, b.ids);
  EXPECT_EQ(a.weights, b.weights);
}

class DeviceLayer : public ::testing::Test {
 protected:
  DeviceLayer() { host.forward(expected.from_logits(), expected.views()); }

  const SmallLayer small;
  FakeBackend fake;
  MoeLayer host{small.spec, small.weights(), on(backend("reference"))};
  Tokens expected{5};
};

TEST_F(DeviceLayer, HostTensorsAreCopiedThereAndBack) {
  MoeLayer layer(small.spec, small.weights(), on(fake));
  Tokens tokens(5);
  int stream = 0;
  layer.forward(tokens.from_logits(), tokens.views(), &stream);
  expect_same(tokens, expected);
  EXPECT_EQ(fake.last_stream.load(), &stream);

  // Given routing as well, with results that nobody asks for left out.
  Tokens given(5);
  ForwardInput input = given.from_hidden();
  input.topk_ids = test::view(expected.ids, DType::i32, {5, 3});
  input.topk_weights = test::view(expected.weights, DType::f32, {5, 3});
  layer.forward(input, {given.views().output, {}, {}});
  EXPECT_EQ(given.output, expected.output);
}

TEST_F(DeviceLayer, DeviceTensorsGoStraightThrough) {
  MoeLayer layer(small.spec, small.weights(), on(fake));
  Tokens tokens(5);
  DeviceTokens there(fake, tokens);
  const int before = fake.memory->allocations();
  layer.forward(there.from_logits(), there.views());
  EXPECT_EQ(fake.memory->allocations(), before + 1) << "a workspace and nothing else";
  there.bring_back();
  expect_same(tokens, expected);
}

TEST_F(DeviceLayer, AllocatesOnlyWhenACallIsLargerThanAllBefore) {
  MoeLayer layer(small.spec, small.weights(), on(fake));
  Tokens five(5), six(6), two(2);
  DeviceTokens there(fake, five);
  layer.forward(five.from_logits(), five.views());
  layer.forward(there.from_logits(), there.views());
  const int before = fake.memory->allocations();
  const std::size_t bytes = fake.memory->live_bytes();
  for (int i = 0; i < 3; ++i) {
    layer.forward(five.from_logits(), five.views());
    layer.forward(two.from_logits(), two.views());
    layer.forward(there.from_logits(), there.views());
  }
  EXPECT_EQ(fake.memory->allocations(), before);
  layer.forward(six.from_logits(), six.views());
  EXPECT_EQ(fake.memory->allocations(), before + 1);
  EXPECT_GT(fake.memory->live_bytes(), bytes);
}

TEST_F(DeviceLayer, GivesEverythingBack) {
  const std::size_t before = fake.memory->live_bytes();
  {
    MoeLayer layer(small.spec, small.weights(), on(fake));
    Tokens tokens(3);
    layer.forward(tokens.from_logits(), tokens.views());
    DeviceTokens there(fake, tokens);
    layer.forward(there.from_logits(), there.views());
    EXPECT_GT(fake.memory->live_bytes(), before);
  }
  EXPECT_EQ(fake.memory->live_bytes(), before);
}

TEST_F(DeviceLayer, SaysWhenMemoryRunsOutAndGoesOnAfterwards) {
  MoeLayer layer(small.spec, small.weights(), on(fake));
  Tokens tokens(5), many(500);
  layer.forward(tokens.from_logits(), tokens.views());
  fake.memory->limit = fake.memory->live_bytes() + 100;
  expect_error(ErrorKind::device, {"bytes are needed"},
               [&] { layer.forward(many.from_logits(), many.views()); });
  Tokens again(5);
  layer.forward(again.from_logits(), again.views());
  expect_same(again, expected);
}

TEST_F(DeviceLayer, RouterWeightOfHostTensorsIsMultipliedOnTheHostOrByTheExperts) {
  Tokens wanted(5);
  host.forward(wanted.from_hidden(), wanted.views());
  for (bool by_experts : {false, true}) {
    fake.computes_logits = by_experts;
    MoeLayer layer(small.spec, small.weights(), on(fake));
    Tokens tokens(5);
    layer.forward(tokens.from_hidden(), tokens.views());
    expect_same(tokens, wanted);

    DeviceTokens there(fake, tokens);
    if (by_experts) {
      tokens = Tokens(5);
      layer.forward(there.from_hidden(), there.views());
      there.bring_back();
      expect_same(tokens, wanted);
    } else {
      expect_error(ErrorKind::unsupported, {"router.weight", "fake", "cuda:1"},
                   [&] { layer.forward(there.from_hidden(), there.views()); });
    }
  }
}

// Rows from `live` on hold what they held.
void expect_rows(const Tokens& found, const Tokens& expected, const Tokens& before,
                 std::size_t live) {
  const auto check = [&](const auto& of, const auto& from, const auto& untouched) {
    const std::size_t rows = of.size() / static_cast<std::size_t>(found.count) * live;
    for (std::size_t i = 0; i < of.size(); ++i) EXPECT_EQ(of[i], (i < rows ? from : untouched)[i]);
  };
  check(found.output, expected.output, before.output);
  check(found.ids, expected.ids, before.ids);
  check(found.weights, expected.weights, before.weights);
}

TEST_F(DeviceLayer, ATokenCountCutsTheCallWhereverItsTensorsAre) {
  fake.reads_token_count = true;
  MoeLayer layer(small.spec, small.weights(), on(fake));
  for (std::int32_t live : {0, 1, 3, 5}) {
    std::vector<std::int32_t> count{live};
    Tokens untouched(5), tokens(5), here(5);
    ForwardInput staged = here.from_logits();
    staged.token_count = test::view(count, DType::i32, {1});
    layer.forward(staged, here.views());
    expect_rows(here, expected, untouched, static_cast<std::size_t>(live));

    DeviceTokens there(fake, tokens);
    const FakeArray on_device(fake.memory, staged.token_count);
    ForwardInput input = there.from_logits();
    input.token_count = on_device.view();
    layer.forward(input, there.views());
    there.bring_back();
    expect_rows(tokens, expected, untouched, static_cast<std::size_t>(live));
  }
}

TEST_F(DeviceLayer, ATokenCountThatNobodyWouldReadIsRefused) {
  Tokens tokens(5);
  DeviceTokens there(fake, tokens);
  std::vector<std::int32_t> count{3};
  const FakeArray on_device(fake.memory, test::view(count, DType::i32, {1}));
  ForwardInput input = there.from_logits();
  input.token_count = on_device.view();
  MoeLayer deaf(small.spec, small.weights(), on(fake));
  expect_error(ErrorKind::unsupported, {"token_count", "fake"},
               [&] { deaf.forward(input, there.views()); });

  fake.reads_token_count = true;
  LayerOptions bounded = on(fake);
  bounded.workspace_limit =
      fake.load(small.spec, small.weights(), bounded.load)->workspace_bytes(4);
  MoeLayer pieces(small.spec, small.weights(), bounded);
  expect_error(ErrorKind::unsupported, {"token_count", "5 tokens", "pieces of 4"},
               [&] { pieces.forward(input, there.views()); });
}

TEST_F(DeviceLayer, TakesWeightsFromTheDeviceAndRefusesThoseOfAnother) {
  MoeWeights weights = small.weights();
  const FakeArray router(fake.memory, weights.router_weight);
  const FakeArray down(fake.memory, weights.down_proj[2]);
  weights.router_weight = router.view();
  weights.down_proj[2] = down.view();
  MoeLayer layer(small.spec, weights, on(fake));
  Tokens wanted(5), tokens(5);
  host.forward(wanted.from_hidden(), wanted.views());
  layer.forward(tokens.from_hidden(), tokens.views());
  expect_same(tokens, wanted);

  expect_error(ErrorKind::unsupported, {"cuda:1", "reads host memory"},
               [&] { MoeLayer(small.spec, weights, on(backend("reference"))); });
  weights.down_proj[2].device.index = 3;
  expect_error(ErrorKind::unsupported, {"down_proj", "cuda:3", "cuda:1"},
               [&] { MoeLayer(small.spec, weights, on(fake)); });
}

TEST_F(DeviceLayer, RefusesTensorsInTwoPlaces) {
  MoeLayer layer(small.spec, small.weights(), on(fake));
  Tokens tokens(5);
  DeviceTokens there(fake, tokens);
  ForwardInput mixed = there.from_hidden();
  mixed.router_logits = tokens.from_logits().router_logits;
  expect_error(ErrorKind::user, {"hidden_states is on cuda:1", "router_logits on cpu"},
               [&] { layer.forward(mixed, there.views()); });
  expect_error(ErrorKind::user, {"output on cpu"},
               [&] { layer.forward(there.from_logits(), tokens.views()); });
  ForwardInput elsewhere = there.from_logits();
  elsewhere.hidden_states.device.index = elsewhere.router_logits.device.index = 0;
  ForwardOutput output = there.views();
  output.output.device.index = output.topk_ids.device.index = output.topk_weights.device.index = 0;
  expect_error(ErrorKind::user, {"on cuda:0", "loaded on cuda:1"},
               [&] { layer.forward(elsewhere, output); });
  expect_error(ErrorKind::unsupported, {"cuda:1", "reads host memory"},
               [&] { host.forward(there.from_logits(), there.views()); });
}

// At the bound, one below and one above, for staged tensors and for those on the device.
TEST_F(DeviceLayer, LongCallsGoThroughInPiecesThatFitTheWorkspaceLimit) {
  const LoadOptions load = on(fake).load;
  const auto bytes = [&](std::int64_t tokens) {
    return fake.load(small.spec, small.weights(), load)->workspace_bytes(tokens);
  };
  std::vector<std::int64_t> pieces;
  fake.afterwards = [&](const ForwardInput& input, const auto&, auto) {
    pieces.push_back(input.hidden_states.shape[0]);
  };
  LayerOptions options = on(fake);
  for (const std::size_t limit : {bytes(4), bytes(5) - 1}) {
    options.workspace_limit = limit;
    MoeLayer layer(small.spec, small.weights(), options);
    const std::pair<std::int64_t, std::vector<std::int64_t>> cases[] = {
        {3, {3}}, {4, {4}}, {5, {4, 1}}, {7, {4, 3}}, {8, {4, 4}}, {9, {4, 4, 1}}};
    for (const auto& [count, expected_pieces] : cases) {
      Tokens wanted(count), staged(count), direct(count);
      host.forward(wanted.from_logits(), wanted.views());
      pieces.clear();
      layer.forward(staged.from_logits(), staged.views());
      expect_same(staged, wanted);
      EXPECT_EQ(pieces, expected_pieces);

      DeviceTokens there(fake, direct);
      pieces.clear();
      layer.forward(there.from_logits(), there.views());
      there.bring_back();
      expect_same(direct, wanted);
      EXPECT_EQ(pieces, expected_pieces);
    }
    EXPECT_EQ(layer.workspace_bytes(9), layer.workspace_bytes(4))
        << "logits take 256 bytes in both";
  }
  options.workspace_limit = bytes(1) - 1;
  expect_error(ErrorKind::user, {"workspace_limit", "one token needs"},
               [&] { MoeLayer(small.spec, small.weights(), options); });
}

// What a layer's calls had for a workspace, one after the other.
std::vector<std::span<std::byte>> watch_workspaces(FakeBackend& fake,
                                                   const std::function<void()>& calls) {
  std::vector<std::span<std::byte>> seen;
  fake.afterwards = [&](const ForwardInput&, const ForwardOutput&, std::span<std::byte> workspace) {
    seen.push_back(workspace);
  };
  calls();
  fake.afterwards = nullptr;
  return seen;
}

TEST_F(DeviceLayer, OutgrownMemoryIsKeptForWhatWasRecordedWithIt) {
  MoeLayer layer(small.spec, small.weights(), on(fake));
  Tokens few(5), many(90);
  DeviceTokens there(fake, few), more(fake, many);
  int stream = 0;
  const auto seen = watch_workspaces(fake, [&] {
    layer.forward(there.from_logits(), there.views());
    fake.memory->recorded = &stream;
    layer.forward(there.from_logits(), there.views(), &stream);
    fake.memory->recorded = nullptr;
    layer.forward(more.from_logits(), more.views());
  });
  ASSERT_EQ(seen.size(), 3u);
  EXPECT_EQ(seen[1].data(), seen[0].data());
  EXPECT_GT(seen[2].size(), seen[1].size());
  EXPECT_TRUE(fake.memory->owns(seen[1].data(), seen[1].size())) << "a replay would use it";
}

TEST_F(DeviceLayer, OutgrownMemoryThatNothingWasRecordedWithIsGivenBackFirst) {
  MoeLayer layer(small.spec, small.weights(), on(fake));
  Tokens few(5), many(90);
  DeviceTokens there(fake, few), more(fake, many);
  layer.forward(there.from_logits(), there.views());
  const std::size_t before = fake.memory->live_bytes();
  const auto seen =
      watch_workspaces(fake, [&] { layer.forward(more.from_logits(), more.views()); });
  EXPECT_LT(fake.memory->live_bytes(), before + seen[0].size());
}

TEST_F(DeviceLayer, WhatIsRecordedCannotGrowAndLosesNothing) {
  MoeLayer layer(small.spec, small.weights(), on(fake));
  Tokens few(5), many(90);
  DeviceTokens there(fake, few), more(fake, many);
  int stream = 0;
  layer.forward(there.from_logits(), there.views());
  const std::size_t before = fake.memory->live_bytes();
  fake.memory->recorded = &stream;
  expect_error(ErrorKind::device, {"before the capture"},
               [&] { layer.forward(more.from_logits(), more.views(), &stream); });
  EXPECT_EQ(fake.memory->live_bytes(), before);
  layer.forward(there.from_logits(), there.views(), &stream);
  there.bring_back();
  expect_same(few, expected);
}

TEST_F(DeviceLayer, NoTokensNeedNoMemory) {
  MoeLayer layer(small.spec, small.weights(), on(fake));
  const int before = fake.memory->allocations();
  Tokens none(0);
  layer.forward(none.from_logits(), none.views());
  EXPECT_EQ(fake.memory->allocations(), before);
}

TEST_F(DeviceLayer, CountsTheWorkspaceOnTheDevice) {
  MoeLayer layer(small.spec, small.weights(), on(fake));
  EXPECT_GT(layer.workspace_bytes(7), host.workspace_bytes(7));
}

}  // namespace
}  // namespace sluice
