// Every instruction set that this machine has, forced in turn.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include "backends/cpu/cpu_runs.hpp"
#include "kernels/isa_list.hpp"

namespace sluice::test {
namespace {

class EveryIsa : public testing::TestWithParam<const Isa*> {
 protected:
  void SetUp() override { setenv("SLUICE_ISA", GetParam()->name, 1); }
  void TearDown() override { unsetenv("SLUICE_ISA"); }
};

// Every field away from neutral, one at a time and then on top of each other: a field that is lost
// on the way moves the output far beyond its bound.
TEST_P(EveryIsa, HonoursEveryFieldItClaims) {
  const FieldSet claims = cpu_backend().claims();
  for (const Field& field : fields()) {
    ASSERT_TRUE(claims.contains(field.name)) << field.name;
    for (std::uint32_t seed = 1; seed <= 3; ++seed) {
      MoeSpec spec = base_spec();
      if (!field.perturb(spec, seed) || !cpu_backend().supports(spec).ok()) continue;
      check(spec, 5, seed, seed == 3 ? DType::f32 : DType::bf16,
            fmt::format("{} seed {} on {}", field.name, seed, GetParam()->name));
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(EveryIsa, HonoursManyFieldsTogether) {
  for (std::uint32_t seed = 1; seed <= 12; ++seed) {
    MoeSpec spec = base_spec();
    std::uint32_t pick = seed * 2654435761u;
    for (const Field& field : fields()) {
      pick = pick * 1664525u + 1013904223u;
      MoeSpec next = spec;
      if (pick >> 30 != 0 || !field.perturb(next, seed)) continue;
      try {
        validate(next);
      } catch (const Error&) {
        continue;  // contradicts what was drawn before
      }
      if (cpu_backend().supports(next).ok()) spec = next;
    }
    check(spec, 1 + seed % 4 * 6, seed, DType::bf16, fmt::format("draw {}", seed));
    if (HasFatalFailure()) return;
  }
}

// Fields that mean something only beside each other.
TEST_P(EveryIsa, HonoursFieldsThatNeedEachOther) {
  MoeSpec llama = base_spec();
  llama.router.top_k = 1;
  llama.router.score_func = ScoreFunc::sigmoid;
  llama.router.score_order = ScoreOrder::after_topk;
  llama.router.apply_router_weight_on_input = true;
  llama.experts.down_bias = true;
  llama.layer.num_shared_experts = 1;
  check(llama, 9, 1, DType::bf16, "weight on input");

  MoeSpec sliced = base_spec();
  sliced.experts.intermediate_size = 80;
  sliced.experts.down_bias = sliced.experts.gate_up_bias = true;
  sliced.layer.num_shared_experts = 2;
  sliced.layer.shared_expert_gate = true;
  sliced.layer.tp_size = 2;
  for (std::int64_t rank : {0, 1}) {
    sliced.layer.tp_rank = rank;
    check(sliced, 5, 2, DType::bf16, "tensor-parallel rank with biases");
  }

  MoeSpec grouped = base_spec();
  grouped.router.score_func = ScoreFunc::sigmoid;
  grouped.router.e_score_correction_bias = true;
  grouped.router.n_group = 4;
  grouped.router.topk_group = 2;
  grouped.router.norm_eps = 0.03;
  grouped.router.apply_routed_scale_to_output = true;
  grouped.layer.num_shared_experts = 1;
  grouped.layer.expert_map = {3, -1, 0, 1, -1, 2, 4, -1, 5, 6, -1, 7};
  for (GroupScore score : {GroupScore::sum_of_top2, GroupScore::max}) {
    grouped.router.group_score = score;
    check(grouped, 17, 3, DType::f32, "groups on a rank with a map");
  }

  MoeSpec oss = base_spec();
  oss.router.router_bias = true;
  oss.router.score_order = ScoreOrder::after_topk;
  oss.experts.swiglu_alpha = 1.702;
  oss.experts.swiglu_beta = 1.0;
  oss.experts.swiglu_limit = 1.5;
  oss.experts.gate_up_bias = oss.experts.down_bias = true;
  oss.layer.num_shared_experts = 1;
  for (GateUpOrder order : {GateUpOrder::gate_up, GateUpOrder::up_gate, GateUpOrder::interleaved}) {
    oss.experts.gate_up_order = order;
    check(oss, 9, 4, DType::bf16, "clamped swiglu with biases");
  }
}

TEST_P(EveryIsa, EveryWeightAndActivationFormatAndSize) {
  for (WeightFormat weights : {WeightFormat::bf16, WeightFormat::f16, WeightFormat::f32}) {
    for (ActivationFormat activations :
         {ActivationFormat::bf16, ActivationFormat::f16, ActivationFormat::f32}) {
      for (std::int64_t hidden : {8, 64, 136}) {
        for (std::int64_t width : {8, 48}) {
          MoeSpec spec = base_spec();
          spec.experts = {};
          spec.experts.hidden_size = hidden;
          spec.experts.intermediate_size = width;
          spec.experts.weight_format = weights;
          spec.experts.activation_format = activations;
          check(spec, 19, 5, DType::f16, fmt::format("H {} I {}", hidden, width));
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

// Tile edges of tokens per expert: one expert takes every token, the others a few.
TEST_P(EveryIsa, EveryNumberOfTokensAndOneHotExpert) {
  MoeSpec spec = base_spec();
  spec.router.e_score_correction_bias = true;
  spec.experts.hidden_size = 24;
  spec.experts.intermediate_size = 16;
  for (std::int64_t tokens : {1, 2, 3, 4, 15, 16, 17, 31, 33, 127, 129, 140}) {
    check(spec, tokens, 8, DType::bf16, fmt::format("T {}", tokens));
    if (HasFatalFailure()) return;
  }
}

// The same bits from 2 and 5 threads, three times each, whatever the workspace held.
void expect_for_any_threads(const Outcome& whole, const MoeSpec& spec, const MoeWeights& weights,
                            const ForwardInput& input) {
  for (int threads : {2, 5}) {
    const auto experts = load(spec, weights, threads);
    for (int round = 0; round < 3; ++round) {
      EXPECT_EQ(whole, run(*experts, spec, input, round)) << threads;
    }
  }
}

TEST_P(EveryIsa, BitsDependNeitherOnThreadsNorOnOtherTokens) {
  MoeSpec spec = base_spec();
  spec.experts.hidden_size = 136;
  spec.experts.intermediate_size = 104;
  spec.layer.num_shared_experts = 1;
  DrawnLayer layer(spec, 3);
  const std::int64_t tokens = 150;
  const TensorView hidden = layer.draw({tokens, 136}, DType::bf16, 1.0f, 0.0f);
  const TensorView logits = layer.draw({tokens, 12}, DType::f32, 1.0f, 0.0f);
  const auto one = load(spec, layer.weights, 1);
  const Outcome whole = run(*one, spec, {hidden, logits, {}, {}}, 0xff);
  expect_for_any_threads(whole, spec, layer.weights, {hidden, logits, {}, {}});
  EXPECT_TRUE(cpu_backend().batch_invariant());
  for (std::int64_t token : {0, 77, 149}) {
    const TensorView h{
        static_cast<const std::byte*>(hidden.data) + token * 136 * 2, DType::bf16, {1, 136}, {}};
    const TensorView l{
        static_cast<const std::byte*>(logits.data) + token * 12 * 4, DType::f32, {1, 12}, {}};
    const Outcome alone = run(*one, spec, {h, l, {}, {}}, 0xff);
    EXPECT_EQ(0, std::memcmp(alone.output.data(), whole.output.data() + token * 136 * 2, 136 * 2));
  }
}

// So large a pass that x and activations take their places in turn, one expert's being all of its
// tokens, or on one and two threads that it goes through all stages tile by tile; that hidden
// states are rounded before they are gathered; and that outputs go past the caches.
TEST_P(EveryIsa, LargePassesHaveTheBitsOfTheirTokensAlone) {
  constexpr std::int64_t kHidden = 1024;
  MoeSpec spec = base_spec();
  spec.router.top_k = 8;
  spec.experts.hidden_size = kHidden;
  spec.experts.intermediate_size = 24;
  spec.experts.weight_format = WeightFormat::bf16;
  spec.experts.activation_format = ActivationFormat::bf16;
  spec.layer.num_shared_experts = 1;
  DrawnLayer layer(spec, 5);
  const std::int64_t tokens = 300;
  const TensorView logits = layer.draw({tokens, 12}, DType::f32, 1.0f, 0.0f);
  const auto one = load(spec, layer.weights, 1);
  for (const DType dtype : {DType::bf16, DType::f32}) {
    const TensorView hidden = layer.draw({tokens, kHidden}, dtype, 1.0f, 0.0f);
    const Outcome whole = run(*one, spec, {hidden, logits, {}, {}}, 0xff);
    expect_for_any_threads(whole, spec, layer.weights, {hidden, logits, {}, {}});
    const std::int64_t row_bytes = kHidden * bits(output_dtype(spec, dtype)) / 8;
    for (std::int64_t token = 0; token < tokens; token += 33) {
      const TensorView h{
          static_cast<const std::byte*>(hidden.data) + token * kHidden * bits(dtype) / 8,
          dtype,
          {1, kHidden},
          {}};
      const TensorView l{
          static_cast<const std::byte*>(logits.data) + token * 12 * 4, DType::f32, {1, 12}, {}};
      const Outcome alone = run(*one, spec, {h, l, {}, {}}, 0xff);
      EXPECT_EQ(0, std::memcmp(alone.output.data(), whole.output.data() + token * row_bytes,
                               static_cast<std::size_t>(row_bytes)))
          << token;
    }
  }
}

TEST_P(EveryIsa, TheVariantNamesTheForcedInstructionSet) {
  EXPECT_EQ(cpu_backend().supports(base_spec()).variant,
            fmt::format("gemm_bf16_bf16_{}", GetParam()->name));
}

INSTANTIATE_TEST_SUITE_P(Present, EveryIsa,
                         testing::ValuesIn(present_isas().begin(), present_isas().end()),
                         [](const auto& instance) { return std::string(instance.param->name); });

}  // namespace
}  // namespace sluice::test
