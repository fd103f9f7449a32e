// One model, loaded once for each way of computing it.
#pragma once

#include <memory>
#include <sluice/backend.hpp>
#include <sluice/model.hpp>
#include <string>
#include <vector>

#include "eval_options.hpp"

namespace sluice::cli {

struct EvalRun {
  std::string name;
  std::string fault;                // empty: none
  std::unique_ptr<Backend> broken;  // outlives the model
  std::unique_ptr<Model> model;
};

// The backends in the order given, then the last one once more for each fault.
std::vector<EvalRun> load_runs(const EvalVerbOptions& options);

}  // namespace sluice::cli
