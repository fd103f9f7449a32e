#include "backends/cuda/cuda_backend.hpp"

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include "backends/cuda/cuda_experts.hpp"
#include "backends/cuda/device/device_memory.hpp"
#include "backends/cuda/device/error.hpp"
#include "base/fail.hpp"
#include "spec/choices.hpp"

namespace sluice {
namespace {

// By name, so that a field added to the spec is refused until it is honoured here.
FieldSet honoured() {
  return {"router.num_experts",
          "router.top_k",
          "router.score_func",
          "router.score_order",
          "router.router_bias",
          "router.e_score_correction_bias",
          "router.weights_from_biased_scores",
          "router.n_group",
          "router.topk_group",
          "router.group_score",
          "router.norm_topk_prob",
          "router.norm_single_expert",
          "router.norm_eps",
          "router.norm_rule",
          "router.routed_scaling_factor",
          "router.apply_routed_scale_to_output",
          "router.apply_router_weight_on_input",
          "router.router_logits_dtype",
          "experts.hidden_size",
          "experts.intermediate_size",
          "experts.activation",
          "experts.swiglu_alpha",
          "experts.swiglu_beta",
          "experts.swiglu_limit",
          "experts.gate_up_bias",
          "experts.down_bias",
          "experts.gate_up_order",
          "layer.num_shared_experts",
          "layer.shared_intermediate_size",
          "layer.shared_expert_gate",
          "layer.local_expert_offset",
          "layer.num_local_experts",
          "layer.expert_map",
          "layer.tp_rank",
          "layer.tp_size",
          "layer.output_dtype"};
}

// Why device `ordinal` cannot run these kernels.
std::optional<std::string> why_not(int ordinal) {
  int count = 0;
  const cudaError_t result = cudaGetDeviceCount(&count);
  if (result != cudaSuccess) {
    cudaGetLastError();
    return fmt::format("CUDA finds no usable device: {} ({})", cudaGetErrorName(result),
                       cudaGetErrorString(result));
  }
  if (ordinal >= count) {
    return fmt::format("device {} was asked for; CUDA finds {}", ordinal, count);
  }
  int major = 0;
  int minor = 0;
  cuda::check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, ordinal),
              "cudaDeviceGetAttribute");
  cuda::check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, ordinal),
              "cudaDeviceGetAttribute");
  if (major == 9 && minor == 0) return std::nullopt;
  return fmt::format(
      "device {} has compute capability {}.{}; the kernels are built for Hopper, 9.0 (sm_90a)",
      ordinal, major, minor);
}

// nullopt: one of the devices can. Otherwise why the first cannot.
std::optional<std::string> why_no_device() {
  const auto first = why_not(0);
  int count = 0;
  if (!first || cudaGetDeviceCount(&count) != cudaSuccess) return first;
  for (int ordinal = 1; ordinal < count; ++ordinal) {
    if (!why_not(ordinal)) return std::nullopt;
  }
  return first;
}

class CudaBackend final : public Backend {
 public:
  std::string_view name() const override { return "cuda"; }
  // Which of several devices it shall be is for load() to hear.
  std::optional<std::string> unavailable() const override {
    static const std::optional<std::string> reason = why_no_device();
    return reason;
  }
  FieldSet claims() const override {
    static const FieldSet claims = honoured();
    return claims;
  }

  Support supports(const MoeSpec& spec) const override {
    Support support;
    const auto refuse = [&](const char* field, std::string reason) {
      support.refusals.push_back({field, std::move(reason)});
    };
    const auto at_most = [&](const char* field, std::int64_t value, std::int64_t most) {
      if (value > most) refuse(field, fmt::format("is {}; at most {} is accepted", value, most));
    };
    const auto eights = [&](const char* field, std::int64_t value) {
      if (value % 8 != 0) {
        refuse(field,
               fmt::format("gives a width of {} on this rank; multiples of 8 are accepted", value));
      }
    };
    at_most("router.num_experts", spec.router.num_experts, cuda::kMaxExperts);
    at_most("router.top_k", spec.router.top_k, cuda::kMaxTopK);
    eights("experts.hidden_size", spec.experts.hidden_size);
    eights("experts.intermediate_size", local_width(spec));
    eights("layer.shared_intermediate_size", local_shared_width(spec));
    if (support.ok()) support.variant = "ffn_bf16_bf16_sm90";
    return support;
  }

  std::unique_ptr<Experts> load(const MoeSpec& spec, const MoeWeights& weights,
                                const LoadOptions& options) const override {
    if (const auto reason = why_not(options.device)) {
      fail(ErrorKind::device, "backend cuda cannot load: {}", *reason);
    }
    return std::make_unique<cuda::CudaExperts>(spec, weights, options);
  }

  Device device(const LoadOptions& options) const override {
    return {DeviceKind::cuda, options.device};
  }
  std::shared_ptr<const DeviceMemory> device_memory(const LoadOptions& options) const override {
    return cuda::device_memory(options.device);
  }
  // One token has kernels of its own, which add the same products in another order.
  bool batch_invariant() const override { return false; }
};

}  // namespace

const Backend& cuda_backend() {
  static const CudaBackend instance;
  return instance;
}

}  // namespace sluice
