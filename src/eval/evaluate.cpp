#include <algorithm>
#include <memory>
#include <numeric>
#include <sluice/eval.hpp>

#include "base/fail.hpp"
#include "eval/answer_statistics.hpp"
#include "eval/gold_pass.hpp"
#include "eval/metered_model.hpp"
#include "eval/records.hpp"

namespace sluice {
namespace {

// Batches between two records: enough that a finished sequence's place is taken by the next prompt.
constexpr std::int64_t kBatchesPerRecord = 4;

class Evaluation {
 public:
  Evaluation(std::span<const EvalSubject> subjects, const Tokenizer& tokenizer,
             std::span<const Problem> problems, const EvalOptions& options)
      : subjects_(subjects), tokenizer_(tokenizer), problems_(problems), options_(options) {
    for (const EvalSubject& subject : subjects) names_.push_back(subject.name);
    check();
  }

  EvalReport run() {
    std::optional<EvalRecords> records;
    if (!options_.records.empty()) {
      records.emplace(options_.records, options_.settings, names_, problems_.size(),
                      options_.resume);
    }
    std::vector<std::vector<EvalAnswer>> answers(problems_.size());  // [problem][subject]
    std::vector<EvalTimes> times(subjects_.size());
    std::vector<std::size_t> open;
    for (std::size_t i = 0; i < problems_.size(); ++i) {
      auto recorded = records ? records->find(i) : std::nullopt;
      recorded ? void(answers[i] = std::move(*recorded)) : open.push_back(i);
    }
    if (records) times = records->times();
    const std::size_t resumed = problems_.size() - open.size();

    // A batch of more problems than there are is no larger, and must not overflow.
    const std::size_t step = std::min(static_cast<std::size_t>(options_.batch), problems_.size()) *
                             static_cast<std::size_t>(kBatchesPerRecord);
    for (std::size_t begin = 0; begin < open.size(); begin += step) {
      tell(resumed + begin, 0);
      const auto batch = std::span(open).subspan(begin, std::min(step, open.size() - begin));
      std::vector<EvalTimes> batch_times(subjects_.size());
      const auto batch_answers = answer(batch, resumed + begin, batch_times);
      if (records) records->append(batch, batch_answers, batch_times);
      for (std::size_t i = 0; i < batch.size(); ++i) answers[batch[i]] = batch_answers[i];
      for (std::size_t s = 0; s < subjects_.size(); ++s) accumulate(times[s], batch_times[s]);
    }
    tell(problems_.size(), 0);
    return report(answers, times, resumed);
  }

 private:
  void check() const {
    if (subjects_.empty() || problems_.empty()) {
      fail(ErrorKind::user, "{} subjects and {} problems; an evaluation needs some of each",
           subjects_.size(), problems_.size());
    }
    if (options_.batch < 1 || options_.max_new_tokens < 1) {
      fail(ErrorKind::user, "batch is {} and max_new_tokens is {}; both must be at least 1",
           options_.batch, options_.max_new_tokens);
    }
    for (std::size_t s = 0; s < subjects_.size(); ++s) {
      const std::int64_t vocab = subjects_[s].model->description().vocab_size;
      const std::int64_t first = subjects_[0].model->description().vocab_size;
      if (vocab != first) {
        fail(ErrorKind::user, "{} has {} logits and {} has {}; compare runs of one model",
             names_[0], first, names_[s], vocab);
      }
      if (std::count(names_.begin(), names_.end(), names_[s]) > 1) {
        fail(ErrorKind::user, "\"{}\" is to be evaluated twice; name each run once", names_[s]);
      }
    }
  }

  GoldText checked_text(const Problem& problem) const {
    GoldText text = gold_text(tokenizer_, options_.prompt, problem);
    const std::int64_t vocab = subjects_[0].model->description().vocab_size;
    for (const auto& ids : {text.prompt, text.answer}) {
      for (TokenId id : ids) {
        if (id < vocab) continue;
        fail(ErrorKind::checkpoint,
             "the tokenizer makes id {}, but the model has {} logits; they do not belong together",
             id, vocab);
      }
    }
    return text;
  }

