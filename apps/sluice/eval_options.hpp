// What `sluice eval gsm8k` was asked for.
#pragma once

#include <cstdint>
#include <sluice/eval.hpp>
#include <string>
#include <vector>

#include "model_files.hpp"

namespace sluice::cli {

struct EvalVerbOptions {
  ModelChoice model;
  std::string data;
  std::string shots_file;
  std::string score;
  std::string records;
  std::string json;
  std::int64_t limit = kAllProblems;
  std::int64_t shots = 0;
  std::vector<std::string> backends;
  std::vector<std::string> faults;
  bool chat = false;
  bool resume = false;
  EvalOptions eval;
};

}  // namespace sluice::cli
