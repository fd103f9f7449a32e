// Named routing methods and model families, as fields.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include <sluice/spec.hpp>

namespace sluice {

struct RoutingMethod {
  std::string_view name;       // "DeepSeekV3", FlashInfer's and vLLM's spelling
  std::string_view formula;    // one line
  void (*apply)(RouterSpec&);  // sets the method's fields, leaves sizes alone
};

std::span<const RoutingMethod> routing_methods();
// Throws Error(user) with the nearest known name.
const RoutingMethod& routing_method(std::string_view name);

struct Family {
  std::string_view name;     // "kimi-linear-48b-a3b"
  std::string_view meaning;  // one line: model and routing
  MoeSpec spec;              // one MoE layer of the released checkpoint
};

std::span<const Family> families();
const Family& family(std::string_view name);

// The spec of a model's MoE layers from the text of its config.json. Families: AFMoE, Kimi-Linear,
// DeepSeek-V2/V3, Qwen3-MoE, Qwen3-Next, Mixtral, GLM-4.5, MiniMax-M2, gpt-oss, OLMoE, Ernie-4.5.
// Throws Error(checkpoint) for an unknown model_type, a missing or mistyped key, and for two
// dialects of one key that disagree.
MoeSpec spec_from_config(const std::string& config_json_text);

}  // namespace sluice
