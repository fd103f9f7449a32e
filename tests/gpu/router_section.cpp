// Logits that the device computes: the kernel against exact sums, and the layer that uses them.
#include <cuda_runtime_api.h>

#include <cmath>
#include <sluice/layer.hpp>

#include "audit/cases/draw_spec.hpp"
#include "audit/cases/regime.hpp"
#include "audit/checks/check.hpp"
#include "audit/run_case.hpp"
#include "backends/cuda/device/error.hpp"
#include "backends/cuda/params.hpp"
#include "device_case.hpp"
#include "section.hpp"

namespace sluice::gpu {
namespace {

using auditing::Case;
using auditing::OwnedTensor;

OwnedTensor normal_like(DType dtype, const Shape& shape, Draw& draw) {
  OwnedTensor tensor(dtype, shape);
  for (std::int64_t i = 0; i < tensor.elements(); ++i) {
    // Of both signs and many magnitudes, so that a wrong column cannot hide.
    tensor.set(i, static_cast<float>(draw.real(-1.0, 1.0) * std::exp2(draw.integer(-6, 2))));
  }
  return tensor;
}

DeviceBuffer bring_over(const std::shared_ptr<const DeviceMemory>& memory,
                        const OwnedTensor& tensor) {
  DeviceBuffer buffer(memory, tensor.size_bytes());
  memory->copy_in(buffer.data(), tensor.data(), tensor.size_bytes(), nullptr);
  return buffer;
}

struct Sizes {
  std::int64_t tokens, experts, hidden;
};

void check_kernel(const Sizes& sizes, DType hidden_dtype, DType weight_dtype, std::uint64_t seed,
                  Findings& findings) {
  Draw draw(seed);
  const auto& [tokens, experts, hidden] = sizes;
  const OwnedTensor x = normal_like(hidden_dtype, {tokens, hidden}, draw);
  const OwnedTensor w = normal_like(weight_dtype, {experts, hidden}, draw);
  OwnedTensor logits(DType::f32, {tokens, experts});
  for (std::int64_t i = 0; i < logits.elements(); ++i) logits.set(i, std::nanf(""));

  const auto memory = backend("cuda").device_memory({});
  const DeviceBuffer x_there = bring_over(memory, x);
  const DeviceBuffer w_there = bring_over(memory, w);
  const DeviceBuffer logits_there = bring_over(memory, logits);
  cuda::RouterLogits args;
  args.hidden_states = x_there.data();
  args.dtype = hidden_dtype;
  args.weight = w_there.data();
  args.weight_dtype = weight_dtype;
  args.tokens = static_cast<int>(tokens);
  args.experts = static_cast<int>(experts);
  args.hidden = static_cast<int>(hidden);
  args.logits = reinterpret_cast<float*>(logits_there.data());
  cuda::router_logits(args, nullptr);
  memory->copy_out(logits.data(), logits_there.data(), logits.size_bytes(), nullptr);

  // A lane adds H / 32 products in order; tensor cores at most 32 cut sums in a run of 256 columns,
  // and then a run at a time.
  const double steps = static_cast<double>(hidden) / 32 + 64;
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t e = 0; e < experts; ++e) {
      double sum = 0.0;
      double size = 0.0;
      for (std::int64_t i = 0; i < hidden; ++i) {
        const double product =
            static_cast<double>(x.get(t * hidden + i)) * static_cast<double>(w.get(e * hidden + i));
        sum += product;
        size += std::abs(product);
      }
      const double found = logits.get(t * experts + e);
      const bool right = std::abs(found - sum) <= steps * 0x1p-23 * size;  // false for NaN
      if (right) continue;
      findings.expect(
          false, "T {}, E {}, H {}, {} by {}: logit of token {}, expert {} is {}, not {}", tokens,
          experts, hidden, to_string(hidden_dtype), to_string(weight_dtype), t, e, found, sum);
      return;
    }
  }
  findings.expect(true, "");
}

