// The families: a new one is one folder and one line here.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include <sluice/checkpoint.hpp>
#include <sluice/model.hpp>

namespace sluice {

struct ModelFamily {
  std::string_view model_type;  // of config.json
  ModelDescription (*describe)(const std::string& config_json, const ModelOptions& options);
  void (*check)(const Checkpoint& checkpoint);
  std::unique_ptr<Model> (*load)(const Checkpoint& checkpoint, const ModelOptions& options);
};

std::span<const ModelFamily> model_families();

// Throws load_model's Error(checkpoint) where tensors are not those of the config. Reads no
// weights.
void check_checkpoint(const Checkpoint& checkpoint);

}  // namespace sluice
