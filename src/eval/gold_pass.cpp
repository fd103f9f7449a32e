#include "eval/gold_pass.hpp"

#include <memory>

#include "eval/statistics.hpp"

namespace sluice {
namespace {

// Bounds of one forward call: 128 MiB of logits, and as many tokens as keep the caches warm.
constexpr std::int64_t kLogitsPerCall = std::int64_t{32} << 20;
constexpr std::int64_t kTokensPerCall = 2048;

// The first texts that one forward call takes; at least one.
std::size_t texts_per_call(std::span<const GoldText> texts, std::int64_t vocab_size) {
  std::int64_t logits = 0;
  std::int64_t tokens = 0;
  std::size_t count = 0;
  while (count < texts.size()) {
    logits += std::ssize(texts[count].answer) * vocab_size;
    tokens += std::ssize(texts[count].prompt) + std::ssize(texts[count].answer);
    if (count > 0 && (logits > kLogitsPerCall || tokens > kTokensPerCall)) break;
    ++count;
  }
  return count;
}

// Rows: for each text, the logits that predict its answer's tokens.
void predict_answers(Model& model, std::span<const GoldText> texts, Logits& logits) {
  std::vector<std::unique_ptr<Sequence>> sequences;
  std::vector<std::vector<TokenId>> ids;
  std::vector<SequenceInput> batch;
  for (const GoldText& text : texts) {
    sequences.push_back(model.new_sequence());
    ids.push_back(text.prompt);
    // The last token predicts nothing that is asked for.
    ids.back().insert(ids.back().end(), text.answer.begin(), text.answer.end() - 1);
  }
  for (std::size_t i = 0; i < texts.size(); ++i) {
    batch.push_back({sequences[i].get(), ids[i], std::ssize(texts[i].answer)});
  }
  model.forward(batch, logits);
}

}  // namespace

std::vector<std::vector<GoldFigures>> gold_pass(std::span<const EvalSubject> subjects,
                                                std::span<const GoldText> texts) {
  std::vector<std::vector<GoldFigures>> figures(subjects.size());
  Logits first;
  Logits other;
  while (!texts.empty()) {
    const auto call =
        texts.first(texts_per_call(texts, subjects[0].model->description().vocab_size));
    for (std::size_t s = 0; s < subjects.size(); ++s) {
      Logits& logits = s == 0 ? first : other;
      predict_answers(*subjects[s].model, call, logits);
      std::int64_t row = 0;
      for (const GoldText& text : call) {
        GoldFigures& sums = figures[s].emplace_back();
        for (TokenId id : text.answer) {
          sums.nll += negative_log_likelihood(logits.row(row), id);
          if (s > 0) sums.kl += kl_divergence(first.row(row), logits.row(row));
          ++row;
        }
      }
    }
    texts = texts.subspan(call.size());
  }
  return figures;
}

}  // namespace sluice
