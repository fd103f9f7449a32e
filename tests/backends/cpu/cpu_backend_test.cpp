#include "backends/cpu/cpu_backend.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstring>

#include "backends/cpu/drawn_layer.hpp"
#include "backends/cpu/truth.hpp"
#include "kernels/isa_list.hpp"

namespace sluice {
namespace {

using test::DrawnLayer;

// Off every grid that kernels like: H and I multiples of 8 only, K odd; E can be grouped.
MoeSpec base_spec() {
  MoeSpec spec;
  spec.router.num_experts = 12;
  spec.router.top_k = 3;
  spec.router.norm_topk_prob = true;
  spec.router.routed_scaling_factor = 2.446;
  spec.experts.hidden_size = 72;
  spec.experts.intermediate_size = 40;
  return spec;
}

struct Outcome {
  std::vector<std::byte> output;
  std::vector<std::int32_t> ids;
  std::vector<float> weights;
  bool operator==(const Outcome&) const = default;
};

struct Inputs {
  TensorView hidden, logits;
};

DType output_dtype(const MoeSpec& spec, DType hidden) {
  switch (spec.layer.output_dtype) {
    case OutputDType::f32:
      return DType::f32;
    case OutputDType::bf16:
      return DType::bf16;
    case OutputDType::f16:
      return DType::f16;
    case OutputDType::as_input:
      break;
  }
  return hidden;
}

// Outputs and workspace start as garbage of the given byte: 0xff is NaN in every float format.
Outcome run(const Experts& experts, const MoeSpec& spec, const ForwardInput& input, int garbage) {
  const std::int64_t tokens = input.hidden_states.shape[0];
  const DType dtype = output_dtype(spec, input.hidden_states.dtype);
  const auto slots = static_cast<std::size_t>(tokens * spec.router.top_k);
  Outcome run{std::vector<std::byte>(
                  static_cast<std::size_t>(tokens * spec.experts.hidden_size * bits(dtype) / 8)),
              std::vector<std::int32_t>(slots), std::vector<float>(slots)};
  std::memset(run.output.data(), garbage, run.output.size());
  // A guard behind the workspace: workspace_bytes is exact.
  const std::size_t bytes = experts.workspace_bytes(tokens);
  const std::size_t guarded = (bytes + 2 * kWorkspaceAlignment - 1) / kWorkspaceAlignment;
  std::unique_ptr<std::byte, decltype(&free)> memory(
      static_cast<std::byte*>(
          aligned_alloc(kWorkspaceAlignment, (guarded + 1) * kWorkspaceAlignment)),
      free);
  std::memset(memory.get(), garbage, (guarded + 1) * kWorkspaceAlignment);
  experts.forward(input,
                  {{run.output.data(), dtype, input.hidden_states.shape, {}},
                   {run.ids.data(), DType::i32, {tokens, spec.router.top_k}, {}},
                   {run.weights.data(), DType::f32, {tokens, spec.router.top_k}, {}}},
                  {memory.get(), bytes}, nullptr);
  for (std::size_t i = bytes; i < (guarded + 1) * kWorkspaceAlignment; ++i) {
    EXPECT_EQ(memory.get()[i], static_cast<std::byte>(garbage)) << "wrote behind the workspace";
  }
  return run;
}

std::vector<double> row(const TensorView& tensor, std::int64_t index) {
  std::vector<double> values;
  for (std::int64_t c = 0; c < tensor.shape[1]; ++c) {
    values.push_back(test::number(tensor, index * tensor.shape[1] + c));
  }
  return values;
}

void expect_true(const MoeSpec& spec, const MoeWeights& weights, const Inputs& in,
                 const Outcome& run, const std::string& what) {
  const std::int64_t tokens = in.hidden.shape[0];
  const DType dtype = output_dtype(spec, in.hidden.dtype);
  const auto top_k = static_cast<std::size_t>(spec.router.top_k);
  for (std::int64_t t = 0; t < tokens; ++t) {
    const auto routed = test::route(spec.router, weights, row(in.logits, t));
    for (std::size_t slot = 0; slot < top_k; ++slot) {
      const std::size_t at = static_cast<std::size_t>(t) * top_k + slot;
      ASSERT_EQ(run.ids[at], routed.ids[slot]) << what << " token " << t << " slot " << slot;
      ASSERT_FALSE(!(std::abs(run.weights[at] - routed.weights[slot]) <=
                     1.2e-7 * std::abs(routed.weights[slot])))
          << what << " token " << t << " slot " << slot << ": weight " << run.weights[at] << " for "
          << routed.weights[slot];
    }
    const auto truth = test::token_output(spec, weights, row(in.hidden, t), routed);
    for (std::size_t i = 0; i < truth.size(); ++i) {
      const double got = load_float(run.output.data(), dtype,
                                    t * spec.experts.hidden_size + static_cast<std::int64_t>(i));
      const double low = test::round_to(dtype, truth[i].value - truth[i].error);
      const double high = test::round_to(dtype, truth[i].value + truth[i].error);
      ASSERT_TRUE(low <= got && got <= high)
          << what << " token " << t << " element " << i << ": " << got << " for " << truth[i].value
          << " +- " << truth[i].error;
    }
  }
}

std::unique_ptr<Experts> load(const MoeSpec& spec, const MoeWeights& weights, int threads) {
  LoadOptions options;
  options.executor = make_executor(threads);
  return cpu_backend().load(spec, weights, options);
}

void check(const MoeSpec& spec, std::int64_t tokens, std::uint32_t seed, DType hidden_dtype,
           const std::string& what) {
  validate(spec);
  ASSERT_TRUE(cpu_backend().supports(spec).ok()) << what;
  DrawnLayer layer(spec, seed);
  check_weights(spec, layer.weights);
  const Inputs in{layer.draw({tokens, spec.experts.hidden_size}, hidden_dtype, 0.7f, 0.05f),
                  layer.draw({tokens, spec.router.num_experts}, seed % 2 ? DType::f32 : DType::bf16,
                             1.5f, -0.4f)};
  const auto experts = load(spec, layer.weights, 2);
  const ForwardInput input{in.hidden, in.logits, {}, {}};
  const Outcome first = run(*experts, spec, input, 0xff);
  expect_true(spec, layer.weights, in, first, what);
  EXPECT_EQ(first, run(*experts, spec, input, 0x41)) << what << ": dirty memory changes the bits";
}

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

TEST(CpuBackend, GivenRoutingGivesTheBitsOfTheSameRouting) {
  MoeSpec spec = base_spec();
  spec.router.apply_routed_scale_to_output = true;
  DrawnLayer layer(spec, 4);
  const TensorView hidden = layer.draw({9, 72}, DType::bf16, 1.0f, 0.0f);
  const TensorView logits = layer.draw({9, 12}, DType::f32, 1.0f, 0.0f);
  const auto experts = load(spec, layer.weights, 2);
  const Outcome routed = run(*experts, spec, {hidden, logits, {}, {}}, 0xff);
  const std::vector<std::int64_t> ids(routed.ids.begin(), routed.ids.end());
  const ForwardInput given{hidden,
                           {},
                           {ids.data(), DType::i64, {9, 3}, {}},
                           {routed.weights.data(), DType::f32, {9, 3}, {}}};
  EXPECT_EQ(routed, run(*experts, spec, given, 0x7f));
}

TEST(CpuBackend, SkipsGivenSlotsThatNameNobody) {
  MoeSpec spec = base_spec();
  DrawnLayer layer(spec, 4);
  const TensorView hidden = layer.draw({1, 72}, DType::f32, 1.0f, 0.0f);
  const auto experts = load(spec, layer.weights, 1);
  const auto output = [&](std::vector<std::int32_t> ids, std::vector<float> weights) {
    return run(*experts, spec,
               {hidden,
                {},
                {ids.data(), DType::i32, {1, 3}, {}},
                {weights.data(), DType::f32, {1, 3}, {}}},
               0xff)
        .output;
  };
  const auto only = output({4, 2, 3}, {0.5f, 0.0f, 0.0f});
  EXPECT_EQ(only, output({4, 4, 12}, {0.5f, 0.25f, 0.25f}));
  EXPECT_EQ(only, output({4, -1, 5}, {0.5f, 0.25f, NAN}));
}

TEST(CpuBackend, ShardsAddUpToTheWhole) {
  MoeSpec spec = base_spec();
  spec.layer.output_dtype = OutputDType::f32;
  DrawnLayer layer(spec, 6);
  const TensorView hidden = layer.draw({7, 72}, DType::bf16, 1.0f, 0.0f);
  const TensorView logits = layer.draw({7, 12}, DType::f32, 1.0f, 0.0f);
  const Outcome whole = run(*load(spec, layer.weights, 2), spec, {hidden, logits, {}, {}}, 0xff);
  std::vector<double> sum(7 * 72), magnitude(7 * 72);
  std::int64_t first = 0;
  for (std::int64_t count : {5, 0, 1, 6}) {
    MoeSpec shard = spec;
    shard.layer.local_expert_offset = first;
    shard.layer.num_local_experts = count;
    MoeWeights weights = layer.weights;
    const auto cut = [&](ExpertMatrices& all) {
      all = ExpertMatrices(all.begin() + first, all.begin() + first + count);
    };
    cut(weights.gate_up_proj);
    cut(weights.down_proj);
    const Outcome part = run(*load(shard, weights, 2), shard, {hidden, logits, {}, {}}, 0xff);
    EXPECT_EQ(part.ids, whole.ids);
    for (std::size_t i = 0; i < sum.size(); ++i) {
      const float value = load_float(part.output.data(), DType::f32, static_cast<long>(i));
      sum[i] += value;
      magnitude[i] += std::abs(value);
    }
    first += count;
  }
  for (std::size_t i = 0; i < sum.size(); ++i) {
    const float value = load_float(whole.output.data(), DType::f32, static_cast<long>(i));
    ASSERT_FALSE(!(std::abs(sum[i] - value) <= 1e-6 * magnitude[i])) << i;
  }
}

TEST(CpuBackend, NoTokensIsNoWork) {
  MoeSpec spec = base_spec();
  DrawnLayer layer(spec, 4);
  const auto experts = load(spec, layer.weights, 2);
  EXPECT_EQ(experts->workspace_bytes(0), 0u);
  experts->forward(
      {{nullptr, DType::bf16, {0, 72}, {}}, {nullptr, DType::f32, {0, 12}, {}}, {}, {}},
      {{nullptr, DType::bf16, {0, 72}, {}}, {}, {}}, {}, nullptr);
}

TEST(CpuBackend, RefusesQuantisedFormatsByNameAndValue) {
  MoeSpec spec = base_spec();
  spec.experts.weight_format = WeightFormat::mxfp4;
  spec.experts.activation_format = ActivationFormat::fp8_e4m3;
  const Support support = cpu_backend().supports(spec);
  ASSERT_EQ(support.refusals.size(), 2u);
  EXPECT_EQ(support.refusals[0].field, "experts.weight_format");
  EXPECT_NE(support.refusals[0].reason.find("mxfp4"), std::string::npos);
  EXPECT_NE(support.refusals[0].reason.find("bf16"), std::string::npos);
  EXPECT_EQ(support.refusals[1].field, "experts.activation_format");
}

// Workers that are never asked to work.
class ManyWorkers final : public Executor {
 public:
  explicit ManyWorkers(int workers) : workers_(workers) {}
  int workers() const override { return workers_; }
  void run(const Task& task) override {
    for (int worker = 0; worker < workers_; ++worker) task(worker);
  }

