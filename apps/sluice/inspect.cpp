// sluice inspect: what a model or a spec asks for, and who honours it.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <sluice/presets.hpp>

#include "base/fail.hpp"
#include "inspection.hpp"
#include "model/model_list.hpp"
#include "output/files.hpp"
#include "output/progress.hpp"
#include "refuse_shared_files.hpp"
#include "spec_file.hpp"
#include "verb.hpp"
#include "writable.hpp"

namespace sluice::cli {
namespace {

constexpr const char* kFooter =
    R"(Prints the fields of each MoE layer's spec (those that ask something of a backend first), the
backend that would run it, and every refusal with the field and the reason.
Exit status 1: some layer has no usable backend, or DIR's tensors are not those that its config asks
for, which are then listed.

Examples:
  sluice inspect path/to/Trinity-Mini          which backend runs which layer, and why
  sluice inspect --config config.json          a config alone; not only of models that run here
  sluice inspect --spec S.json --backend cpu   would cpu take this layer?)";

struct Options {
  std::string model;
  std::string spec;
  std::string config;
  std::string backend;
  std::string json;
  bool tensors = false;
  bool load = false;
};

void add_layer(std::vector<SpecInspection>& specs, const LayerDescription& layer,
               const std::string& backend) {
  const auto same = [&](const SpecInspection& known) { return known.spec == *layer.moe; };
  auto known = std::find_if(specs.begin(), specs.end(), same);
  if (known == specs.end()) {
    specs.push_back(inspect_spec(*layer.moe, backend));
    known = specs.end() - 1;
  }
  known->layers.push_back(layer.index);
}

void inspect_tensors(const Checkpoint& checkpoint, bool list, Inspection& inspection) {
  TensorFigures figures;
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    ++figures.count;
    figures.bytes += tensor.bytes;
    if (tensor.name.find(".experts.") != std::string::npos) figures.expert_bytes += tensor.bytes;
    if (list) inspection.tensor_list.push_back(tensor);
  }
  inspection.tensors = figures;
}

std::string tensor_problems(const Checkpoint& checkpoint) {
  try {
    check_checkpoint(checkpoint);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::checkpoint) throw;
    return error.what();
  }
  return "";
}

MemoryFigures load_figures(const std::string& directory, const std::string& backend) {
  ProgressLine line("loading " + directory);
  ModelOptions options;
  options.backend = backend;
  options.progress = [&](const LoadProgress& progress) {
    line.update(static_cast<double>(progress.layers_done), static_cast<double>(progress.layers));
  };
  return load_model(directory, options)->memory();
}

Inspection inspect_description(const std::string& source, ModelDescription description,
                               const Options& options) {
  Inspection inspection;
  inspection.source = source;
  inspection.model = std::move(description);
  for (const LayerDescription& layer : inspection.model->layers) {
    if (layer.moe) add_layer(inspection.specs, layer, options.backend);
  }
  return inspection;
}

Inspection inspect_model(const Options& options) {
  const Checkpoint checkpoint = Checkpoint::open(options.model);
  const std::string problems = tensor_problems(checkpoint);
  // Of files that do not fit it, the config alone can be described.
  Inspection inspection = inspect_description(
      options.model,
      problems.empty() ? describe_checkpoint(checkpoint) : describe_model(checkpoint.config_text()),
      options);
  inspect_tensors(checkpoint, options.tensors, inspection);
  inspection.tensor_problems = problems;
  // Loading would only say again what is wrong, in place of the report.
  if (options.load && inspection.ok()) {
    inspection.memory = load_figures(options.model, options.backend);
  }
  return inspection;
}

Inspection inspect_one_spec(const std::string& source, const MoeSpec& spec,
                            const Options& options) {
  validate(spec);
  Inspection inspection;
  inspection.source = source;
  inspection.specs.push_back(inspect_spec(spec, options.backend));
  return inspection;
}

bool is_runnable_family(const std::string& config) {
  const auto json = nlohmann::json::parse(config, nullptr, false);
  if (!json.is_object() || !json.contains("model_type")) return false;
  const auto families = model_families();
  return std::any_of(families.begin(), families.end(), [&](const ModelFamily& family) {
    return json["model_type"] == family.model_type;
  });
}

Inspection inspect_config_file(const std::string& config, const Options& options) {
  if (!is_runnable_family(config)) {
    return inspect_one_spec(options.config, spec_from_config(config), options);
  }
  Inspection inspection = inspect_description(options.config, describe_model(config), options);
  inspection.expected_tensors = inspection.model->tensors.size();
  inspection.list_expected = options.tensors;
  return inspection;
}

// The library was given text and calls it config.json.
std::string in_file(const std::string& path, std::string message) {
  constexpr std::string_view kCalled = "config.json";
  if (message.starts_with(kCalled)) return message.replace(0, kCalled.size(), path);
  return path + ": " + message;
}

Inspection inspect(const Options& options) {
  if (!options.model.empty()) return inspect_model(options);
  if (!options.spec.empty()) {
    return inspect_one_spec(options.spec, read_spec(options.spec), options);
  }
  const std::string config = read_text(options.config);
  try {
    return inspect_config_file(config, options);
  } catch (const Error& error) {
    throw Error(error.kind(), in_file(options.config, error.what()));
  }
}

int run_inspect(const CLI::App& app, const Options& options) {
  refuse_shared_files(app, {"--json"}, {"--spec", "--config"});
  if (options.load && options.model.empty()) {
    fail(ErrorKind::user, "--load needs a model's directory");
  }
  if (options.tensors && !options.spec.empty()) {
    fail(ErrorKind::user, "--tensors needs a model's directory or its config.json");
  }
  const Inspection inspection = inspect(options);
  if (!options.json.empty()) write_json(options.json, report_json(inspection));
  if (options.json != "-") fmt::print("{}", report_text(inspection));
  return inspection.ok() ? kOk : kFoundProblem;
}

}  // namespace

Run declare_inspect(CLI::App& app) {
  auto options = std::make_shared<Options>();
  auto* source = app.add_option_group("source", "one of");
  source->add_option("DIR", options->model, "A model's directory");
  source->add_option("--spec", options->spec, "A spec, JSON");
  source->add_option("--config", options->config, "A model's config.json");
  source->require_option(1);
  app.add_option("--backend", options->backend, "Force this backend");
  app.add_flag("--tensors", options->tensors, "List every tensor, by name and shape");
  app.add_flag("--load", options->load, "Pack the weights and show the memory that they take");
  app.add_option("--json", options->json, "Write everything here; - is stdout")->check(writable());
  app.footer(kFooter);
  return [options, &app] { return run_inspect(app, *options); };
}

}  // namespace sluice::cli
