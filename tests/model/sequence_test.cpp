// What sequences hold, what they share, and that neither threads nor company change a bit.
#include <gtest/gtest.h>

#include <sluice/error.hpp>
#include <sluice/model.hpp>

#include "model/blocks/kv_cache.hpp"
#include "model/golden.hpp"

namespace sluice {
namespace {

using testing::golden_path;

std::vector<std::int32_t> some_ids(const Model& model, std::size_t count, unsigned seed = 1) {
  std::vector<std::int32_t> ids;
  for (std::size_t i = 0; i < count; ++i) {
    seed = seed * 1664525u + 1013904223u;
    ids.push_back(static_cast<std::int32_t>((seed >> 8) % model.description().vocab_size));
  }
  return ids;
}

std::unique_ptr<Model> load(const char* family, const char* name, int threads = 1,
                            ActivationPrecision precision = ActivationPrecision::f32) {
  return load_model(golden_path(family, name).string(),
                    {.precision = precision, .executor = make_executor(threads)});
}

std::vector<float> last_logits(Model& model, Sequence& sequence,
                               std::span<const std::int32_t> ids) {
  Logits logits;
  const SequenceInput input{&sequence, ids, 1};
  model.forward(std::span(&input, 1), logits);
  return {logits.row(0).begin(), logits.row(0).end()};
}

void feed(Model& model, Sequence& sequence, std::size_t count) {
  const auto ids = some_ids(model, count);
  for (std::span<const std::int32_t> rest = ids; !rest.empty();) {
    const auto piece = rest.first(std::min<std::size_t>(rest.size(), 50));
    last_logits(model, sequence, piece);
    rest = rest.subspan(piece.size());
  }
}

class SlidingMemory : public ::testing::TestWithParam<ActivationPrecision> {};

TEST_P(SlidingMemory, SlidingLayersStopGrowingAtTheWindow) {
  // window 8; two sliding and two full layers
  const auto model = load("afmoe", "gqa_window", 1, GetParam());
  const MemoryFigures figures = model->memory();
  // In each of two full layers: 2 kv heads' keys of 8 and values of 8, in bf16 of a whole panel.
  const std::size_t each = GetParam() == ActivationPrecision::f32 ? (8u + 8) * 4 : (8u + 16) * 2;
  EXPECT_EQ(figures.sequence_bytes_per_token, 2u * 2 * each);
  const auto sequence = model->new_sequence();
  EXPECT_EQ(sequence->bytes(), 0u);
  feed(*model, *sequence, 768);  // whole pages in either precision
  const std::size_t at_768 = sequence->bytes();
  feed(*model, *sequence, 768);
  EXPECT_EQ(sequence->length(), 1536);
  EXPECT_EQ(sequence->bytes() - at_768, 768 * figures.sequence_bytes_per_token);
  EXPECT_LE(sequence->bytes(),
            1536 * figures.sequence_bytes_per_token + figures.sequence_fixed_bytes);
}

INSTANTIATE_TEST_SUITE_P(Precisions, SlidingMemory,
                         ::testing::Values(ActivationPrecision::f32, ActivationPrecision::bf16),
                         [](const auto& info) {
                           return info.param == ActivationPrecision::f32 ? "f32" : "bf16";
                         });

TEST(SequenceMemory, KimiGrowsOnlyByTheLatents) {
  const auto model = load("kimi_linear", "released");  // one MLA layer: 12 + 4 values per token
  const MemoryFigures figures = model->memory();
  EXPECT_EQ(figures.sequence_bytes_per_token, (12u + 4) * 4);
  // Three KDA layers: 2 heads of 8 x 8, and 3 positions of 3 streams.
  EXPECT_EQ(figures.sequence_fixed_bytes, 3u * (2 * 8 * 8 + 3 * 3 * 16) * 4);
  const auto sequence = model->new_sequence();
  EXPECT_EQ(sequence->bytes(), figures.sequence_fixed_bytes);
  feed(*model, *sequence, 1280);
  EXPECT_EQ(sequence->bytes(),
            figures.sequence_fixed_bytes + 1280 * figures.sequence_bytes_per_token);
}

TEST(PageList, ForksShareFullPagesAndCopyTheOneBeingFilled) {
  KvCache original(1, 1, 1);
  const auto put = [](KvCache& cache, std::int64_t first, std::int64_t count, float value) {
    cache.extend(count);
    for (std::int64_t p = first; p < first + count; ++p) cache.write(p, &value, &value);
  };
  put(original, 0, 100, 1.0f);
  const auto copy = original.clone();
  auto& fork = static_cast<KvCache&>(*copy);
  EXPECT_EQ(fork.keys(0, 0), original.keys(0, 0));
  EXPECT_EQ(fork.keys(64, 0), original.keys(64, 0));
  put(original, 100, 1, 2.0f);
  put(fork, 100, 1, 3.0f);
  EXPECT_EQ(fork.keys(0, 0), original.keys(0, 0));
  ASSERT_NE(fork.keys(64, 0), original.keys(64, 0));
  EXPECT_EQ(original.keys(64, 0)[36], 2.0f);
  EXPECT_EQ(fork.keys(64, 0)[36], 3.0f);
  EXPECT_EQ(fork.keys(64, 0)[35], 1.0f);
}

class Determinism : public ::testing::TestWithParam<std::pair<const char*, const char*>> {};

// Mixed prefill and decode, on one thread and on several: the same bits.
TEST_P(Determinism, ThreadsDoNotChangeABit) {
  for (const auto precision : {ActivationPrecision::f32, ActivationPrecision::bf16}) {
    std::vector<std::vector<float>> results;
    for (const int threads : {1, 2, 5}) {
      const auto model = load(GetParam().first, GetParam().second, threads, precision);
      const auto a = model->new_sequence(), b = model->new_sequence();
      last_logits(*model, *a, some_ids(*model, 70));
      const auto one = some_ids(*model, 1), many = some_ids(*model, 150, 9);
      const std::vector<SequenceInput> inputs{{a.get(), one, 1}, {b.get(), many, kAllPositions}};
      Logits logits;
      model->forward(inputs, logits);
      results.emplace_back();
      for (std::int64_t row = 0; row < logits.rows(); ++row) {
        results.back().insert(results.back().end(), logits.row(row).begin(), logits.row(row).end());
      }
    }
    EXPECT_EQ(results[0], results[1]);
    EXPECT_EQ(results[0], results[2]);
  }
}

TEST_P(Determinism, CompanyDoesNotChangeABit) {
  for (const auto precision : {ActivationPrecision::f32, ActivationPrecision::bf16}) {
    const auto model = load(GetParam().first, GetParam().second, 2, precision);
    const auto ids = some_ids(*model, 33), others = some_ids(*model, 90, 5);
    const auto alone = model->new_sequence();
    const auto expected = last_logits(*model, *alone, ids);
    const auto a = model->new_sequence(), b = model->new_sequence(), c = model->new_sequence();
    const std::vector<SequenceInput> inputs{
        {b.get(), others, 0}, {a.get(), ids, 1}, {c.get(), std::span(others).first(1), 1}};
    Logits logits;
    model->forward(inputs, logits);
    ASSERT_EQ(logits.rows(), 2);
    EXPECT_EQ(std::vector<float>(logits.row(0).begin(), logits.row(0).end()), expected);
  }
}

// Softmax attention goes through pages at fixed positions, however a prompt is cut into calls.
TEST(AfmoeDeterminism, PiecesDoNotChangeABit) {
  for (const auto precision : {ActivationPrecision::f32, ActivationPrecision::bf16}) {
    for (const char* name : {"bf16_weights", "gqa_window"}) {
      const auto model = load("afmoe", name, 2, precision);
      const auto ids = some_ids(*model, 650);  // more than two of the longest pages
      const auto whole = model->new_sequence(), pieces = model->new_sequence();
      const auto expected = last_logits(*model, *whole, ids);
      std::vector<float> got;
      for (std::span<const std::int32_t> rest = ids; !rest.empty();) {
        const auto piece =
            rest.first(std::min<std::size_t>(rest.size(), rest.size() % 3 == 0 ? 1 : 41));
        got = last_logits(*model, *pieces, piece);
        rest = rest.subspan(piece.size());
      }
      EXPECT_EQ(got, expected) << name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Determinism,
                         ::testing::Values(std::pair("afmoe", "gqa_window"),
                                           std::pair("afmoe", "bf16_weights"),
                                           std::pair("kimi_linear", "released"),
                                           std::pair("kimi_linear", "bf16_moe_layer_freq")),
                         [](const auto& info) {
                           return std::string(info.param.first) + '_' + info.param.second;
                         });

TEST(Forward, RefusesWhatItCannotContinue) {
  const auto model = load("afmoe", "gqa_window"), other = load("afmoe", "gqa_window");
  const auto sequence = model->new_sequence(), stranger = other->new_sequence();
  const auto expect_refused = [&](std::vector<SequenceInput> inputs, const char* part) {
    Logits logits;
    try {
      model->forward(inputs, logits);
      FAIL() << "expected: " << part;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::user);
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
    EXPECT_EQ(sequence->length(), 0);
  };
  const std::vector<std::int32_t> good{1, 2}, negative{1, -1}, beyond{56};
  expect_refused({{sequence.get(), negative, 1}}, "id 1 of input 0 is -1");
  expect_refused({{sequence.get(), good, 1}, {sequence.get(), beyond, 1}}, "repeats a sequence");
  expect_refused({{sequence.get(), beyond, 1}}, "ids 0 to 55");
  expect_refused({{stranger.get(), good, 1}}, "another model");
  expect_refused({{nullptr, good, 1}}, "no sequence");
  expect_refused({{sequence.get(), good, -1}}, "-1 positions");
}

TEST(Forward, CountsWantedRowsAndTimes) {
  const auto model = load("kimi_linear", "released");
  const auto a = model->new_sequence(), b = model->new_sequence(), c = model->new_sequence();
  const auto ids = some_ids(*model, 6);
  Logits logits;
  model->forward({}, logits);
  EXPECT_EQ(logits.rows(), 0);
  const std::vector<SequenceInput> inputs{{a.get(), ids, 2}, {b.get(), ids, 0}, {c.get(), {}, 1}};
  model->forward(inputs, logits);
  EXPECT_EQ(logits.rows(), 2);
  EXPECT_EQ(logits.vocab_size(), 32);
  EXPECT_EQ(b->length(), 6);
  EXPECT_EQ(c->length(), 0);
  const ForwardTimes times = model->times();
  EXPECT_EQ(times.tokens, 12);
  for (const double part :
       {times.attention, times.router, times.experts, times.dense_mlp, times.head, times.rest}) {
    EXPECT_GT(part, 0.0);
  }
  model->reset_times();
  EXPECT_EQ(model->times().total(), 0.0);
}

}  // namespace
}  // namespace sluice