 private:
  int workers_;
};

// The last chunk of a call, and the last piece of a bounded one, run in the memory of longer ones.
TEST(CpuBackend, MoreTokensNeverNeedLessWorkspace) {
  MoeSpec spec = base_spec();
  spec.router.num_experts = 4;
  spec.router.top_k = 2;
  spec.experts.hidden_size = 64;
  spec.experts.intermediate_size = 2048;
  for (const std::int64_t top_k : {2, 4}) {
    spec.router.top_k = top_k;
    if (top_k == 4) {  // x is what takes the memory, and its places are taken in turn
      spec.router.num_experts = 16;
      spec.router.top_k = 8;
      std::swap(spec.experts.hidden_size, spec.experts.intermediate_size);
    }
    DrawnLayer layer(spec, 6);
    for (const int workers : {1, 2, 4, 8, 24, 64}) {
      LoadOptions options;
      options.executor = std::make_shared<ManyWorkers>(workers);
      const auto experts = cpu_backend().load(spec, layer.weights, options);
      std::size_t before = 0;
      for (std::int64_t tokens = 1; tokens < 20000; tokens += 1 + tokens / 64) {
        const std::size_t bytes = experts->workspace_bytes(tokens);
        ASSERT_GE(bytes, before) << tokens << " tokens, " << workers << " workers, K "
                                 << spec.router.top_k;
        before = bytes;
      }
    }
  }
}

TEST(CpuBackend, HoldsNoMoreThanTheWeights) {
  MoeSpec spec = base_spec();
  spec.experts.hidden_size = 256;
  spec.experts.intermediate_size = 192;
  DrawnLayer layer(spec, 4);
  const auto experts = load(spec, layer.weights, 1);
  const std::size_t weights = 12 * 3 * 256 * 192 * 2;
  EXPECT_GE(experts->weight_bytes(), weights);
  EXPECT_LE(experts->weight_bytes(), weights * 11 / 10);
}

}  // namespace
}  // namespace sluice
