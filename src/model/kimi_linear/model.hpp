// Kimi-Linear: KDA and MLA layers, dense and sigmoid-routed MLPs, Llama's pre-norms.
#pragma once

#include <memory>
#include <vector>

#include "model/decoder_model.hpp"
#include "model/kimi_linear/config.hpp"
#include "model/moe_tensors.hpp"

namespace sluice::kimi_linear {

ModelDescription describe(const std::string& config_json, const ModelOptions& options);
MoeTensorNames moe_names(const Checkpoint& checkpoint, std::int64_t layer);
void check(const Checkpoint& checkpoint);
std::unique_ptr<Model> load(const Checkpoint& checkpoint, const ModelOptions& options);

class KimiLinearModel final : public DecoderModel {
 public:
  KimiLinearModel(const Config& config, ModelDescription description, const WeightSource& weights,
                  const ModelOptions& options);
  void forward(std::span<const SequenceInput> inputs, Logits& logits) override;

 private:
  struct Layer : DecoderLayer {
    RmsNorm input_layernorm;
    RmsNorm post_attention_layernorm;  // before the MLP
  };
  Layer load_layer(const Config& config, std::int64_t index, const WeightSource& weights,
                   const ModelOptions& options);
  const DecoderLayer& layer(std::int64_t index) const override {
    return layers_[static_cast<std::size_t>(index)];
  }
  std::size_t norm_bytes(std::int64_t index) const override;

  std::vector<Layer> layers_;
  Matrix x_;       // [rows, hidden], the residual stream
  Matrix h_;       // what a branch reads
  Matrix branch_;  // what it adds
};

}  // namespace sluice::kimi_linear
