// Loading models for the verbs, with a progress line.
#pragma once

#include <memory>
#include <optional>
#include <sluice/model.hpp>
#include <sluice/tokenizer.hpp>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace sluice::cli {

// The options that every verb with a model has.
struct ModelChoice {
  std::string directory;
  std::string activations = "f32";
  int threads = 0;
  // Kimi-Linear's two dialects; see ModelOptions.
  std::optional<double> kv_a_layernorm_eps;
  bool weights_from_biased_scores = false;

  void declare(CLI::App& app);
  ModelOptions options() const;
};

std::unique_ptr<Model> load_with_progress(const ModelChoice& choice, const ModelOptions& options,
                                          const std::string& name);

// Where generation ends: generation_config.json's ids, config.json's, and the tokenizer's.
std::vector<TokenId> stop_ids(const std::string& directory, const Tokenizer& tokenizer);

}  // namespace sluice::cli
