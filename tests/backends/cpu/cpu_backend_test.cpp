#include "backends/cpu/cpu_backend.hpp"

#include <gtest/gtest.h>

#include "backends/cpu/cpu_runs.hpp"

namespace sluice::test {
namespace {

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
}  // namespace sluice::test
