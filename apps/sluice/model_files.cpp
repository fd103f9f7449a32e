#include "model_files.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <sluice/checkpoint.hpp>
#include <sluice/generation_config.hpp>

#include "at_least.hpp"
#include "number_checks.hpp"
#include "output/progress.hpp"

namespace sluice::cli {

void ModelChoice::declare(CLI::App& app) {
  app.add_option("--model", directory, "The model's directory, as Hugging Face lays it out")
      ->required();
  app.add_option("--activations", activations, "What inputs of matrix products are rounded to")
      ->check(CLI::IsMember({"f32", "bf16"}))
      ->capture_default_str();
  app.add_option("--threads", threads, "Worker threads; 0: one per core")->check(at_least(0));
  app.add_option("--kv-a-layernorm-eps", kv_a_layernorm_eps,
                 "Kimi-Linear: 1e-6 as Hugging Face (default), 1e-5 as vLLM and llama.cpp")
      ->check(number_check());
  app.add_flag("--weights-from-biased-scores", weights_from_biased_scores,
               "Kimi-Linear: route as Moonshot's released remote code does");
}

ModelOptions ModelChoice::options() const {
  ModelOptions options;
  options.precision = activations == "bf16" ? ActivationPrecision::bf16 : ActivationPrecision::f32;
  options.executor = make_executor(threads);
  options.kv_a_layernorm_eps = kv_a_layernorm_eps;
  options.weights_from_biased_scores = weights_from_biased_scores;
  return options;
}

std::unique_ptr<Model> load_with_progress(const ModelChoice& choice, const ModelOptions& options,
                                          const std::string& name) {
  ProgressLine line("loading " + name);
  ModelOptions with_progress = options;
  with_progress.progress = [&](const LoadProgress& progress) {
    line.update(static_cast<double>(progress.layers_done), static_cast<double>(progress.layers));
  };
  return load_model(choice.directory, with_progress);
}

std::vector<TokenId> stop_ids(const std::string& directory, const Tokenizer& tokenizer) {
  std::vector<TokenId> ids;
  const auto add = [&](TokenId id) {
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  };
  for (std::int64_t id : generation_config(Checkpoint::open(directory)).eos_token_ids) {
    add(static_cast<TokenId>(id));
  }
  if (const auto eos = tokenizer.eos()) add(*eos);
  return ids;
}

}  // namespace sluice::cli