  // `answers`: how many there are, of any subject, behind the first `done` problems.
  void tell(std::size_t done, std::size_t answers) const {
    if (options_.progress) options_.progress(done + answers / subjects_.size(), problems_.size());
  }

  // [problem][subject]; `done` problems come before.
  std::vector<std::vector<EvalAnswer>> answer(std::span<const std::size_t> batch, std::size_t done,
                                              std::span<EvalTimes> times) {
    std::vector<GoldText> texts;
    for (std::size_t i : batch) texts.push_back(checked_text(problems_[i]));
    std::vector<std::vector<EvalAnswer>> answers(batch.size());
    for (std::size_t s = 0; s < subjects_.size(); ++s) {
      MeteredModel model(*subjects_[s].model, times[s]);
      std::size_t answered = s * batch.size();
      GenerateOptions generation;
      // A batch takes minutes where a model is large, or the backend is the reference.
      generation.on_text = [&](std::size_t, std::string_view) { tell(done, answered); };
      generation.on_done = [&](std::size_t, const Completion&) { tell(done, ++answered); };
      std::vector<Completion> completions = complete(model, texts, generation);
      for (std::size_t i = 0; i < batch.size(); ++i) {
        answers[i].push_back(judge(std::move(completions[i]), problems_[batch[i]]));
      }
    }
    const auto gold = gold_pass(subjects_, texts);
    for (std::size_t i = 0; i < batch.size(); ++i) {
      for (std::size_t s = 0; s < subjects_.size(); ++s) {
        answers[i][s].gold_tokens = std::ssize(texts[i].answer);
        answers[i][s].gold_nll = gold[s][i].nll;
        answers[i][s].kl = gold[s][i].kl;
      }
    }
    return answers;
  }

  std::vector<Completion> complete(Model& model, std::span<const GoldText> texts,
                                   GenerateOptions& generation) const {
    std::vector<Request> requests;
    for (const GoldText& text : texts) {
      Request& request = requests.emplace_back();
      request.prompt = text.prompt;
      request.max_new_tokens = options_.max_new_tokens;
      request.stop_ids = options_.stop_ids;
      // A base model goes on to invent the next problem.
      request.stop_strings = {"Question:"};
    }
    generation.max_batch = options_.batch;
    generation.make_decoder = [this] { return make_text_decoder(tokenizer_); };
    return generate(model, requests, generation);
  }

  static EvalAnswer judge(Completion completion, const Problem& problem) {
    EvalAnswer answer;
    answer.completion = std::move(completion.text);
    answer.ids = std::move(completion.ids);
    answer.finish = completion.reason;
    // Wrong, whatever it had said by then: what broke down has not answered.
    if (answer.finish == FinishReason::not_a_number) return answer;
    for (std::size_t rule = 0; rule < kScoringRules; ++rule) {
      answer.correct[rule] = scoring_rules()[rule].correct(answer.completion, problem.answer);
    }
    return answer;
  }

  EvalReport report(const std::vector<std::vector<EvalAnswer>>& answers,
                    const std::vector<EvalTimes>& times, std::size_t resumed) const {
    EvalReport report;
    report.resumed = resumed;
    for (std::size_t s = 0; s < subjects_.size(); ++s) {
      SubjectReport& subject = report.subjects.emplace_back();
      subject.name = names_[s];
      subject.times = times[s];
      for (const auto& of_problem : answers) subject.answers.push_back(of_problem[s]);
      // Not a reference to the first report: the vector moves as it grows.
      const std::vector<EvalAnswer> first = report.subjects.front().answers;
      summarise(subject, first);
    }
    return report;
  }

  std::span<const EvalSubject> subjects_;
  const Tokenizer& tokenizer_;
  std::span<const Problem> problems_;
  const EvalOptions& options_;
  std::vector<std::string> names_;
};

}  // namespace

EvalReport evaluate_gsm8k(std::span<const EvalSubject> subjects, const Tokenizer& tokenizer,
                          std::span<const Problem> problems, const EvalOptions& options) {
  return Evaluation(subjects, tokenizer, problems, options).run();
}

}  // namespace sluice
