#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <sluice/error.hpp>
#include <sluice/eval.hpp>

#include "eval/scratch_directory.hpp"
#include "eval/scripted_model.hpp"

namespace sluice {
namespace {

using test::character_tokenizer;
using test::kEnd;
using test::kScriptVocab;
using test::ScratchDirectory;
using test::ScriptedModel;

constexpr float kHeight = 5.0f;
constexpr const char* kGold = "#### 7";

std::vector<Problem> problems(std::size_t count) {
  std::vector<Problem> made;
  for (std::size_t i = 0; i < count; ++i) {
    made.push_back({"How many " + std::string(i + 1, 'x') + "?", kGold});
  }
  return made;
}

EvalOptions options() {
  EvalOptions made;
  made.batch = 2;
  made.stop_ids = {kEnd};
  return made;
}

// Probabilities of a recited row.
const double kNorm = std::exp(kHeight) + static_cast<double>(kScriptVocab - 1);
const double kPeak = std::exp(kHeight) / kNorm;
const double kFloor = 1.0 / kNorm;

TEST(Evaluate, ComparesASubjectThatGoesWrongAtOneToken) {
  ScriptedModel right(" #### 7", kHeight);
  ScriptedModel wrong(" #### 8", kHeight);
  const EvalSubject subjects[] = {{"right", &right}, {"wrong", &wrong}};
  const auto asked = problems(3);
  const EvalReport report = evaluate_gsm8k(subjects, character_tokenizer(), asked, options());
  ASSERT_EQ(report.subjects.size(), 2u);
  const SubjectReport& first = report.subjects[0];
  const SubjectReport& second = report.subjects[1];
  EXPECT_EQ(first.answers[2].completion, " #### 7");
  EXPECT_EQ(first.answers[2].finish, FinishReason::stop_id);
  EXPECT_EQ(second.answers[0].completion, " #### 8");
  for (std::size_t rule = 0; rule < kScoringRules; ++rule) {
    EXPECT_EQ(first.accuracy[rule].hits, 3) << rule;
    EXPECT_EQ(second.accuracy[rule].hits, 0) << rule;
    EXPECT_EQ(second.accuracy[rule].trials, 3) << rule;
  }
  // " #### 7" is seven tokens; only the last differs.
  EXPECT_EQ(first.answers[0].gold_tokens, 7);
  EXPECT_NEAR(first.gold_nll, -std::log(kPeak), 1e-6);
  EXPECT_NEAR(second.gold_nll, (-6 * std::log(kPeak) - std::log(kFloor)) / 7, 1e-6);
  EXPECT_EQ(first.mean_kl, 0.0);
  EXPECT_NEAR(second.mean_kl, kHeight * (kPeak - kFloor) / 7, 1e-6);
  EXPECT_EQ(first.identical.hits, 3);
  EXPECT_EQ(second.identical.hits, 0);
  EXPECT_EQ(second.first_divergence, 6);
}

// A backend that makes NaN is what the others are there to be compared with.
TEST(Evaluate, ASubjectThatBreaksDownIsCountedWrongAndEndsNobodyElse) {
  ScriptedModel right(" #### 7", kHeight);
  ScriptedModel broken(" #### 7", kHeight);
  broken.break_at = '7' - 33;  // the answer stands there already
  const ScratchDirectory scratch;
  EvalOptions with = options();
  with.records = scratch.file("records.jsonl");
  const EvalSubject subjects[] = {{"right", &right}, {"broken", &broken}};
  const auto asked = problems(3);
  for (const bool resume : {false, true}) {
    with.resume = resume;
    const EvalReport report = evaluate_gsm8k(subjects, character_tokenizer(), asked, with);
    EXPECT_EQ(report.resumed, resume ? 3u : 0u);
    EXPECT_EQ(report.subjects[0].accuracy[0].hits, 3);
    EXPECT_EQ(report.subjects[0].not_a_number, 0);
    EXPECT_EQ(report.subjects[1].accuracy[0].hits, 0);
    EXPECT_EQ(report.subjects[1].not_a_number, 3);
    EXPECT_EQ(report.subjects[1].answers[1].finish, FinishReason::not_a_number);
    EXPECT_EQ(report.subjects[1].answers[1].completion, " #### 7");
  }
}

TEST(Evaluate, MetersPromptsApartFromDecoding) {
  ScriptedModel model(" #### 7", kHeight);
  const EvalSubject subjects[] = {{"only", &model}};
  const auto asked = problems(1);
  const EvalReport report = evaluate_gsm8k(subjects, character_tokenizer(), asked, options());
  const EvalTimes& times = report.subjects[0].times;
  EXPECT_EQ(times.prefill.tokens, std::ssize(build_prompt({}, asked[0].question)));
  EXPECT_EQ(times.decode.tokens, 7);  // the end token is chosen, never fed
}

TEST(Evaluate, TellsHowLongASequenceMayBecome) {
  const auto asked = problems(3);
  EvalOptions with = options();
  const auto prompt = std::ssize(build_prompt({}, asked[2].question));  // a token per character
  SequenceLength longest = longest_sequence(character_tokenizer(), asked, with);
  EXPECT_EQ(longest.prompt, prompt);
  EXPECT_EQ(longest.behind, 256);
  with.max_new_tokens = 2;  // the solution is longer: it is fed, too
  std::vector<std::size_t> told;
  longest = longest_sequence(character_tokenizer(), asked, with,
                             [&](std::size_t done, std::size_t total) {
                               told.push_back(done);
                               EXPECT_EQ(total, 3u);
                             });
  EXPECT_EQ(longest.prompt, prompt);
  EXPECT_EQ(longest.behind, std::ssize(" " + asked[2].answer));
  EXPECT_EQ(told, (std::vector<std::size_t>{1, 2, 3}));
}

// Five problems are one record: what is told only between records is told at 0 and at the end.
TEST(Evaluate, TellsProgressWhileAnswersAreMade) {
  ScriptedModel right(" #### 7", kHeight);
  ScriptedModel wrong(" #### 8", kHeight);
  const EvalSubject subjects[] = {{"right", &right}, {"wrong", &wrong}};
  const auto asked = problems(5);
  EvalOptions with = options();
  std::vector<std::size_t> told;
  with.progress = [&](std::size_t done, std::size_t total) {
    told.push_back(done);
    EXPECT_EQ(total, 5u);
  };
  evaluate_gsm8k(subjects, character_tokenizer(), asked, with);
  EXPECT_TRUE(std::is_sorted(told.begin(), told.end()));
  EXPECT_GT(told.size(), 2u * 5u * 7u);  // for each token of two subjects
  told.erase(std::unique(told.begin(), told.end()), told.end());
  EXPECT_EQ(told, (std::vector<std::size_t>{0, 1, 2, 3, 4, 5}));
}

TEST(Evaluate, StopsBeforeAnInventedQuestion) {
  ScriptedModel model(" #### 7\nQuestion", kHeight);  // then the end token
  ScriptedModel rambling(" #### 7\n\nQuestion:", kHeight);
  const EvalSubject subjects[] = {{"stops", &model}, {"rambles", &rambling}};
  const auto asked = problems(1);
  const EvalReport report = evaluate_gsm8k(subjects, character_tokenizer(), asked, options());
  EXPECT_EQ(report.subjects[0].answers[0].completion, " #### 7\nQuestion");
  EXPECT_EQ(report.subjects[1].answers[0].completion, " #### 7\n\n");
  EXPECT_EQ(report.subjects[1].answers[0].finish, FinishReason::stop_string);
}

TEST(Evaluate, ResumesWhereThePowerWentOut) {
  const auto asked = problems(21);  // two records of eight, and a rest
  const Tokenizer tokenizer = character_tokenizer();
  const ScratchDirectory scratch;
  EvalOptions recorded = options();
  recorded.settings = R"({"model": "scripted"})";
  recorded.records = scratch.file("whole.jsonl");
  ScriptedModel right(" #### 7", kHeight);
  ScriptedModel wrong(" #### 8", kHeight);
  const EvalSubject subjects[] = {{"right", &right}, {"wrong", &wrong}};
  const EvalReport whole = evaluate_gsm8k(subjects, tokenizer, asked, recorded);
  const std::int64_t ids_of_a_whole_run = right.ids_seen;

  recorded.records = scratch.file("parts.jsonl");
  recorded.resume = true;
  wrong.ids_seen = 0;
  wrong.fail_after = ids_of_a_whole_run * 2 / 3;
  EXPECT_THROW(evaluate_gsm8k(subjects, tokenizer, asked, recorded), Error);
  wrong.fail_after = -1;
  right.ids_seen = 0;
  const EvalReport resumed = evaluate_gsm8k(subjects, tokenizer, asked, recorded);
  EXPECT_EQ(resumed.resumed, 8u);
  EXPECT_LT(right.ids_seen, ids_of_a_whole_run * 3 / 4);
  for (std::size_t s = 0; s < 2; ++s) {
    EXPECT_EQ(resumed.subjects[s].gold_nll, whole.subjects[s].gold_nll);
    EXPECT_EQ(resumed.subjects[s].mean_kl, whole.subjects[s].mean_kl);
    EXPECT_EQ(resumed.subjects[s].accuracy[0].hits, whole.subjects[s].accuracy[0].hits);
    for (std::size_t i = 0; i < asked.size(); ++i) {
      EXPECT_EQ(resumed.subjects[s].answers[i].ids, whole.subjects[s].answers[i].ids);
    }
  }
  right.ids_seen = 0;
  EXPECT_EQ(evaluate_gsm8k(subjects, tokenizer, asked, recorded).resumed, 21u);
  EXPECT_EQ(right.ids_seen, 0);
}

// Four of the largest are no batches at all, modulo 2^64.
TEST(Evaluate, TakesABatchOfAnySize) {
  ScriptedModel model(" #### 7", kHeight);
  const EvalSubject subjects[] = {{"only", &model}};
  const auto asked = problems(3);
  EvalOptions with = options();
  with.batch = std::int64_t{1} << 62;
  const EvalReport report = evaluate_gsm8k(subjects, character_tokenizer(), asked, with);
  EXPECT_EQ(report.subjects[0].accuracy[0].hits, 3);
}

TEST(Evaluate, RefusesWhatCannotBeCompared) {
  ScriptedModel model(" #### 7", kHeight);
  const auto asked = problems(1);
  const Tokenizer tokenizer = character_tokenizer();
  const EvalSubject twice[] = {{"cpu", &model}, {"cpu", &model}};
  EXPECT_THROW(evaluate_gsm8k(twice, tokenizer, asked, options()), Error);
  EXPECT_THROW(evaluate_gsm8k({}, tokenizer, asked, options()), Error);
  EvalOptions no_batch = options();
  no_batch.batch = 0;
  EXPECT_THROW(evaluate_gsm8k(std::span(twice).first(1), tokenizer, asked, no_batch), Error);
}

}  // namespace
}  // namespace sluice
