// AFMoE (arcee-ai/Trinity): sandwich norms, gated attention, sigmoid-routed experts.
#pragma once

#include <memory>
#include <vector>

#include "model/afmoe/config.hpp"
#include "model/afmoe/gated_attention.hpp"
#include "model/decoder_model.hpp"
#include "model/moe_tensors.hpp"

namespace sluice::afmoe {

ModelDescription describe(const std::string& config_json, const ModelOptions& options);
MoeTensorNames moe_names(const Checkpoint& checkpoint, std::int64_t layer);
void check(const Checkpoint& checkpoint);
std::unique_ptr<Model> load(const Checkpoint& checkpoint, const ModelOptions& options);

class AfmoeModel final : public DecoderModel {
 public:
  AfmoeModel(const Config& config, ModelDescription description, const WeightSource& weights,
             const ModelOptions& options);
  void forward(std::span<const SequenceInput> inputs, Logits& logits) override;

 private:
  struct Layer : DecoderLayer {
    RmsNorm input_layernorm;
    RmsNorm post_attention_layernorm;  // on the branch, before it is added: not Llama's
    RmsNorm pre_mlp_layernorm;
    RmsNorm post_mlp_layernorm;
  };
  Layer load_layer(const Config& config, std::int64_t index, const WeightSource& weights,
                   const ModelOptions& options);
  const DecoderLayer& layer(std::int64_t index) const override {
    return layers_[static_cast<std::size_t>(index)];
  }
  std::size_t norm_bytes(std::int64_t index) const override;

  float embed_scale_;
  Rotary rotary_;
  std::vector<Layer> layers_;
  Matrix x_;       // [rows, hidden], the residual stream
  Matrix h_;       // what a branch reads
  Matrix branch_;  // what it adds
};

}  // namespace sluice::afmoe
