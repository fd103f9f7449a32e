#include "model/kimi_linear/config.hpp"

#include <optional>

#include <sluice/presets.hpp>

#include "base/fail.hpp"
#include "model/limits.hpp"
#include "model/plain_decoder.hpp"

namespace sluice::kimi_linear {
namespace {

// layer_types or mlp_layer_types: per layer, whether it is `yes` (else it must be `no`).
std::optional<std::vector<bool>> read_types(const ConfigReader& config, const char* key,
                                            std::int64_t layers, std::string_view yes,
                                            std::string_view no) {
  const auto types = config.find_texts(key);
  if (!types) return std::nullopt;
  if (std::ssize(*types) != layers) {
    fail(ErrorKind::checkpoint, "config.json: {} has {} entries but num_hidden_layers is {}", key,
         types->size(), layers);
  }
  std::vector<bool> result;
  for (const std::string& type : *types) {
    if (type != yes && type != no) {
      fail(ErrorKind::checkpoint, "config.json: {} holds \"{}\"; known: {}, {}", key, type, yes,
           no);
    }
    result.push_back(type == yes);
  }
  return result;
}

// The released lists count layers from 1. Every layer must stand in exactly one of them.
std::optional<std::vector<bool>> read_layer_lists(const ConfigReader& config, std::int64_t layers) {
  const auto full = config.find_integers("linear_attn_config.full_attn_layers", 1, layers);
  const auto kda = config.find_integers("linear_attn_config.kda_layers", 1, layers);
  if (!full && !kda) return std::nullopt;
  if (!full || !kda) {
    fail(ErrorKind::checkpoint,
         "config.json: linear_attn_config has {} but no {}; give both, or layer_types alone",
         full ? "full_attn_layers" : "kda_layers", full ? "kda_layers" : "full_attn_layers");
  }
  std::vector<std::optional<bool>> kinds(static_cast<std::size_t>(layers));
  const auto mark = [&](std::int64_t number, bool is_full) {
    auto& kind = kinds[static_cast<std::size_t>(number - 1)];
    if (kind) {
      fail(ErrorKind::checkpoint,
           "config.json: linear_attn_config lists layer {} (counted from 1) twice", number);
    }
    kind = is_full;
  };
  for (const std::int64_t number : *full) mark(number, true);
  for (const std::int64_t number : *kda) mark(number, false);
  std::vector<bool> result;
  for (const auto& kind : kinds) {
    if (!kind) {
      fail(ErrorKind::checkpoint,
           "config.json: linear_attn_config lists layer {} (counted from 1) neither in kda_layers "
           "nor in full_attn_layers",
           result.size() + 1);
    }
    result.push_back(*kind);
  }
  return result;
}

std::optional<std::vector<bool>> read_dense_rule(const ConfigReader& config, std::int64_t layers) {
  const auto first = config.find_integer("first_k_dense_replace", 0, kMostLayers);
  const std::int64_t every = config.find_integer("moe_layer_freq", 1, kMostLayers).value_or(1);
  if (!first && every != 1) {
    fail(ErrorKind::checkpoint,
         "config.json: moe_layer_freq is {} without first_k_dense_replace; give both, or "
         "mlp_layer_types alone",
         every);
  }
  if (!first) return std::nullopt;
  std::vector<bool> result;
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    result.push_back(layer >= *first && layer % every == 0);
  }
  return result;
}

std::vector<bool> agreed(const char* released_keys, std::optional<std::vector<bool>> released,
                         const char* native_key, std::optional<std::vector<bool>> native) {
  if (!released && !native) {
    fail(ErrorKind::checkpoint, "config.json has neither {} nor {}; one of them is needed",
         released_keys, native_key);
  }
  if (released && native && *released != *native) {
    fail(ErrorKind::checkpoint, "config.json: {} and {} describe different layers", released_keys,
         native_key);
  }
  return released ? *std::move(released) : *std::move(native);
}

void refuse_other_arithmetic(const ConfigReader& reader, std::int64_t heads) {
  require_plain_decoder(reader);
  reader.require_flag("mla_use_nope", true);
  reader.require_absent("q_lora_rank");
  const auto nextn = reader.find_integer("num_nextn_predict_layers", 0, kMostLayers);
  if (nextn.value_or(0) != 0) {
    fail(ErrorKind::checkpoint,
         "config.json: num_nextn_predict_layers is {}; layers for multi-token prediction are not "
         "implemented",
         *nextn);
  }
  const auto kv_heads = reader.find_integer("num_key_value_heads", 1, kMostHeads);
  if (kv_heads.value_or(heads) != heads) {
    fail(ErrorKind::checkpoint,
         "config.json: num_key_value_heads is {} but num_attention_heads is {}; latent attention "
         "has keys for every head",
         *kv_heads, heads);
  }
}

}  // namespace

