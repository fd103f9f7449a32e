// AFMoE's config.json (arcee-ai/Trinity).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <sluice/model.hpp>

namespace sluice::afmoe {

struct Config {
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  std::optional<std::int64_t> max_positions;
  std::int64_t num_hidden_layers = 0;
  std::int64_t num_dense_layers = 0;  // the first ones
  std::int64_t num_attention_heads = 0;
  std::int64_t num_key_value_heads = 0;
  std::int64_t head_dim = 0;           // heads · head_dim need not be hidden_size
  std::int64_t intermediate_size = 0;  // of the dense layers
  std::int64_t sliding_window = 0;
  std::vector<bool> sliding;  // per layer
  double rope_theta = 0.0;
  double rms_norm_eps = 0.0;
  bool mup_enabled = false;
  bool tie_word_embeddings = false;
  MoeSpec moe;  // of every layer that is not dense

  bool dense(std::int64_t layer) const { return layer < num_dense_layers; }
};

// Throws Error(checkpoint), see describe_model.
Config read_config(const std::string& json_text);

std::vector<ExpectedTensor> expected_tensors(const Config& config);

}  // namespace sluice::afmoe
