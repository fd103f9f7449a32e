#include <vector>

#include <sluice/presets.hpp>

#include "base/fail.hpp"
#include "base/nearest_name.hpp"

namespace sluice {
namespace {

struct Sizes {
  std::int64_t num_experts, top_k, hidden_size, intermediate_size;
};

MoeSpec routed(const char* method, const Sizes& sizes, double factor = 1.0) {
  MoeSpec spec;
  spec.router.num_experts = sizes.num_experts;
  spec.router.top_k = sizes.top_k;
  routing_method(method).apply(spec.router);
  spec.router.routed_scaling_factor = factor;
  spec.experts.hidden_size = sizes.hidden_size;
  spec.experts.intermediate_size = sizes.intermediate_size;
  return spec;
}

MoeSpec with_shared(MoeSpec spec, std::int64_t count) {
  spec.layer.num_shared_experts = count;
  return spec;
}

MoeSpec with_groups(MoeSpec spec, std::int64_t groups, std::int64_t kept) {
  spec.router.n_group = groups;
  spec.router.topk_group = kept;
  return spec;
}

MoeSpec qwen3_next() {
  MoeSpec spec = with_shared(routed("RenormalizeNaive", {512, 10, 2048, 512}), 1);
  spec.layer.shared_expert_gate = true;
  return spec;
}

MoeSpec deepseek_v2() {
  MoeSpec spec = with_shared(routed("Default", {160, 6, 5120, 1536}, 16.0), 2);
  spec.router.group_score = GroupScore::max;
  return with_groups(spec, 8, 3);
}

MoeSpec minimax_m2() {
  MoeSpec spec = routed("MiniMax2", {256, 8, 3072, 1536});
  spec.router.norm_eps = 0.0;  // the model divides by the plain sum
  return spec;
}

MoeSpec ernie() {
  MoeSpec spec = with_shared(routed("Default", {64, 6, 2560, 1536}), 2);
  spec.router.e_score_correction_bias = true;
  spec.router.norm_topk_prob = true;
  spec.router.norm_eps = 1e-12;
  spec.router.norm_rule = NormRule::clamp;
  return spec;
}

MoeSpec gpt_oss(std::int64_t num_experts) {
  MoeSpec spec = routed("Renormalize", {num_experts, 4, 2880, 2880});
  spec.router.router_bias = true;
  spec.experts.swiglu_alpha = 1.702;
  spec.experts.swiglu_beta = 1.0;
  spec.experts.swiglu_limit = 7.0;
  spec.experts.gate_up_bias = true;
  spec.experts.down_bias = true;
  spec.experts.gate_up_order = GateUpOrder::interleaved;
  return spec;
}

MoeSpec nemotron_3_nano() {
  MoeSpec spec = with_shared(routed("DeepSeekV3", {128, 6, 2688, 1856}, 2.5), 1);
  spec.experts.activation = Activation::relu2;
  spec.layer.shared_intermediate_size = 3712;
  return spec;
}

// Weights are bf16 throughout: a family is an architecture, encodings are a checkpoint's choice.
std::vector<Family> make_families() {
  return {
      {"mixtral-8x7b", "Mixtral 8x7B: softmax, 2 of 8, renormalised",
       routed("RenormalizeNaive", {8, 2, 4096, 14336})},
      {"mixtral-8x22b", "Mixtral 8x22B: softmax, 2 of 8, renormalised",
       routed("RenormalizeNaive", {8, 2, 6144, 16384})},
      {"qwen3-30b-a3b", "Qwen3-30B-A3B: softmax, 8 of 128, renormalised",
       routed("RenormalizeNaive", {128, 8, 2048, 768})},
      {"qwen3-235b-a22b", "Qwen3-235B-A22B: softmax, 8 of 128, renormalised",
       routed("RenormalizeNaive", {128, 8, 4096, 1536})},
      {"qwen3-next-80b-a3b",
       "Qwen3-Next-80B-A3B: softmax, 10 of 512, renormalised; gated shared expert", qwen3_next()},
      {"olmoe-1b-7b", "OLMoE-1B-7B: softmax, 8 of 64, not renormalised",
       routed("Default", {64, 8, 2048, 1024})},
      {"deepseek-v2", "DeepSeek-V2: softmax, 6 of 160 in 3 of 8 groups (by max), x16; 2 shared",
       deepseek_v2()},
      {"deepseek-v3", "DeepSeek-V3/R1: sigmoid + bias, 8 of 256 in 4 of 8 groups, x2.5; 1 shared",
       with_groups(with_shared(routed("DeepSeekV3", {256, 8, 7168, 2048}, 2.5), 1), 8, 4)},
      {"kimi-k2", "Kimi-K2: sigmoid + bias, 8 of 384, x2.827; 1 shared",
       with_shared(routed("DeepSeekV3", {384, 8, 7168, 2048}, 2.827), 1)},
      {"kimi-linear-48b-a3b", "Kimi-Linear-48B-A3B: sigmoid + bias, 8 of 256, x2.446; 1 shared",
       with_shared(routed("DeepSeekV3", {256, 8, 2304, 1024}, 2.446), 1)},
      {"trinity-nano", "Trinity-Nano-Preview (AFMoE): sigmoid + bias, 8 of 128, x2.826; 1 shared",
       with_shared(routed("DeepSeekV3", {128, 8, 1024, 256}, 2.826), 1)},
      {"trinity-mini", "Trinity-Mini (AFMoE): sigmoid + bias, 8 of 128, x2.826; 1 shared",
       with_shared(routed("DeepSeekV3", {128, 8, 2048, 1024}, 2.826), 1)},
      {"glm-4.5", "GLM-4.5/4.6: sigmoid + bias, 8 of 160, x2.5; 1 shared",
       with_shared(routed("DeepSeekV3", {160, 8, 5120, 1536}, 2.5), 1)},
      {"glm-4.5-air", "GLM-4.5-Air: sigmoid + bias, 8 of 128, x1; 1 shared",
       with_shared(routed("DeepSeekV3", {128, 8, 4096, 1408}), 1)},
      {"minimax-m2", "MiniMax-M2: sigmoid + bias, 8 of 256, divided by the plain sum",
       minimax_m2()},
      {"ernie-4.5-21b-a3b",
       "ERNIE-4.5-21B-A3B: softmax + bias, 6 of 64, w / max(sum, 1e-12); 2 shared", ernie()},
      {"gpt-oss-20b", "gpt-oss-20b: router bias, softmax over the 4 of 32 chosen, clamped SwiGLU",
       gpt_oss(32)},
      {"gpt-oss-120b",
       "gpt-oss-120b: router bias, softmax over the 4 of 128 chosen, clamped SwiGLU", gpt_oss(128)},
      {"llama-4-scout", "Llama-4-Scout: top-1 of 16, sigmoid on the expert's input; 1 shared",
       with_shared(routed("Llama4", {16, 1, 5120, 8192}), 1)},
      {"llama-4-maverick",
       "Llama-4-Maverick: top-1 of 128, sigmoid on the expert's input; 1 shared",
       with_shared(routed("Llama4", {128, 1, 5120, 8192}), 1)},
      {"nemotron-3-nano-30b-a3b",
       "Nemotron-3-Nano: sigmoid + bias, 6 of 128, x2.5, non-gated ReLU²; 1 shared of its own "
       "width",
       nemotron_3_nano()},
  };
}

}  // namespace

std::span<const Family> families() {
  static const std::vector<Family> kFamilies = make_families();
  return kFamilies;
}

const Family& family(std::string_view name) {
  std::vector<std::string_view> known;
  for (const Family& candidate : families()) {
    if (candidate.name == name) return candidate;
    known.push_back(candidate.name);
  }
  fail(ErrorKind::user, "there is no family \"{}\"{}; known: {}", name, did_you_mean(name, known),
       fmt::join(known, ", "));
}

}  // namespace sluice
