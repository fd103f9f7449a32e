// One reader per model_type: its keys of config.json as fields. Sources: transformers 5.17's
// classes, the released configs and remote code, docs/semantics.md.
#pragma once

#include <sluice/spec.hpp>

#include "spec/config/config_keys.hpp"

namespace sluice::config {

MoeSpec read_afmoe(const Keys& keys);
MoeSpec read_deepseek_v2(const Keys& keys);
MoeSpec read_deepseek_v3(const Keys& keys);  // and kimi_k2
MoeSpec read_ernie4_5_moe(const Keys& keys);
MoeSpec read_glm4_moe(const Keys& keys);
MoeSpec read_gpt_oss(const Keys& keys);
MoeSpec read_kimi_linear(const Keys& keys);
MoeSpec read_minimax_m2(const Keys& keys);
MoeSpec read_mixtral(const Keys& keys);
MoeSpec read_olmoe(const Keys& keys);
MoeSpec read_qwen3_moe(const Keys& keys);
MoeSpec read_qwen3_next(const Keys& keys);

}  // namespace sluice::config
