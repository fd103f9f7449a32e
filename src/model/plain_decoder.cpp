#include "model/plain_decoder.hpp"

#include "base/fail.hpp"
#include "model/limits.hpp"

namespace sluice {

void require_plain_decoder(const ConfigReader& config) {
  config.require_text("hidden_act", "silu");
  for (const char* key : {"attention_bias", "mlp_bias", "is_encoder_decoder"}) {
    config.require_flag(key, false);
  }
  for (const char* key : {"quantization_config", "compression_config", "attn_logit_softcapping",
                          "final_logit_softcapping"}) {
    config.require_absent(key);
  }
  for (const char* key : {"partial_rotary_factor", "rope_parameters.partial_rotary_factor",
                          "residual_multiplier", "logits_scaling"}) {
    config.require_real(key, 1.0);
  }
  config.require_text({"rope_parameters.rope_type"}, "default");
  config.require_text({"rope_parameters.type"}, "default");
  config.require_text({"rope_scaling.rope_type"}, "default");
  config.require_text({"rope_scaling.type"}, "default");
}

// Two keys and not two names of one: what tokenizers write as model_max_length may differ.
std::optional<std::int64_t> find_max_positions(const ConfigReader& config) {
  const auto positions = config.find_integer("max_position_embeddings", 1, kMostPositions);
  return positions ? positions : config.find_integer("model_max_length", 1, kMostPositions);
}

void check_tensor_count(std::int64_t layers, std::int64_t experts) {
  if (experts <= kMostExpertMatrices / layers) return;
  fail(ErrorKind::checkpoint,
       "config.json: {} layers of {} experts have more than {} expert matrices; no model has",
       layers, experts, 3 * kMostExpertMatrices);
}

}  // namespace sluice
