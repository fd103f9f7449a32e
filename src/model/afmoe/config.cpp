#include "model/afmoe/config.hpp"

#include <sluice/presets.hpp>

#include "base/fail.hpp"
#include "model/limits.hpp"
#include "model/plain_decoder.hpp"

namespace sluice::afmoe {
namespace {

// From layer_types; only without it, layer i is sliding iff (i + 1) % n != 0.
std::vector<bool> read_schedule(const ConfigReader& config, std::int64_t layers) {
  std::vector<bool> sliding;
  if (const auto types = config.find_texts("layer_types")) {
    for (const std::string& type : *types) {
      if (type != "sliding_attention" && type != "full_attention") {
        fail(ErrorKind::checkpoint,
             "config.json: layer_types holds \"{}\"; known: sliding_attention, full_attention",
             type);
      }
      sliding.push_back(type == "sliding_attention");
    }
    if (std::ssize(sliding) != layers) {
      fail(ErrorKind::checkpoint,
           "config.json: layer_types has {} entries but num_hidden_layers is {}", sliding.size(),
           layers);
    }
    return sliding;
  }
  const std::int64_t every = config.integer("global_attn_every_n_layers", 1, kMostLayers);
  for (std::int64_t layer = 0; layer < layers; ++layer) sliding.push_back((layer + 1) % every != 0);
  return sliding;
}

void check_heads(const Config& config) {
  if (config.num_attention_heads % config.num_key_value_heads != 0) {
    fail(ErrorKind::checkpoint,
         "config.json: num_attention_heads is {}, no multiple of num_key_value_heads, which is {}",
         config.num_attention_heads, config.num_key_value_heads);
  }
  if (config.head_dim % 2 != 0) {
    fail(ErrorKind::checkpoint,
         "config.json: head_dim is {}; rotary positions pair its halves, so it must be even",
         config.head_dim);
  }
}

}  // namespace

Config read_config(const std::string& json_text) {
  const ConfigReader reader(json_text);
  require_plain_decoder(reader);
  Config config;
  config.vocab_size = reader.integer("vocab_size", 1, kMostIds);
  config.hidden_size = reader.integer("hidden_size", 1, kMostWidth);
  config.max_positions = find_max_positions(reader);
  config.num_hidden_layers = reader.integer("num_hidden_layers", 1, kMostLayers);
  config.num_dense_layers = reader.integer("num_dense_layers", 0, config.num_hidden_layers);
  config.num_attention_heads = reader.integer("num_attention_heads", 1, kMostHeads);
  config.num_key_value_heads = reader.find_integer("num_key_value_heads", 1, kMostHeads)
                                   .value_or(config.num_attention_heads);
  config.head_dim = reader.integer("head_dim", 1, kMostWidth);
  config.intermediate_size = reader.integer("intermediate_size", 1, kMostWidth);
  config.sliding = read_schedule(reader, config.num_hidden_layers);
  config.sliding_window = reader.integer("sliding_window", 1, kMostPositions);
  config.rope_theta = reader.real({"rope_theta", "rope_parameters.rope_theta"}, 1.0, 1e30);
  config.rms_norm_eps = reader.real("rms_norm_eps", 0.0, 1.0);
  config.mup_enabled = reader.find_flag("mup_enabled").value_or(false);
  config.tie_word_embeddings = reader.find_flag("tie_word_embeddings").value_or(false);
  config.moe = spec_from_config(json_text);
  check_tensor_count(config.num_hidden_layers, config.moe.router.num_experts);
  check_heads(config);
  return config;
}

std::vector<ExpectedTensor> expected_tensors(const Config& config) {
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t queries = config.num_attention_heads * config.head_dim;
  const std::int64_t keys = config.num_key_value_heads * config.head_dim;
  std::vector<ExpectedTensor> tensors;
  const auto add = [&](std::string name, const Shape& shape) {
    tensors.push_back({std::move(name), shape});
  };
  const auto add_mlp = [&](const std::string& stem, std::int64_t width) {
    add(stem + "gate_proj.weight", {width, hidden});
    add(stem + "up_proj.weight", {width, hidden});
    add(stem + "down_proj.weight", {hidden, width});
  };

  add("model.embed_tokens.weight", {config.vocab_size, hidden});
  add("model.norm.weight", {hidden});
  if (!config.tie_word_embeddings) add("lm_head.weight", {config.vocab_size, hidden});
  for (std::int64_t index = 0; index < config.num_hidden_layers; ++index) {
    const std::string layer = fmt::format("model.layers.{}.", index);
    for (const char* norm : {"input_layernorm", "post_attention_layernorm", "pre_mlp_layernorm",
                             "post_mlp_layernorm"}) {
      add(layer + norm + ".weight", {hidden});
    }
    add(layer + "self_attn.q_proj.weight", {queries, hidden});
    add(layer + "self_attn.k_proj.weight", {keys, hidden});
    add(layer + "self_attn.v_proj.weight", {keys, hidden});
    add(layer + "self_attn.gate_proj.weight", {queries, hidden});
    add(layer + "self_attn.o_proj.weight", {hidden, queries});
    add(layer + "self_attn.q_norm.weight", {config.head_dim});
    add(layer + "self_attn.k_norm.weight", {config.head_dim});
    if (config.dense(index)) {
      add_mlp(layer + "mlp.", config.intermediate_size);
      continue;
    }
    const std::int64_t experts = config.moe.router.num_experts;
    add(layer + "mlp.router.gate.weight", {experts, hidden});
    add(layer + "mlp.expert_bias", {experts});
    for (std::int64_t expert = 0; expert < experts; ++expert) {
      add_mlp(fmt::format("{}mlp.experts.{}.", layer, expert),
              config.moe.experts.intermediate_size);
    }
    if (config.moe.layer.num_shared_experts > 0) {
      add_mlp(layer + "mlp.shared_experts.", shared_width(config.moe));
    }
  }
  return tensors;
}

}  // namespace sluice::afmoe
