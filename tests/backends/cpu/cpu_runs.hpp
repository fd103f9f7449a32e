// Layers drawn, run on the CPU backend over dirty memory, and compared with the truth.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "backends/cpu/cpu_backend.hpp"
#include "backends/cpu/drawn_layer.hpp"
#include "backends/cpu/truth.hpp"

namespace sluice::test {

// Off every grid that kernels like: H and I multiples of 8 only, K odd; E can be grouped.
inline MoeSpec base_spec() {
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

inline DType output_dtype(const MoeSpec& spec, DType hidden) {
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
inline Outcome run(const Experts& experts, const MoeSpec& spec, const ForwardInput& input,
                   int garbage) {
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

inline std::vector<double> row(const TensorView& tensor, std::int64_t index) {
  std::vector<double> values;
  for (std::int64_t c = 0; c < tensor.shape[1]; ++c) {
    values.push_back(number(tensor, index * tensor.shape[1] + c));
  }
  return values;
}

inline void expect_true(const MoeSpec& spec, const MoeWeights& weights, const Inputs& in,
                        const Outcome& run, const std::string& what) {
  const std::int64_t tokens = in.hidden.shape[0];
  const DType dtype = output_dtype(spec, in.hidden.dtype);
  const auto top_k = static_cast<std::size_t>(spec.router.top_k);
  for (std::int64_t t = 0; t < tokens; ++t) {
    const auto routed = route(spec.router, weights, row(in.logits, t));
    for (std::size_t slot = 0; slot < top_k; ++slot) {
      const std::size_t at = static_cast<std::size_t>(t) * top_k + slot;
      ASSERT_EQ(run.ids[at], routed.ids[slot]) << what << " token " << t << " slot " << slot;
      ASSERT_FALSE(!(std::abs(run.weights[at] - routed.weights[slot]) <=
                     1.2e-7 * std::abs(routed.weights[slot])))
          << what << " token " << t << " slot " << slot << ": weight " << run.weights[at] << " for "
          << routed.weights[slot];
    }
    const auto truth = token_output(spec, weights, row(in.hidden, t), routed);
    for (std::size_t i = 0; i < truth.size(); ++i) {
      const double got = load_float(run.output.data(), dtype,
                                    t * spec.experts.hidden_size + static_cast<std::int64_t>(i));
      const double low = round_to(dtype, truth[i].value - truth[i].error);
      const double high = round_to(dtype, truth[i].value + truth[i].error);
      ASSERT_TRUE(low <= got && got <= high)
          << what << " token " << t << " element " << i << ": " << got << " for " << truth[i].value
          << " +- " << truth[i].error;
    }
  }
}

inline std::unique_ptr<Experts> load(const MoeSpec& spec, const MoeWeights& weights, int threads) {
  LoadOptions options;
  options.executor = make_executor(threads);
  return cpu_backend().load(spec, weights, options);
}

inline void check(const MoeSpec& spec, std::int64_t tokens, std::uint32_t seed, DType hidden_dtype,
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

}  // namespace sluice::test
