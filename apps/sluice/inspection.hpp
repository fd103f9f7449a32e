// What `sluice inspect` found out; printed as text or as JSON.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <sluice/backend.hpp>
#include <sluice/checkpoint.hpp>
#include <sluice/model.hpp>
#include <sluice/spec.hpp>
#include <string>
#include <vector>

namespace sluice::cli {

// One spec and the layers that share it.
struct SpecInspection {
  MoeSpec spec;
  std::vector<std::int64_t> layers;  // empty for a bare spec
  std::vector<Candidate> candidates;
  const Backend* chosen = nullptr;  // nullptr: no_choice says why
  std::string variant;
  std::string no_choice;
};

struct TensorFigures {
  std::size_t count = 0;
  std::size_t bytes = 0;         // on disk
  std::size_t expert_bytes = 0;  // of that, routed experts
};

struct Inspection {
  std::string source;
  std::optional<ModelDescription> model;
  std::vector<SpecInspection> specs;
  std::optional<TensorFigures> tensors;
  std::vector<TensorInfo> tensor_list;  // with --tensors
  // Where files and config contradict each other: load_model's complaint, a line for each tensor.
  std::string tensor_problems;
  // Of a config alone: how many tensors a released checkpoint has, and whether to list them.
  std::size_t expected_tensors = 0;
  bool list_expected = false;
  std::optional<MemoryFigures> memory;  // with --load
  bool ok() const;  // every layer has a backend, and the tensors are those of the config
};

SpecInspection inspect_spec(const MoeSpec& spec, const std::string& forced_backend);

std::string report_text(const Inspection& inspection);
nlohmann::ordered_json report_json(const Inspection& inspection);

}  // namespace sluice::cli
