#include "eval_records.hpp"

#include <filesystem>
#include <nlohmann/json.hpp>

namespace sluice::cli {

std::string records_path(const EvalVerbOptions& options) {
  if (!options.records.empty()) return options.records;
  // Not beside standard output, nor beside /dev/null.
  std::error_code none;
  const auto json = std::filesystem::status(options.json, none);
  const bool beside = !options.json.empty() && options.json != "-" &&
                      (!std::filesystem::exists(json) || std::filesystem::is_regular_file(json));
  return beside ? options.json + ".records.jsonl" : "sluice-eval.records.jsonl";
}

std::string settings_of(const EvalVerbOptions& options, const std::vector<EvalRun>& runs,
                        std::span<const Problem> problems, const Tokenizer& tokenizer,
                        const EvalOptions& eval) {
  nlohmann::ordered_json names = nlohmann::ordered_json::array();
  for (const EvalRun& run : runs) names.push_back(run.name);
  // No number: 0 can be asked for, and is another model than the one nobody asked anything of.
  const auto& eps = options.model.kv_a_layernorm_eps;
  return nlohmann::ordered_json{
      {"model", fingerprint_model(options.model.directory)},
      {"tokenizer", fingerprint_tokenizer(options.model.directory)},
      {"stop_ids", eval.stop_ids},
      {"first_prompt", fingerprint_prompt(tokenizer, eval.prompt, problems.front())},
      {"data", fingerprint_problems(problems)},
      {"problems", problems.size()},
      {"runs", names},
      {"shots", fingerprint_problems(options.eval.prompt.shots)},
      {"chat", options.chat},
      {"max_new_tokens", options.eval.max_new_tokens},
      {"activations", options.model.activations},
      {"kv_a_layernorm_eps", eps ? nlohmann::ordered_json(*eps) : nlohmann::ordered_json()},
      {"weights_from_biased_scores", options.model.weights_from_biased_scores}}
      .dump();
}

}  // namespace sluice::cli
