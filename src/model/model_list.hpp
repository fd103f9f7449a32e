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
  std::unique_ptr<Model> (*load)(const Checkpoint& checkpoint, const ModelOptions& options);
};

std::span<const ModelFamily> model_families();

}  // namespace sluice
