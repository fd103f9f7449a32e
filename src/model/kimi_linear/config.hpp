// Kimi-Linear's config.json, in both dialects: Moonshot's released one and transformers' own.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <sluice/model.hpp>

#include "model/blocks/latent_attention.hpp"

namespace sluice::kimi_linear {

struct Config {
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  std::optional<std::int64_t> max_positions;
  std::int64_t num_hidden_layers = 0;
  std::int64_t intermediate_size = 0;  // of the dense layers
  std::vector<bool> full_attention;    // per layer: MLA, else KDA
  std::vector<bool> sparse;            // per layer: MoE, else dense
  LatentShape mla;
  std::int64_t kda_heads = 0;
  std::int64_t kda_head_dim = 0;
  std::int64_t conv_taps = 0;
  double rms_norm_eps = 0.0;
  bool tie_word_embeddings = false;
  MoeSpec moe;  // of every sparse layer

  bool is_mla(std::int64_t layer) const { return full_attention[static_cast<std::size_t>(layer)]; }
  bool is_moe(std::int64_t layer) const { return sparse[static_cast<std::size_t>(layer)]; }
  std::int64_t kda_width() const { return kda_heads * kda_head_dim; }
};

// Throws Error(checkpoint), see describe_model.
Config read_config(const std::string& json_text);

// In the released naming.
std::vector<ExpectedTensor> expected_tensors(const Config& config);

}  // namespace sluice::kimi_linear
