#include "layer/check_forward.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <sluice/error.hpp>

#include "layer/small_layer.hpp"

namespace sluice {
namespace {

using test::SmallLayer;
using test::Tokens;

class CheckForward : public ::testing::Test {
 protected:
  CheckForward() { given.topk_ids = test::view(ids, DType::i64, {2, 3}); }

  void expect_refusal(const ForwardInput& input, const ForwardOutput& output,
                      const std::string& part) {
    try {
      check_forward(spec, DType::f32, input, output);
      ADD_FAILURE() << "accepted; expected: " << part;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::user);
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  }

  const MoeSpec spec = SmallLayer().spec;
  Tokens tokens{2};
  std::vector<std::int64_t> ids{0, 5, 2, 4, 1, 3};
  std::vector<float> weights{1, 2, 3, -4, 0, 6};
  ForwardInput given = [this] {
    ForwardInput input = tokens.from_hidden();
    input.topk_weights = test::view(weights, DType::f32, {2, 3});
    return input;
  }();
};

TEST_F(CheckForward, TellsTheEntryForms) {
  EXPECT_EQ(check_forward(spec, DType::f32, tokens.from_hidden(), tokens.views()),
            Entry::router_weight);
  EXPECT_EQ(check_forward(spec, DType::f32, tokens.from_logits(), tokens.views()),
            Entry::router_logits);
  EXPECT_EQ(check_forward(spec, DType::f32, given, tokens.views()), Entry::given_routing);
}

TEST_F(CheckForward, RowsBeyondTheTokenCountMayHoldAnything) {
  ids[4] = -7;
  weights[5] = std::numeric_limits<float>::infinity();
  expect_refusal(given, tokens.views(), "token 1, slot 1 names expert -7");
  std::vector<std::int32_t> count{1};
  given.token_count = test::view(count, DType::i32, {1});
  EXPECT_EQ(check_forward(spec, DType::f32, given, tokens.views()), Entry::given_routing);
  EXPECT_EQ(counted_tokens(given), 1);
  count[0] = 2;
  expect_refusal(given, tokens.views(), "token 1, slot 1 names expert -7");
}

TEST_F(CheckForward, RefusesTokenCountsThatCannotBe) {
  std::vector<std::int32_t> count{3, 1};
  ForwardInput input = tokens.from_hidden();
  input.token_count = test::view(count, DType::i32, {1});
  expect_refusal(input, tokens.views(), "token_count is 3; the call has 2 tokens");
  count[0] = -1;
  expect_refusal(input, tokens.views(), "token_count is -1; the call has 2 tokens");
  input.token_count.shape = {2};
  expect_refusal(input, tokens.views(), "token_count has shape [2]; the layer needs [1]");
  input.token_count = test::view(count, DType::f32, {1});
  expect_refusal(input, tokens.views(), "token_count is F32; the layer needs I32");
}

TEST_F(CheckForward, NamesTheFirstOffendingToken) {
  ids[4] = 6;
  expect_refusal(given, tokens.views(), "token 1, slot 1 names expert 6");
  ids[4] = -1;
  expect_refusal(given, tokens.views(), "token 1, slot 1 names expert -1");
  ids[4] = 1;
  ids[5] = 4;
  expect_refusal(given, tokens.views(), "token 1 names expert 4 in slots 0 and 2");
  ids[5] = 3;
  for (float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    weights[3] = bad;
    expect_refusal(given, tokens.views(), "token 1, slot 0");
  }
}

TEST_F(CheckForward, RefusesHalfAndDoubleRouting) {
  ForwardInput half = given;
  half.topk_weights = {};
  expect_refusal(half, tokens.views(),
                 "topk_ids is given without topk_weights; given routing needs both (int32 that "
                 "packs id << 16");
  ForwardInput both = given;
  both.router_logits = tokens.from_logits().router_logits;
  expect_refusal(both, tokens.views(), "router_logits and topk_ids");
}

TEST_F(CheckForward, RefusesShapesAndDtypes) {
  ForwardInput input = tokens.from_logits();
  input.hidden_states.shape = {2, 16};
  expect_refusal(input, tokens.views(), "[tokens, 8]");
  input.hidden_states.shape = {-1, 8};
  ForwardOutput negative = tokens.views();
  negative.output.shape = {-1, 8};
  expect_refusal(input, negative, "hidden_states has shape [-1, 8]; the layer needs [tokens, 8]");
  input = tokens.from_logits();
  input.router_logits.shape = {2, 5};
  expect_refusal(input, tokens.views(), "router_logits has shape [2, 5]; the layer needs [2, 6]");
  input = tokens.from_logits();
  input.router_logits.dtype = DType::f16;
  expect_refusal(input, tokens.views(), "router_logits is F16; the layer needs F32 or BF16");
  input = given;
  input.topk_ids.shape = {2, 2};
  expect_refusal(input, tokens.views(), "topk_ids has shape [2, 2]");
  ForwardOutput output = tokens.views();
  output.output.dtype = DType::bf16;
  expect_refusal(tokens.from_logits(), output, "output is BF16; the layer needs F32");
  output = tokens.views();
  output.topk_weights.shape = {3, 3};
  expect_refusal(tokens.from_logits(), output, "output topk_weights has shape [3, 3]");
}

TEST_F(CheckForward, RefusesOverlappingBuffers) {
  ForwardOutput output = tokens.views();
  output.output.data = tokens.hidden.data() + 15;
  expect_refusal(tokens.from_logits(), output, "output overlaps hidden_states");
  output = tokens.views();
  output.output.data = tokens.logits.data() + 11;  // 16 floats from the last of 12
  expect_refusal(tokens.from_logits(), output, "output overlaps router_logits");
  output = tokens.views();
  output.topk_ids.data = ids.data() + 5;  // 24 bytes from the last 8
  expect_refusal(given, output, "output topk_ids overlaps topk_ids");
  output = tokens.views();
  output.topk_weights.data = weights.data();
  expect_refusal(given, output, "output topk_weights overlaps topk_weights");
  output = tokens.views();
  output.topk_ids.data = output.topk_weights.data;
  expect_refusal(tokens.from_logits(), output, "output topk_ids overlaps output topk_weights");
}

TEST_F(CheckForward, NoTokensNeedNoAddresses) {
  ForwardInput input;
  input.hidden_states.shape = {0, 8};
  ForwardOutput output;
  output.output.shape = {0, 8};
  EXPECT_NO_THROW(check_forward(spec, DType::f32, input, output));
  output.output.shape = {1, 8};
  expect_refusal(input, output, "output has shape [1, 8]");
}

}  // namespace
}  // namespace sluice