Config read_config(const std::string& json_text) {
  const ConfigReader reader(json_text);
  Config config;
  config.vocab_size = reader.integer("vocab_size", 1, kMostIds);
  config.hidden_size = reader.integer("hidden_size", 1, kMostWidth);
  config.max_positions = find_max_positions(reader);
  config.num_hidden_layers = reader.integer("num_hidden_layers", 1, kMostLayers);
  config.intermediate_size = reader.integer("intermediate_size", 1, kMostWidth);
  config.mla = {.heads = reader.integer("num_attention_heads", 1, kMostHeads),
                .latent = reader.integer("kv_lora_rank", 1, kMostWidth),
                .nope = reader.integer("qk_nope_head_dim", 1, kMostWidth),
                .pe = reader.integer("qk_rope_head_dim", 0, kMostWidth),
                .value = reader.integer("v_head_dim", 1, kMostWidth)};
  refuse_other_arithmetic(reader, config.mla.heads);
  config.kda_heads =
      reader.integer({"linear_attn_config.num_heads", "linear_num_heads"}, 1, kMostHeads);
  config.kda_head_dim =
      reader.integer({"linear_attn_config.head_dim", "linear_head_dim"}, 1, kMostWidth);
  config.conv_taps = reader.integer(
      {"linear_attn_config.short_conv_kernel_size", "linear_conv_kernel_dim"}, 1, 64);
  const std::int64_t layers = config.num_hidden_layers;
  config.full_attention =
      agreed("linear_attn_config's kda_layers and full_attn_layers",
             read_layer_lists(reader, layers), "layer_types",
             read_types(reader, "layer_types", layers, "full_attention", "linear_attention"));
  config.sparse =
      agreed("first_k_dense_replace and moe_layer_freq", read_dense_rule(reader, layers),
             "mlp_layer_types", read_types(reader, "mlp_layer_types", layers, "sparse", "dense"));
  config.rms_norm_eps = reader.real("rms_norm_eps", 0.0, 1.0);
  config.tie_word_embeddings = reader.find_flag("tie_word_embeddings").value_or(false);
  config.moe = spec_from_config(json_text);
  check_tensor_count(config.num_hidden_layers, config.moe.router.num_experts);
  return config;
}

std::vector<ExpectedTensor> expected_tensors(const Config& config) {
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t width = config.kda_width();
  const std::int64_t dim = config.kda_head_dim;
  std::vector<ExpectedTensor> tensors;
  const auto add = [&](const std::string& name, const Shape& shape) {
    tensors.push_back({name, shape});
  };
  const auto add_mlp = [&](const std::string& stem, std::int64_t inner) {
    add(stem + "gate_proj.weight", {inner, hidden});
    add(stem + "up_proj.weight", {inner, hidden});
    add(stem + "down_proj.weight", {hidden, inner});
  };
  const auto add_kda = [&](const std::string& attn) {
    for (const char* stream : {"q", "k", "v"}) {
      add(attn + stream + "_proj.weight", {width, hidden});
      add(attn + stream + "_conv1d.weight", {width, 1, config.conv_taps});
    }
    add(attn + "A_log", {1, 1, config.kda_heads, 1});
    add(attn + "dt_bias", {width});
    add(attn + "f_a_proj.weight", {dim, hidden});
    add(attn + "f_b_proj.weight", {width, dim});
    add(attn + "g_a_proj.weight", {dim, hidden});
    add(attn + "g_b_proj.weight", {width, dim});
    add(attn + "b_proj.weight", {config.kda_heads, hidden});
    add(attn + "o_norm.weight", {dim});
    add(attn + "o_proj.weight", {hidden, width});
  };
  const auto add_mla = [&](const std::string& attn) {
    const LatentShape& mla = config.mla;
    add(attn + "q_proj.weight", {mla.heads * mla.query(), hidden});
    add(attn + "kv_a_proj_with_mqa.weight", {mla.width(), hidden});
    add(attn + "kv_a_layernorm.weight", {mla.latent});
    add(attn + "kv_b_proj.weight", {mla.heads * (mla.nope + mla.value), mla.latent});
    add(attn + "o_proj.weight", {hidden, mla.heads * mla.value});
  };
  const auto add_moe = [&](const std::string& moe) {
    const std::int64_t inner = config.moe.experts.intermediate_size;
    add(moe + "gate.weight", {config.moe.router.num_experts, hidden});
    add(moe + "gate.e_score_correction_bias", {config.moe.router.num_experts});
    for (std::int64_t expert = 0; expert < config.moe.router.num_experts; ++expert) {
      const std::string stem = fmt::format("{}experts.{}.", moe, expert);
      add(stem + "w1.weight", {inner, hidden});
      add(stem + "w3.weight", {inner, hidden});
      add(stem + "w2.weight", {hidden, inner});
    }
    if (config.moe.layer.num_shared_experts > 0) {
      add_mlp(moe + "shared_experts.", shared_width(config.moe));
    }
  };

  add("model.embed_tokens.weight", {config.vocab_size, hidden});
  add("model.norm.weight", {hidden});
  if (!config.tie_word_embeddings) add("lm_head.weight", {config.vocab_size, hidden});
  for (std::int64_t index = 0; index < config.num_hidden_layers; ++index) {
    const std::string layer = fmt::format("model.layers.{}.", index);
    add(layer + "input_layernorm.weight", {hidden});
    add(layer + "post_attention_layernorm.weight", {hidden});
    config.is_mla(index) ? add_mla(layer + "self_attn.") : add_kda(layer + "self_attn.");
    if (config.is_moe(index)) {
      add_moe(layer + "block_sparse_moe.");
    } else {
      add_mlp(layer + "mlp.", config.intermediate_size);
    }
  }
  return tensors;
}

}  // namespace sluice::kimi_linear