// Hidden states and router weights of which every sum is exact in fp32: the layer that computes its
// logits must give the bits of the layer that is given them.
void check_layer(std::int64_t tokens, std::uint64_t seed, Findings& findings) {
  Draw draw(seed * 31 + 5);
  const auditing::SpecSource source{backend("cuda"), std::nullopt};
  Case subject = auditing::plain_case(source.draw(auditing::neutral_spec({40, 4, 72, 40}), draw),
                                      seed, tokens);
  const std::int64_t experts = subject.spec.router.num_experts;
  const std::int64_t hidden = subject.spec.experts.hidden_size;
  OwnedTensor& x = subject.tensors["hidden_states"];
  for (std::int64_t i = 0; i < x.elements(); ++i) {
    x.set(i, static_cast<float>(draw.integer(-16, 16)) / 16.0f);
  }
  OwnedTensor w(draw.one_of(DType::bf16, DType::f32, DType::f16), {experts, hidden});
  for (std::int64_t i = 0; i < w.elements(); ++i) {
    w.set(i, static_cast<float>(draw.integer(-32, 32)) / 32.0f);
  }
  OwnedTensor logits(DType::f32, {tokens, experts});
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t e = 0; e < experts; ++e) {
      float sum = 0.0f;
      for (std::int64_t i = 0; i < hidden; ++i) {
        sum += x.get(t * hidden + i) * w.get(e * hidden + i);
      }
      logits.set(t * experts + e, sum);
    }
  }
  subject.tensors.erase("topk_ids");
  subject.tensors.erase("topk_weights");
  subject.tensors["router_logits"] = logits;

  LayerOptions options;
  options.backend = "cuda";
  options.load.executor = make_executor(1);
  MoeWeights weights = subject.weights();
  weights.router_weight = w.view();
  MoeLayer layer(subject.spec, weights, options);
  DeviceCase there(subject);
  layer.forward(there.input(), there.output());
  const auto given = there.result(tokens);
  there.poison();
  ForwardInput input = there.input();
  input.router_logits = {};
  layer.forward(input, there.output());
  findings.expect(auditing::same_bits(given, there.result(tokens)),
                  "T {}, seed {}: other bits from hidden states alone than from their logits",
                  tokens, seed);
}

// Scores at the end of fp32's range: a weight beyond it is infinite, as in the reference, and not
// the zero of a score that is none; a sum beyond it is no reason for weights of zero.
void check_huge_scores(std::int64_t tokens, bool normalised, std::uint64_t seed,
                       Findings& findings) {
  MoeSpec spec = auditing::neutral_spec({40, 4, 72, 40});
  spec.router.score_func = ScoreFunc::none;
  spec.router.norm_topk_prob = normalised;
  spec.router.routed_scaling_factor = normalised ? 2.5 : 1e20;
  Case subject = auditing::plain_case(spec, seed, tokens);
  Draw draw(seed);
  OwnedTensor& logits = subject.tensors["router_logits"];
  for (std::int64_t i = 0; i < logits.elements(); ++i) {
    logits.set(i, static_cast<float>(normalised ? draw.real(1e38, 3e38)
                                                : std::exp(draw.real(std::log(1e15), 50.0))));
  }
  auditing::RunOptions options;
  options.load.executor = make_executor(1);
  const auto right = run_case(backend("reference"), subject, options);
  const auto found = run_case(backend("cuda"), subject, options);
  findings.expect(found.error.empty() && right.error.empty(), "T {}: {}{}", tokens, found.error,
                  right.error);
  if (!found.error.empty() || !right.error.empty()) return;
  for (std::int64_t i = 0; i < right.weights.elements(); ++i) {
    const float want = right.weights.get(i);
    const float have = found.weights.get(i);
    if (want == have || std::abs(have - want) <= 0x1p-21f * want) continue;
    findings.expect(false, "T {}, scores of {}: weight {} is {}, not {}", tokens,
                    normalised ? "1e38 to 3e38, normalised," : "1e15 to 5e21, times 1e20,", i, have,
                    want);
    return;
  }
  findings.expect(true, "");
}

}  // namespace

void run_router(const Settings& settings, Findings& findings) {
  const std::vector<Sizes> sizes =
      settings.brief ? std::vector<Sizes>{{1, 5, 8}, {9, 70, 264}}
                     : std::vector<Sizes>{{1, 1, 8},      {1, 256, 2304}, {8, 128, 2048},
                                          {9, 128, 2048}, {16, 65, 24},   {17, 64, 40},
                                          {63, 63, 248},  {65, 256, 264}, {200, 130, 1000}};
  std::uint64_t seed = settings.seed;
  for (const Sizes& of : sizes) {
    for (const DType hidden : {DType::bf16, DType::f16, DType::f32}) {
      for (const DType weight : {DType::bf16, DType::f16, DType::f32}) {
        check_kernel(of, hidden, weight, ++seed, findings);
      }
    }
  }
  const int layers = settings.brief ? 2 : 24;
  for (int i = 0; i < layers; ++i) {
    check_layer(i % 3 == 0 ? 1 + i / 3 : 7 * i, ++seed, findings);
  }
  for (const std::int64_t tokens : {1, 4, 20, 70}) {  // one of each flow
    for (const bool normalised : {false, true}) {
      check_huge_scores(tokens, normalised, ++seed, findings);
    }
  }
}

}  // namespace sluice::gpu
