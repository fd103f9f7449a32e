#include "model/kimi_linear/model.hpp"

#include "base/fail.hpp"
#include "model/kimi_linear/kda_mixer.hpp"
#include "model/kimi_linear/mla_mixer.hpp"
#include "model/kimi_linear/names.hpp"
#include "model/moe_loader.hpp"

namespace sluice::kimi_linear {
namespace {

// transformers and the released code leave RMSNorm's own default; vLLM and llama.cpp pass
// rms_norm_eps.
constexpr double kLatentNormEps = 1e-6;

double latent_norm_eps(const ModelOptions& options) {
  const double eps = options.kv_a_layernorm_eps.value_or(kLatentNormEps);
  if (!(eps >= 0.0 && eps <= 1.0)) {
    fail(ErrorKind::user, "kv_a_layernorm_eps is {}; give 0 to 1", eps);
  }
  return eps;
}

std::string present(const Checkpoint& checkpoint, const std::string& released) {
  for (const std::string& name : spellings(released)) {
    if (checkpoint.contains(name)) return name;
  }
  return released;
}

std::string released_moe_stem(std::int64_t layer) {
  return fmt::format("model.layers.{}.block_sparse_moe.", layer);
}

std::string moe_stem(const Checkpoint& checkpoint, std::int64_t layer) {
  constexpr std::string_view kRouter = "gate.weight";
  const std::string router = present(checkpoint, released_moe_stem(layer) + std::string(kRouter));
  return router.substr(0, router.size() - kRouter.size());
}

}  // namespace

MoeTensorNames moe_names(const Checkpoint& checkpoint, std::int64_t layer) {
  const std::string stem = moe_stem(checkpoint, layer);
  return {.router_weight = stem + "gate.weight",
          .e_score_correction_bias = stem + "gate.e_score_correction_bias",
          .experts = stem + "experts.",
          .shared_experts = stem + "shared_experts.",
          .parts = {"w1", "w3", "w2"}};
}

namespace {

// Of this checkpoint, in the names and layouts it has.
std::vector<TensorExpectation> expectations(const Config& config, const Checkpoint& checkpoint) {
  std::vector<TensorExpectation> result = plain_expectations(expected_tensors(config));
  if (config.tie_word_embeddings) {
    const Shape head{config.vocab_size, config.hidden_size};
    result.push_back({"lm_head.weight", {head}, float_dtypes(), true});
  }
  for (TensorExpectation& expected : result) {
    expected.name = present(checkpoint, expected.name);
    if (expected.name.ends_with("A_log")) {
      expected.shapes.insert(expected.shapes.end(), {{config.kda_heads, 1}, {config.kda_heads}});
    } else if (expected.name.ends_with("dt_bias")) {
      expected.shapes.push_back({config.kda_heads, config.kda_head_dim});
    }
  }
  for (std::int64_t index = 0; index < config.num_hidden_layers; ++index) {
    if (config.is_moe(index)) {
      expect_layout(checkpoint, moe_names(checkpoint, index), released_moe_stem(index) + "experts.",
                    config.moe, result);
    }
    const std::string attn = fmt::format("model.layers.{}.self_attn.", index);
    if (config.is_mla(index) || !checkpoint.contains(attn + "conv1d.weight")) continue;
    std::erase_if(result, [&](const TensorExpectation& expected) {
      return expected.name.starts_with(attn) && expected.name.ends_with("_conv1d.weight");
    });
    result.push_back(
        {attn + "conv1d.weight", {{3 * config.kda_width(), 1, config.conv_taps}}, float_dtypes()});
  }
  return result;
}

}  // namespace

ModelDescription describe(const std::string& config_json, const ModelOptions& options) {
  const Config config = read_config(config_json);
  latent_norm_eps(options);
  ModelDescription description;
  description.model_type = "kimi_linear";
  description.vocab_size = config.vocab_size;
  description.hidden_size = config.hidden_size;
  description.max_positions = config.max_positions;
  for (std::int64_t index = 0; index < config.num_hidden_layers; ++index) {
    LayerDescription layer;
    layer.index = index;
    layer.mixer = config.is_mla(index) ? "mla" : "kda";
    if (config.is_moe(index)) layer.moe = spec_in_use(config.moe, DType::bf16, options);
    description.layers.push_back(std::move(layer));
  }
  description.tensors = expected_tensors(config);
  return description;
}

void check(const Checkpoint& checkpoint) {
  const Config config = read_config(checkpoint.config_text());
  check_tensors(checkpoint.tensors(), expectations(config, checkpoint), harmless_tensor);
}

std::unique_ptr<Model> load(const Checkpoint& checkpoint, const ModelOptions& options) {
  const std::string json = checkpoint.config_text();
  const Config config = read_config(json);
  ModelDescription description = describe(json, options);
  check(checkpoint);
  return std::make_unique<KimiLinearModel>(config, std::move(description), WeightSource(checkpoint),
                                           options);
}

KimiLinearModel::KimiLinearModel(const Config& config, ModelDescription description,
                                 const WeightSource& weights, const ModelOptions& options)
    : DecoderModel(std::move(description), options) {
  load_ends(weights, config.rms_norm_eps, config.tie_word_embeddings);
  for (std::int64_t index = 0; index < config.num_hidden_layers; ++index) {
    report_progress(options, index);
    layers_.push_back(load_layer(config, index, weights, options));
    weights.release();
  }
  report_progress(options, config.num_hidden_layers);
}

KimiLinearModel::Layer KimiLinearModel::load_layer(const Config& config, std::int64_t index,
                                                   const WeightSource& weights,
                                                   const ModelOptions& options) {
  const std::string stem = fmt::format("model.layers.{}.", index);
  const auto tensor = [&](const std::string& name) {
    return weights.first_of(spellings(stem + name));
  };
  Layer layer;
  layer.input_layernorm = RmsNorm(tensor("input_layernorm.weight"), config.rms_norm_eps);
  layer.post_attention_layernorm =
      RmsNorm(tensor("post_attention_layernorm.weight"), config.rms_norm_eps);
  if (config.is_mla(index)) {
    layer.mixer = std::make_unique<MlaMixer>(config, latent_norm_eps(options), weights,
                                             stem + "self_attn.", compute_);
  } else {
    layer.mixer = std::make_unique<KdaMixer>(config, weights, stem + "self_attn.", compute_);
  }
  if (!config.is_moe(index)) {
    layer.feed_forward =
        std::make_unique<DenseMlp>(tensor("mlp.gate_proj.weight"), tensor("mlp.up_proj.weight"),
                                   tensor("mlp.down_proj.weight"), executor());
    return layer;
  }
  layer.feed_forward =
      load_moe(config.moe, moe_names(weights.checkpoint(), index), weights, options, compute_,
               description_.layers[static_cast<std::size_t>(index)]);
  return layer;
}

void KimiLinearModel::forward(std::span<const SequenceInput> inputs, Logits& logits) {
  const Batch batch(*this, inputs);
  compute_.times.tokens += batch.rows();
  embed(batch, 1.0f, x_);
  norm(layers_.front().input_layernorm, x_, h_);
  for (std::size_t index = 0; index < layers_.size(); ++index) {
    Layer& layer = layers_[index];
    (*layer.mixer)(compute_, batch, static_cast<std::int64_t>(index), h_, branch_);
    add_and_norm(x_, branch_, nullptr, &layer.post_attention_layernorm, h_);

    (*layer.feed_forward)(compute_, h_, branch_);
    const bool last = index + 1 == layers_.size();
    add_and_norm(x_, branch_, nullptr, last ? nullptr : &layers_[index + 1].input_layernorm, h_);
  }
  compute_logits(batch, x_, logits);
  batch.commit();
}

std::size_t KimiLinearModel::norm_bytes(std::int64_t index) const {
  const Layer& layer = layers_[static_cast<std::size_t>(index)];
  return layer.input_layernorm.bytes() + layer.post_attention_layernorm.bytes();
}

}  // namespace sluice::kimi_linear
