// GSM8K: prompts, greedy answers, scores, and how far one way of computing a model is from another.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <sluice/generate.hpp>
#include <sluice/model.hpp>
#include <sluice/tokenizer.hpp>

namespace sluice {

// ---- Problems and prompts ------------------------------------------------------------------

struct Problem {
  std::string question;
  std::string answer;  // worked solution, ending in "#### 42"
};

inline constexpr std::int64_t kAllProblems = std::numeric_limits<std::int64_t>::max();

// JSON lines with "question" and "answer"; other keys are ignored, empty lines skipped. Throws
// Error(user) that names file and line: no JSON object, missing key, answer without a number.
std::vector<Problem> read_problems(const std::string& path, std::int64_t limit = kAllProblems);

// A completion made elsewhere, by any engine.
struct JudgedCompletion {
  std::string answer;  // "… #### 42", or the number alone
  std::string completion;
};

// JSON lines with "answer" and "completion"; errors as read_problems.
std::vector<JudgedCompletion> read_completions(const std::string& path);

struct PromptStyle {
  std::vector<Problem> shots;  // solved problems that come first
  bool chat = false;           // each question a user's message, by the checkpoint's chat template
};

// "Question: …\nAnswer:", after "Question: …\nAnswer: …\n\n" for each shot.
std::string build_prompt(const PromptStyle& style, const std::string& question);
// The same questions as a conversation.
std::vector<ChatMessage> build_chat(const PromptStyle& style, const std::string& question);

// ---- Scoring -------------------------------------------------------------------------------

// How others score GSM8K, so that our figures can be laid beside theirs.
struct ScoringRule {
  std::string_view name;     // "gsm8k", "lm-eval-strict", "lm-eval-flexible", "vllm"
  std::string_view meaning;  // one line
  // The number that the rule reads, as it compares it; nullopt: none found.
  std::optional<std::string> (*read)(const std::string& completion);
  bool (*correct)(const std::string& completion, const std::string& answer);
};

inline constexpr std::size_t kScoringRules = 4;
std::span<const ScoringRule, kScoringRules> scoring_rules();

struct Proportion {
  std::int64_t hits = 0;
  std::int64_t trials = 0;
  double value() const;  // NaN without trials
  // Wilson's 95 % interval: inside [0, 1], and honest near its ends where accuracies live.
  double low() const;
  double high() const;
};

std::array<Proportion, kScoringRules> score(std::span<const JudgedCompletion> completions);

// ---- Evaluation ----------------------------------------------------------------------------

// One way of computing the model; the first is what the others are compared with.
struct EvalSubject {
  std::string name;
  Model* model = nullptr;
};

struct EvalOptions {
  PromptStyle prompt;
  std::int64_t max_new_tokens = 256;
  std::int64_t batch = 16;  // sequences at a time
  std::vector<TokenId> stop_ids;
  // Every answer is appended to this file and synced, those of four batches at a time. Empty: no
  // file.
  std::string records;
  // Continue from the records. They carry `settings`; others than these are Error(user) naming
  // each setting that differs with both values.
  bool resume = false;
  std::string settings = "{}";  // a JSON object
  // Problems, of several subjects the mean; told again and again while answers are made.
  std::function<void(std::size_t done, std::size_t total)> progress;
};

// One subject's answer to one problem.
struct EvalAnswer {
  std::string completion;
  std::vector<TokenId> ids;
  FinishReason finish = FinishReason::length;
  std::array<bool, kScoringRules> correct{};
  // Teacher-forced over the tokens of the given solution, end token excluded: sums in nats.
  std::int64_t gold_tokens = 0;
  double gold_nll = 0.0;
  double kl = 0.0;  // KL(first subject || this one) over the same positions
};

struct Throughput {
  std::int64_t tokens = 0;
  double seconds = 0.0;
  double rate() const { return seconds > 0 ? static_cast<double>(tokens) / seconds : 0.0; }
};

struct EvalTimes {
  Throughput prefill;  // forward calls with prompt tokens in them
  Throughput decode;   // one token per sequence
  ForwardTimes parts;  // of both
};

struct SubjectReport {
  std::string name;
  std::array<Proportion, kScoringRules> accuracy{};
  double gold_nll = 0.0;          // per token of the given solution, over all problems
  std::int64_t not_a_number = 0;  // answers that ended so; counted wrong
  EvalTimes times;
  // Against the first subject.
  Proportion identical;                          // answers equal token by token
  std::optional<std::int64_t> first_divergence;  // median index of the first differing token, over
                                                 // the answers that differ
  double mean_kl = 0.0;                          // nats per token of the given solution
  std::vector<EvalAnswer> answers;               // in the order of the problems
};

struct EvalReport {
  std::vector<SubjectReport> subjects;
  std::size_t resumed = 0;  // problems that came from the records
};

// Every subject answers every problem greedily, batch by batch side by side, so that an interrupted
// run has comparable records. The models must share one vocabulary.
EvalReport evaluate_gsm8k(std::span<const EvalSubject> subjects, const Tokenizer& tokenizer,
                          std::span<const Problem> problems, const EvalOptions& options = {});

struct SequenceLength {
  std::int64_t prompt = 0;  // tokens
  std::int64_t behind = 0;  // the given solution, or the longest answer allowed
};

// The longest sequence that this evaluation may ask a model to hold. `progress`: as in EvalOptions.
SequenceLength longest_sequence(
    const Tokenizer& tokenizer, std::span<const Problem> problems, const EvalOptions& options,
    const std::function<void(std::size_t done, std::size_t total)>& progress = {});

// 16 hexadecimal digits over a checkpoint's config and tensors (names, types, shapes, the first and
// last bytes of each), over the files of its tokenizer, over a prompt as text and ids, and over
// problems: they key the records.
std::string fingerprint_model(const std::string& directory);
std::string fingerprint_tokenizer(const std::string& directory);
std::string fingerprint_prompt(const Tokenizer& tokenizer, const PromptStyle& style,
                               const Problem& problem);
std::string fingerprint_problems(std::span<const Problem> problems);

}  // namespace sluice
