// Every golden checkpoint against transformers: at once, in pieces, token by token, in company,
// and after a fork. 1e-5 of the position's largest logit is what fp32 rounding leaves.
#include <gtest/gtest.h>

#include <sluice/generate.hpp>
#include <sluice/model.hpp>

#include "model/golden.hpp"

namespace sluice {
namespace {

using testing::golden_runs;
using testing::golden_sequences;
using testing::GoldenSequence;
using testing::worst_error;

constexpr double kTolerance = 1e-5;

class Parity : public ::testing::TestWithParam<std::tuple<const char*, const char*>> {
 protected:
  void SetUp() override {
    const auto& [backend, name] = GetParam();
    path_ = std::filesystem::path(SLUICE_TEST_DATA) / name;
    model_ = load_model(path_.string(), {.backend = backend, .executor = make_executor(2)});
    sequences_ = golden_sequences(path_);
    ASSERT_FALSE(sequences_.empty());
  }

  // Feeds `ids` in pieces of the given sizes, repeated, and collects all logits in `all_`.
  void feed(Sequence& sequence, std::span<const std::int32_t> ids,
            std::vector<std::size_t> pieces) {
    Logits logits;
    rows_.clear();
    for (std::size_t piece = 0; !ids.empty(); ++piece) {
      const auto count = std::min(ids.size(), pieces[piece % pieces.size()]);
      const SequenceInput input{&sequence, ids.first(count), kAllPositions};
      model_->forward(std::span(&input, 1), logits);
      ASSERT_EQ(logits.rows(), static_cast<std::int64_t>(count));
      for (std::int64_t row = 0; row < logits.rows(); ++row) {
        rows_.emplace_back(logits.row(row).begin(), logits.row(row).end());
      }
      ids = ids.subspan(count);
    }
  }

  double error_of_rows(const GoldenSequence& golden) const {
    double worst = 0.0;
    const std::size_t skipped = rows_.size() - golden.logits.size();
    for (std::size_t i = 0; i < golden.logits.size(); ++i) {
      const double error = testing::relative_error(rows_[skipped + i], golden.logits[i]);
      if (!(error <= worst)) worst = error;
    }
    return worst;
  }

  std::filesystem::path path_;
  std::unique_ptr<Model> model_;
  std::vector<GoldenSequence> sequences_;
  std::vector<std::vector<float>> rows_;
};

TEST_P(Parity, PrefillAtOnceInPiecesAndTokenByToken) {
  const std::vector<std::vector<std::size_t>> splits{{100000}, {1}, {3, 1, 7}, {17, 2}, {64, 5}};
  for (const GoldenSequence& golden : sequences_) {
    for (const auto& split : splits) {
      const auto sequence = model_->new_sequence();
      feed(*sequence, golden.ids, split);
      EXPECT_EQ(sequence->length(), std::ssize(golden.ids));
      EXPECT_LE(error_of_rows(golden), kTolerance)
          << golden.ids.size() << " ids, first piece " << split.front();
    }
  }
}

TEST_P(Parity, RaggedBatchWithEveryOtherSequence) {
  std::vector<std::unique_ptr<Sequence>> owners;
  std::vector<SequenceInput> inputs;
  for (const GoldenSequence& golden : sequences_) {
    owners.push_back(model_->new_sequence());
    inputs.push_back({owners.back().get(), golden.ids, kAllPositions});
    owners.push_back(model_->new_sequence());  // one without ids between them
    inputs.push_back({owners.back().get(), {}, kAllPositions});
  }
  Logits logits;
  model_->forward(inputs, logits);
  std::int64_t row = 0;
  for (const GoldenSequence& golden : sequences_) {
    row += std::ssize(golden.ids);
    EXPECT_LE(worst_error(logits, row - std::ssize(golden.logits), golden), kTolerance);
  }
  EXPECT_EQ(logits.rows(), row);
}

TEST_P(Parity, ForksContinueIndependently) {
  const GoldenSequence& golden = sequences_.front();
  const std::size_t half = golden.ids.size() / 2;
  const auto original = model_->new_sequence();
  feed(*original, std::span(golden.ids).first(half), {5});
  const auto fork = original->fork();
  // The original goes astray first; the fork must not notice.
  const std::vector<std::int32_t> astray(half + 3, golden.ids.front());
  feed(*original, astray, {2});
  feed(*fork, std::span(golden.ids).subspan(half), {4, 1});
  EXPECT_EQ(fork->length(), std::ssize(golden.ids));
  GoldenSequence rest = golden;
  if (rest.logits.size() > rows_.size()) {
    rest.logits.erase(rest.logits.begin(), rest.logits.end() - std::ssize(rows_));
  }
  EXPECT_LE(error_of_rows(rest), kTolerance);
}

TEST_P(Parity, GreedyTokensAreIdentical) {
  std::vector<Request> requests;
  const auto runs = golden_runs(path_);
  ASSERT_FALSE(runs.empty());
  for (const auto& run : runs) {
    requests.push_back({.prompt = run.prompt, .max_new_tokens = std::ssize(run.continuation)});
  }
  const auto completions = generate(*model_, requests, {.max_batch = 2});
  for (std::size_t i = 0; i < runs.size(); ++i) {
    EXPECT_EQ(completions[i].ids, runs[i].continuation);
  }
}

std::string case_name(const ::testing::TestParamInfo<std::tuple<const char*, const char*>>& info) {
  const std::string name = std::get<1>(info.param);
  return std::string(std::get<0>(info.param)) + "_" + name.substr(name.find('/') + 1);
}

const auto kBackends = ::testing::Values("reference", "cpu");

INSTANTIATE_TEST_SUITE_P(
    Afmoe, Parity,
    ::testing::Combine(kBackends, ::testing::Values("afmoe/gqa_window", "afmoe/fused_two_dense",
                                                    "afmoe/stacked_tied", "afmoe/save_pretrained",
                                                    "afmoe/sharded", "afmoe/bf16_weights",
                                                    "afmoe/single_expert")),
    case_name);
INSTANTIATE_TEST_SUITE_P(
    KimiLinear, Parity,
    ::testing::Combine(kBackends,
                       ::testing::Values("kimi_linear/released", "kimi_linear/save_pretrained",
                                         "kimi_linear/in_memory", "kimi_linear/bf16_moe_layer_freq",
                                         "kimi_linear/single_expert")),
    case_name);

}  // namespace
}  // namespace sluice
