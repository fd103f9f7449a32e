#include "eval_runs.hpp"

#include <sluice/audit.hpp>

namespace sluice::cli {
namespace {

// The backend of the first MoE layer, which stands for the model where none was asked for.
std::string backend_of(const Model& model) {
  for (const LayerDescription& layer : model.description().layers) {
    const Backend* backend = model.layer_backend(layer.index);
    if (backend != nullptr) return std::string(backend->name());
  }
  return "dense";
}

}  // namespace

std::vector<EvalRun> load_runs(const EvalVerbOptions& options) {
  std::vector<EvalRun> runs;
  const ModelOptions common = options.model.options();
  const auto backends = options.backends.empty() ? std::vector<std::string>{""} : options.backends;
  for (const std::string& name : backends) {
    ModelOptions model_options = common;
    model_options.backend = name;
    EvalRun& run = runs.emplace_back();
    run.model = load_with_progress(options.model, model_options, name);
    run.name = name.empty() ? backend_of(*run.model) : name;
  }
  const std::string last = runs.back().name;
  for (const std::string& fault : options.faults) {
    EvalRun& run = runs.emplace_back();
    run.name = last + " + " + fault;
    run.fault = fault;
    run.broken = inject(backend(last), fault);
    ModelOptions model_options = common;
    model_options.instance = run.broken.get();
    run.model = load_with_progress(options.model, model_options, run.name);
  }
  return runs;
}

}  // namespace sluice::cli
