#include "model/afmoe/model.hpp"

#include <cmath>

#include "base/fail.hpp"
#include "model/moe_loader.hpp"

namespace sluice::afmoe {

MoeTensorNames moe_names(const Checkpoint&, std::int64_t layer) {
  const std::string mlp = fmt::format("model.layers.{}.mlp.", layer);
  return {.router_weight = mlp + "router.gate.weight",
          .e_score_correction_bias = mlp + "expert_bias",
          .experts = mlp + "experts.",
          .shared_experts = mlp + "shared_experts."};
}

namespace {

// Of this checkpoint, in the layout it has.
std::vector<TensorExpectation> expectations(const Config& config, const Checkpoint& checkpoint) {
  std::vector<TensorExpectation> result = plain_expectations(expected_tensors(config));
  if (config.tie_word_embeddings) {
    const Shape head{config.vocab_size, config.hidden_size};
    result.push_back({"lm_head.weight", {head}, float_dtypes(), true});
  }
  for (std::int64_t index = config.num_dense_layers; index < config.num_hidden_layers; ++index) {
    const MoeTensorNames names = moe_names(checkpoint, index);
    expect_layout(checkpoint, names, names.experts, config.moe, result);
  }
  return result;
}

}  // namespace

ModelDescription describe(const std::string& config_json, const ModelOptions& options) {
  refuse_kimi_options(options, "afmoe");
  const Config config = read_config(config_json);
  ModelDescription description;
  description.model_type = "afmoe";
  description.vocab_size = config.vocab_size;
  description.hidden_size = config.hidden_size;
  description.max_positions = config.max_positions;
  for (std::int64_t index = 0; index < config.num_hidden_layers; ++index) {
    LayerDescription layer;
    layer.index = index;
    layer.mixer =
        config.sliding[static_cast<std::size_t>(index)] ? "sliding_attention" : "full_attention";
    if (!config.dense(index)) layer.moe = spec_in_use(config.moe, DType::bf16, options);
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
  return std::make_unique<AfmoeModel>(config, std::move(description), WeightSource(checkpoint),
                                      options);
}

AfmoeModel::AfmoeModel(const Config& config, ModelDescription description,
                       const WeightSource& weights, const ModelOptions& options)
    : DecoderModel(std::move(description), options),
      embed_scale_(config.mup_enabled
                       ? static_cast<float>(std::sqrt(static_cast<double>(config.hidden_size)))
                       : 1.0f),
      rotary_(config.head_dim, config.rope_theta) {
  load_ends(weights, config.rms_norm_eps, config.tie_word_embeddings);
  for (std::int64_t index = 0; index < config.num_hidden_layers; ++index) {
    report_progress(options, index);
    layers_.push_back(load_layer(config, index, weights, options));
    weights.release();
  }
  report_progress(options, config.num_hidden_layers);
}

AfmoeModel::Layer AfmoeModel::load_layer(const Config& config, std::int64_t index,
                                         const WeightSource& weights, const ModelOptions& options) {
  const std::string stem = fmt::format("model.layers.{}.", index);
  const auto norm = [&](const char* name) {
    return RmsNorm(weights.tensor(stem + name + ".weight"), config.rms_norm_eps);
  };
  Layer layer;
  layer.input_layernorm = norm("input_layernorm");
  layer.post_attention_layernorm = norm("post_attention_layernorm");
  layer.pre_mlp_layernorm = norm("pre_mlp_layernorm");
  layer.post_mlp_layernorm = norm("post_mlp_layernorm");
  layer.mixer =
      std::make_unique<GatedAttention>(config, config.sliding[static_cast<std::size_t>(index)],
                                       rotary_, weights, stem + "self_attn.", compute_);
  if (config.dense(index)) {
    layer.feed_forward = std::make_unique<DenseMlp>(
        weights.tensor(stem + "mlp.gate_proj.weight"), weights.tensor(stem + "mlp.up_proj.weight"),
        weights.tensor(stem + "mlp.down_proj.weight"), executor());
    return layer;
  }
  layer.feed_forward =
      load_moe(config.moe, moe_names(weights.checkpoint(), index), weights, options, compute_,
               description_.layers[static_cast<std::size_t>(index)]);
  return layer;
}

void AfmoeModel::forward(std::span<const SequenceInput> inputs, Logits& logits) {
  const Batch batch(*this, inputs);
  compute_.times.tokens += batch.rows();
  embed(batch, embed_scale_, x_);
  rotary_.prepare(compute_, batch);
  norm(layers_.front().input_layernorm, x_, h_);
  for (std::size_t index = 0; index < layers_.size(); ++index) {
    Layer& layer = layers_[index];
    (*layer.mixer)(compute_, batch, static_cast<std::int64_t>(index), h_, branch_);
    add_and_norm(x_, branch_, &layer.post_attention_layernorm, &layer.pre_mlp_layernorm, h_);

    (*layer.feed_forward)(compute_, h_, branch_);
    const bool last = index + 1 == layers_.size();
    add_and_norm(x_, branch_, &layer.post_mlp_layernorm,
                 last ? nullptr : &layers_[index + 1].input_layernorm, h_);
  }
  compute_logits(batch, x_, logits);
  batch.commit();
}

std::size_t AfmoeModel::norm_bytes(std::int64_t index) const {
  const Layer& layer = layers_[static_cast<std::size_t>(index)];
  return layer.input_layernorm.bytes() + layer.post_attention_layernorm.bytes() +
         layer.pre_mlp_layernorm.bytes() + layer.post_mlp_layernorm.bytes();
}

}  // namespace sluice::afmoe
