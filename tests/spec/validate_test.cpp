#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>

#include <sluice/error.hpp>
#include <sluice/spec.hpp>

namespace sluice {
namespace {

struct Contradiction {
  const char* name;
  std::function<void(MoeSpec&)> make;
  std::vector<std::string> mentions;  // both values, both names
};

std::ostream& operator<<(std::ostream& out, const Contradiction& c) { return out << c.name; }

MoeSpec valid_spec() {
  MoeSpec spec;
  spec.router.num_experts = 12;
  spec.router.top_k = 3;
  spec.experts.hidden_size = 24;
  spec.experts.intermediate_size = 48;
  return spec;
}

const std::vector<Contradiction> kContradictions{
    {"TopKAboveExperts",
     [](MoeSpec& s) { s.router.top_k = 13; },
     {"router.top_k is 13", "router.num_experts is 12"}},
    {"NoExperts", [](MoeSpec& s) { s.router.num_experts = 0; }, {"router.num_experts is 0"}},
    {"HugeSize",
     [](MoeSpec& s) { s.experts.hidden_size = std::int64_t{1} << 40; },
     {"experts.hidden_size is 1099511627776"}},
    {"OddHidden",
     [](MoeSpec& s) { s.experts.hidden_size = 20; },
     {"experts.hidden_size is 20", "multiple of 8"}},
    {"UnevenGroups",
     [](MoeSpec& s) { s.router.n_group = 5; },
     {"router.num_experts is 12", "router.n_group 5"}},
    {"TooFewKept",
     [](MoeSpec& s) {
       s.router.n_group = 6;
       s.router.topk_group = 1;
     },
     {"router.topk_group 1", "router.top_k 3"}},
    {"TopkGroupAboveGroups",
     [](MoeSpec& s) { s.router.topk_group = 2; },
     {"router.topk_group is 2", "(1)"}},
    {"GroupsOfOne",
     [](MoeSpec& s) {
       s.router.n_group = 12;
       s.router.topk_group = 6;
     },
     {"sum_of_top2", "groups hold 1"}},
    {"GroupsAfterTopk",
     [](MoeSpec& s) {
       s.router.n_group = 2;
       s.router.score_order = ScoreOrder::after_topk;
     },
     {"router.n_group is 2", "after_topk"}},
    {"BiasedWithoutBias",
     [](MoeSpec& s) { s.router.weights_from_biased_scores = true; },
     {"weights_from_biased_scores", "e_score_correction_bias"}},
    {"WeightOnInput",
     [](MoeSpec& s) { s.router.apply_router_weight_on_input = true; },
     {"apply_router_weight_on_input", "router.top_k is 3"}},
    {"FactorBeyondFp32",
     [](MoeSpec& s) { s.router.routed_scaling_factor = -1e39; },
     {"router.routed_scaling_factor is -1e+39", "fp32"}},
    {"EpsBeyondFp32",
     [](MoeSpec& s) { s.router.norm_eps = 1e300; },
     {"router.norm_eps is 1e+300", "fp32"}},
    {"AlphaBeyondFp32",
     [](MoeSpec& s) { s.experts.swiglu_alpha = 3.5e38; },
     {"experts.swiglu_alpha is 3.5e+38", "fp32"}},
    {"BetaBeyondFp32",
     [](MoeSpec& s) { s.experts.swiglu_beta = -3.5e38; },
     {"experts.swiglu_beta is -3.5e+38", "fp32"}},
    {"NegativeEps", [](MoeSpec& s) { s.router.norm_eps = -1e-9; }, {"router.norm_eps is -1e-09"}},
    {"NanFactor",
     [](MoeSpec& s) { s.router.routed_scaling_factor = std::nan(""); },
     {"router.routed_scaling_factor is nan"}},
    {"InterleavedWithoutGate",
     [](MoeSpec& s) {
       s.experts.activation = Activation::relu2;
       s.experts.gate_up_order = GateUpOrder::interleaved;
     },
     {"experts.gate_up_order is interleaved", "relu2"}},
    {"LimitOnGeglu",
     [](MoeSpec& s) {
       s.experts.activation = Activation::geglu;
       s.experts.swiglu_limit = 7;
     },
     {"experts.swiglu_limit is 7", "geglu"}},
    {"ZeroLimit", [](MoeSpec& s) { s.experts.swiglu_limit = 0; }, {"experts.swiglu_limit is 0"}},
    {"GateWithoutShared",
     [](MoeSpec& s) { s.layer.shared_expert_gate = true; },
     {"shared_expert_gate", "num_shared_experts is 0"}},
    {"WidthWithoutShared",
     [](MoeSpec& s) { s.layer.shared_intermediate_size = 64; },
     {"shared_intermediate_size is 64", "num_shared_experts is 0"}},
    {"RankBeyondSize",
     [](MoeSpec& s) {
       s.layer.tp_rank = 2;
       s.layer.tp_size = 2;
     },
     {"layer.tp_rank is 2", "(1)"}},
    {"UnevenSlices",
     [](MoeSpec& s) { s.layer.tp_size = 4; },
     {"experts.intermediate_size is 48", "multiple of 32"}},
    {"OffsetBeyond",
     [](MoeSpec& s) {
       s.layer.local_expert_offset = 5;
       s.layer.num_local_experts = 8;
     },
     {"local_expert_offset 5", "8 local experts", "12"}},
    {"MapTooShort",
     [](MoeSpec& s) {
       s.layer.expert_map = {0, 1};
     },
     {"2 entries", "12"}},
    {"MapTwice",
     [](MoeSpec& s) { s.layer.expert_map = {0, 0, 1, -1, -1, -1, -1, -1, -1, -1, -1, -1}; },
     {"expert_map[1] is 0"}},
    {"MapOutOfRange",
     [](MoeSpec& s) { s.layer.expert_map = {0, -2, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1}; },
     {"expert_map[1] is -2"}},
    {"MapBesideOffset",
     [](MoeSpec& s) {
       s.layer.expert_map = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
       s.layer.local_expert_offset = 1;
       s.layer.num_local_experts = 4;
     },
     {"expert_map", "local_expert_offset 1"}},
};

class Validate : public testing::TestWithParam<Contradiction> {};

TEST_P(Validate, NamesTheFieldAndBothValues) {
  MoeSpec spec = valid_spec();
  ASSERT_NO_THROW(validate(spec));
  GetParam().make(spec);
  try {
    validate(spec);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::user);
    for (const std::string& text : GetParam().mentions) {
      EXPECT_NE(std::string(error.what()).find(text), std::string::npos)
          << "\"" << text << "\" is not in: " << error.what();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Contradictions, Validate, testing::ValuesIn(kContradictions),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(ValidateAll, ListsEveryContradictionAtOnce) {
  MoeSpec spec = valid_spec();
  spec.router.top_k = 40;
  spec.router.weights_from_biased_scores = true;
  spec.experts.swiglu_limit = -1;
  try {
    validate(spec);
    FAIL() << "accepted";
  } catch (const Error& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("top_k"), std::string::npos);
    EXPECT_NE(text.find("weights_from_biased_scores"), std::string::npos);
    EXPECT_NE(text.find("swiglu_limit"), std::string::npos);
  }
}

// What rounds to fp32's largest number is finite there; a limit that fp32 cannot hold cuts nothing.
TEST(ValidateAll, AcceptsWhatFp32Holds) {
  MoeSpec spec = valid_spec();
  spec.router.routed_scaling_factor = 3.4028235e38;
  spec.router.norm_eps = 3.4e38;
  spec.experts.swiglu_alpha = -3.4e38;
  for (const double limit : {7.0, 1e39, HUGE_VAL}) {
    spec.experts.swiglu_limit = limit;
    EXPECT_NO_THROW(validate(spec));
  }
}

TEST(ValidateAll, NamesEveryEnumerationThatHoldsNoValueOfItsOwn) {
  MoeSpec spec = valid_spec();
  spec.router.score_func = static_cast<ScoreFunc>(77);
  spec.router.norm_rule = static_cast<NormRule>(2);
  spec.experts.activation_format = static_cast<ActivationFormat>(99);
  spec.layer.output_dtype = static_cast<OutputDType>(4);
  EXPECT_EQ(to_string(spec.router.score_func), "(no such value)");
  try {
    validate(spec);
    FAIL() << "accepted";
  } catch (const Error& error) {
    const std::string text = error.what();
    for (const char* part :
         {"router.score_func is the number 77; it must lie in 0 … 3 (softmax, sigmoid",
          "router.norm_rule is the number 2; it must lie in 0 … 1 (add, clamp)",
          "experts.activation_format is the number 99", "layer.output_dtype is the number 4"}) {
      EXPECT_NE(text.find(part), std::string::npos) << part << " is not in: " << text;
    }
  }
}

TEST(LocalExperts, OffsetAndCountMapGlobalToLocal) {
  MoeSpec spec = valid_spec();
  spec.layer.local_expert_offset = 4;
  spec.layer.num_local_experts = 5;
  EXPECT_EQ(local_expert_count(spec), 5);
  EXPECT_EQ(local_expert(spec, 3), -1);
  EXPECT_EQ(local_expert(spec, 4), 0);
  EXPECT_EQ(local_expert(spec, 8), 4);
  EXPECT_EQ(local_expert(spec, 9), -1);
}

TEST(LocalExperts, WhatIsNoExpertIsNotLocal) {
  MoeSpec spec = valid_spec();
  spec.layer.expert_map.assign(static_cast<std::size_t>(spec.router.num_experts), -1);
  spec.layer.expert_map.back() = 0;
  EXPECT_EQ(local_expert(spec, spec.router.num_experts - 1), 0);
  EXPECT_EQ(local_expert(spec, -1), -1);
  EXPECT_EQ(local_expert(spec, spec.router.num_experts), -1);
  EXPECT_EQ(local_expert(spec, std::int64_t{1} << 40), -1);
}

}  // namespace
}  // namespace sluice
