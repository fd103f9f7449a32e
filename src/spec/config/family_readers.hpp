// One reader per model_type: its keys of config.json as fields. Sources: transformers 5.17's
// classes, the released configs and remote code, docs/semantics.md.
#pragma once

#include <sluice/spec.hpp>

#include "spec/config/config_reader.hpp"

namespace sluice::config {

MoeSpec read_afmoe(const ConfigReader& config);
MoeSpec read_deepseek_v2(const ConfigReader& config);
MoeSpec read_deepseek_v3(const ConfigReader& config);  // and kimi_k2
MoeSpec read_ernie4_5_moe(const ConfigReader& config);
MoeSpec read_glm4_moe(const ConfigReader& config);
MoeSpec read_gpt_oss(const ConfigReader& config);
MoeSpec read_kimi_linear(const ConfigReader& config);
MoeSpec read_minimax_m2(const ConfigReader& config);
MoeSpec read_mixtral(const ConfigReader& config);
MoeSpec read_olmoe(const ConfigReader& config);
MoeSpec read_qwen3_moe(const ConfigReader& config);
MoeSpec read_qwen3_next(const ConfigReader& config);

}  // namespace sluice::config
