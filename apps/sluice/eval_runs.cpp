#include "eval_runs.hpp"

#include <algorithm>
#include <sluice/audit.hpp>
#include <sluice/checkpoint.hpp>

#include "base/fail.hpp"
#include "model/model_list.hpp"

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

void refuse_twice(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    if (std::count(names.begin(), names.end(), name) == 1) continue;
    fail(ErrorKind::user, "\"{}\" is to be evaluated twice; name each run once", name);
  }
}

// Loading takes minutes where a model is large: what the last run would be refused for is told
// before the first is loaded.
void check_runs(const EvalVerbOptions& options, const std::vector<std::string>& backends,
                const ModelOptions& common) {
  refuse_twice(options.backends);
  refuse_twice(options.faults);
  for (const std::string& fault : options.faults) inject(backend("reference"), fault);
  const Checkpoint checkpoint = Checkpoint::open(options.model.directory);
  check_checkpoint(checkpoint);
  for (const LayerDescription& layer : describe_checkpoint(checkpoint, common).layers) {
    if (!layer.moe) continue;
    for (const std::string& name : backends) choose_backend(*layer.moe, name);
  }
}

}  // namespace

std::vector<EvalRun> load_runs(const EvalVerbOptions& options) {
  std::vector<EvalRun> runs;
  const ModelOptions common = options.model.options();
  const auto backends = options.backends.empty() ? std::vector<std::string>{""} : options.backends;
  check_runs(options, backends, common);
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
