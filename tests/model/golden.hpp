// Golden checkpoints: what transformers computed, and how far we are from it.
#pragma once

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include <sluice/checkpoint.hpp>
#include <sluice/model.hpp>

namespace sluice::testing {

struct GoldenSequence {
  std::vector<std::int32_t> ids;
  std::vector<std::vector<float>> logits;  // of the last positions
};

struct GreedyRun {
  std::vector<std::int32_t> prompt;
  std::vector<std::int32_t> continuation;
};

inline std::filesystem::path golden_path(const std::string& family, const std::string& name) {
  return std::filesystem::path(SLUICE_TEST_DATA) / family / name;
}

inline std::vector<GoldenSequence> golden_sequences(const std::filesystem::path& path) {
  const Checkpoint file = Checkpoint::open(path / "golden.safetensors");
  std::vector<GoldenSequence> sequences;
  for (int n = 0; file.contains("ids." + std::to_string(n)); ++n) {
    GoldenSequence sequence;
    const TensorView ids = file.tensor("ids." + std::to_string(n));
    for (std::int64_t i = 0; i < ids.shape[0]; ++i) {
      std::int64_t id = 0;
      std::memcpy(&id, static_cast<const char*>(ids.data) + i * 8, 8);
      sequence.ids.push_back(static_cast<std::int32_t>(id));
    }
    const TensorView logits = file.tensor("logits." + std::to_string(n));
    for (std::int64_t row = 0; row < logits.shape[0]; ++row) {
      std::vector<float> values(static_cast<std::size_t>(logits.shape[1]));
      std::memcpy(values.data(), static_cast<const char*>(logits.data) + row * logits.shape[1] * 4,
                  values.size() * 4);
      sequence.logits.push_back(std::move(values));
    }
    sequences.push_back(std::move(sequence));
  }
  return sequences;
}

inline std::vector<GreedyRun> golden_runs(const std::filesystem::path& path) {
  std::ifstream file(path / "greedy.json");
  const auto document = nlohmann::json::parse(file);
  std::vector<GreedyRun> runs;
  for (const auto& run : document["runs"]) {
    runs.push_back({run["prompt"], run["continuation"]});
  }
  return runs;
}

// Largest difference against the position's largest logit.
inline double relative_error(std::span<const float> ours, std::span<const float> golden) {
  double error = 0.0;
  double largest = 0.0;
  for (std::size_t i = 0; i < golden.size(); ++i) {
    const double difference = std::abs(static_cast<double>(ours[i]) - golden[i]);
    if (!(difference <= error)) error = difference;  // NaN stays
    largest = std::max(largest, std::abs(static_cast<double>(golden[i])));
  }
  return error / largest;
}

// The worst position, for rows that end where the golden rows end.
inline double worst_error(const Logits& logits, std::int64_t first_row,
                          const GoldenSequence& golden) {
  double worst = 0.0;
  for (std::size_t i = 0; i < golden.logits.size(); ++i) {
    const double error =
        relative_error(logits.row(first_row + static_cast<std::int64_t>(i)), golden.logits[i]);
    if (!(error <= worst)) worst = error;
  }
  return worst;
}

// Of all positions, one after the other.
inline std::vector<float> logits_of(Model& model, std::vector<std::int32_t> ids) {
  const auto sequence = model.new_sequence();
  Logits logits;
  const SequenceInput input{sequence.get(), ids, kAllPositions};
  model.forward(std::span(&input, 1), logits);
  std::vector<float> all;
  for (std::int64_t row = 0; row < logits.rows(); ++row) {
    all.insert(all.end(), logits.row(row).begin(), logits.row(row).end());
  }
  return all;
}

}  // namespace sluice::testing
