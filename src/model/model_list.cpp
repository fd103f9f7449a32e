#include "model/model_list.hpp"

#include "base/fail.hpp"
#include "model/afmoe/model.hpp"
#include "model/kimi_linear/model.hpp"
#include "model/moe_loader.hpp"
#include "spec/config/config_reader.hpp"

namespace sluice {
namespace {

constexpr ModelFamily kFamilies[] = {
    {"afmoe", afmoe::describe, afmoe::moe_names, afmoe::check, afmoe::load},
    {"kimi_linear", kimi_linear::describe, kimi_linear::moe_names, kimi_linear::check,
     kimi_linear::load},
};

const ModelFamily& family_of(const std::string& config_json) {
  const std::string model_type = ConfigReader(config_json).text("model_type");
  std::string known;
  for (const ModelFamily& family : kFamilies) {
    if (family.model_type == model_type) return family;
    known += fmt::format("{}\"{}\"", known.empty() ? "" : ", ", family.model_type);
  }
  fail(ErrorKind::checkpoint, "config.json: model_type is \"{}\"; models that can be run: {}",
       model_type, known);
}

}  // namespace

std::span<const ModelFamily> model_families() { return kFamilies; }

ModelDescription describe_model(const std::string& config_json_text, const ModelOptions& options) {
  return family_of(config_json_text).describe(config_json_text, options);
}

void check_checkpoint(const Checkpoint& checkpoint) {
  family_of(checkpoint.config_text()).check(checkpoint);
}

ModelDescription describe_checkpoint(const Checkpoint& checkpoint, const ModelOptions& options) {
  const std::string config = checkpoint.config_text();
  const ModelFamily& family = family_of(config);
  ModelDescription description = family.describe(config, options);
  const WeightSource source(checkpoint);
  for (LayerDescription& layer : description.layers) {
    if (!layer.moe) continue;
    const MoeTensors tensors(source, family.moe_names(checkpoint, layer.index), *layer.moe);
    layer.moe = spec_in_use(*layer.moe, tensors.dtype(), options);
  }
  return description;
}

std::unique_ptr<Model> load_model(const std::string& directory, const ModelOptions& options) {
  const Checkpoint checkpoint = Checkpoint::open(directory);
  return family_of(checkpoint.config_text()).load(checkpoint, options);
}

}  // namespace sluice
