// The families: a new one is one folder and one line here.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include <sluice/checkpoint.hpp>
#include <sluice/model.hpp>

#include "model/moe_tensors.hpp"

namespace sluice {

struct ModelFamily {
  std::string_view model_type;  // of config.json
  ModelDescription (*describe)(const std::string& config_json, const ModelOptions& options);
  // Where a MoE layer's tensors are in this checkpoint.
  MoeTensorNames (*moe_names)(const Checkpoint& checkpoint, std::int64_t layer);
  void (*check)(const Checkpoint& checkpoint);
  std::unique_ptr<Model> (*load)(const Checkpoint& checkpoint, const ModelOptions& options);
};

std::span<const ModelFamily> model_families();

// Throws load_model's Error(checkpoint) where tensors are not those of the config. Reads no
// weights.
void check_checkpoint(const Checkpoint& checkpoint);

// describe_model with the specs that load_model would use, whatever the experts' dtype. Of a
// checkpoint that passed check_checkpoint. Reads no weights.
ModelDescription describe_checkpoint(const Checkpoint& checkpoint,
                                     const ModelOptions& options = {});

}  // namespace sluice
