// The batch that refills itself: every request gets what it gets alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include <sluice/error.hpp>
#include <sluice/generate.hpp>

namespace sluice {
namespace {

// A model whose next id is a fixed function of all ids so far, and which records its batches.
class CountingModel final : public Model {
 public:
  static constexpr std::int64_t kVocab = 26;

  class State final : public Sequence {
   public:
    std::int64_t length() const override { return std::ssize(ids); }
    std::size_t bytes() const override { return 0; }
    std::unique_ptr<Sequence> fork() const override { return std::make_unique<State>(*this); }
    std::vector<std::int32_t> ids;
  };

  CountingModel() { description_.vocab_size = kVocab; }
  const ModelDescription& description() const override { return description_; }
  const Backend* layer_backend(std::int64_t) const override { return nullptr; }
  std::string layer_variant(std::int64_t) const override { return {}; }
  MemoryFigures memory() const override { return {}; }
  std::unique_ptr<Sequence> new_sequence() const override { return std::make_unique<State>(); }
  const ForwardTimes& times() const override { return times_; }
  void reset_times() override {}

  void forward(std::span<const SequenceInput> inputs, Logits& logits) override {
    std::int64_t rows = 0, tokens = 0;
    for (const SequenceInput& input : inputs) {
      rows += std::min(input.logits, static_cast<std::int64_t>(std::ssize(input.ids)));
      tokens += std::ssize(input.ids);
    }
    batches.push_back(std::ssize(inputs));
    most_tokens = std::max(most_tokens, tokens);
    total_tokens += tokens;
    auto values = logits.resize(rows, kVocab);
    std::ranges::fill(values, -1.0f);
    std::size_t row = 0;
    for (const SequenceInput& input : inputs) {
      auto& ids = static_cast<State&>(*input.sequence).ids;
      ids.insert(ids.end(), input.ids.begin(), input.ids.end());
      if (input.logits > 0 && !input.ids.empty()) {
        const auto next = static_cast<std::size_t>(next_id(ids));
        values[row * kVocab + next] = 3.0f;
        values[row * kVocab + (next + 1) % kVocab] = 2.0f;
        if (ids.front() == breaks && ids.size() > 3) {
          std::ranges::fill(values.subspan(row * kVocab, kVocab),
                            std::numeric_limits<float>::quiet_NaN());
        }
        ++row;
      }
    }
  }

  static std::int32_t next_id(const std::vector<std::int32_t>& ids) {
    std::uint32_t hash = 2166136261u;
    for (const std::int32_t id : ids) hash = (hash ^ static_cast<std::uint32_t>(id)) * 16777619u;
    return static_cast<std::int32_t>((hash >> 7) % kVocab);
  }

  std::int32_t breaks = -1;  // what begins with this id has no numbers behind its third
  std::vector<std::int64_t> batches;
  std::int64_t most_tokens = 0;
  std::int64_t total_tokens = 0;

 private:
  ModelDescription description_;
  ForwardTimes times_;
};

// Ids are letters; one id in three keeps its letter back until the next, as UTF-8 parts do.
class Letters final : public TextDecoder {
 public:
  std::string push(std::int32_t id) override {
    held_ += static_cast<char>('a' + id);
    return id % 3 == 0 ? std::string() : std::exchange(held_, {});
  }
  std::string finish() override { return std::exchange(held_, {}); }

 private:
  std::string held_;
};

std::vector<std::int32_t> greedy_alone(std::vector<std::int32_t> ids, std::size_t count) {
  std::vector<std::int32_t> out;
  for (std::size_t i = 0; i < count; ++i) {
    out.push_back(CountingModel::next_id(ids));
    ids.push_back(out.back());
  }
  return out;
}

std::string letters(const std::vector<std::int32_t>& ids) {
  std::string text;
  for (const std::int32_t id : ids) text += static_cast<char>('a' + id);
  return text;
}

std::vector<Request> requests_of_all_lengths(std::size_t shared) {
  std::vector<Request> requests;
  for (std::int32_t i = 0; i < 9; ++i) {
    Request request;
    for (std::size_t j = 0; j < shared; ++j) {
      request.prompt.push_back(static_cast<std::int32_t>(j % CountingModel::kVocab));
    }
    for (std::int32_t j = 0; j <= i * 2; ++j) request.prompt.push_back((i * 5 + j * 3) % 26);
    request.max_new_tokens = (i * 7) % 11;
    requests.push_back(std::move(request));
  }
  return requests;
}

TEST(Generate, LogitsThatAreNoNumbersEndOneRequest) {
  CountingModel model;
  model.breaks = 5;
  const std::vector<Request> requests{{.prompt = {4}, .max_new_tokens = 6},
                                      {.prompt = {5}, .max_new_tokens = 6}};
  const auto completions = generate(model, requests);
  EXPECT_EQ(completions[0].ids, greedy_alone({4}, 6));
  EXPECT_EQ(completions[0].reason, FinishReason::length);
  EXPECT_EQ(completions[1].ids, greedy_alone({5}, 3));
  EXPECT_EQ(completions[1].reason, FinishReason::not_a_number);
}

TEST(Generate, EveryRequestAsIfAlone) {
  for (const std::int64_t max_batch : {1, 2, 4, 100}) {
    for (const std::int64_t prefill : {1, 3, 1000}) {
      for (const bool share : {false, true}) {
        CountingModel model;
        const auto requests = requests_of_all_lengths(4);
        const auto completions =
            generate(model, requests,
                     {.max_batch = max_batch, .prefill_tokens = prefill, .share_prefix = share});
        ASSERT_EQ(completions.size(), requests.size());
        for (std::size_t i = 0; i < requests.size(); ++i) {
          EXPECT_EQ(completions[i].ids,
                    greedy_alone(requests[i].prompt,
                                 static_cast<std::size_t>(requests[i].max_new_tokens)));
          EXPECT_EQ(completions[i].reason, FinishReason::length);
          EXPECT_TRUE(completions[i].text.empty());
        }
        EXPECT_LE(*std::ranges::max_element(model.batches), max_batch);
        // Decoding adds one id for each other sequence at most.
        EXPECT_LE(model.most_tokens, prefill + std::min<std::int64_t>(max_batch, 9));
      }
    }
  }
}

TEST(Generate, RefillsAndComputesTheSharedPrefixOnce) {
  const auto requests = requests_of_all_lengths(40);
  std::int64_t own = 0, prompts = 0;
  for (const Request& request : requests) {
    if (request.max_new_tokens == 0) continue;  // never computed
    prompts += std::ssize(request.prompt) + request.max_new_tokens - 1;
    own += std::ssize(request.prompt) - 40 + request.max_new_tokens - 1;
  }
  CountingModel shared, apart;
  generate(shared, requests, {.max_batch = 3});
  generate(apart, requests, {.max_batch = 3, .share_prefix = false});
  EXPECT_EQ(shared.total_tokens, own + 40);
  EXPECT_EQ(apart.total_tokens, prompts);
  // Full until the queue is empty: far fewer steps than one request after the other.
  EXPECT_LT(std::ranges::count(apart.batches, 1), 10);
}

TEST(Generate, StopIdsEndTheTextBeforeThem) {
  const std::vector<std::int32_t> prompt{3, 1, 4};
  const auto ids = greedy_alone(prompt, 20);
  const std::int32_t stop = ids[7];
  const auto first = static_cast<std::size_t>(std::ranges::find(ids, stop) - ids.begin());
  CountingModel model;
  const Request request{.prompt = prompt, .max_new_tokens = 20, .stop_ids = {99, stop}};
  const auto completion =
      generate(model, {&request, 1}, {.make_decoder = [] { return std::make_unique<Letters>(); }})
          .front();
  EXPECT_EQ(completion.reason, FinishReason::stop_id);
  EXPECT_EQ(completion.ids, std::vector(ids.begin(), ids.begin() + static_cast<int>(first) + 1));
  EXPECT_EQ(completion.text, letters(ids).substr(0, first));
}

TEST(Generate, StopStringsAndStreamedText) {
  const std::vector<std::int32_t> prompt{2, 7};
  const std::string text = letters(greedy_alone(prompt, 30));
  const std::string stop = text.substr(11, 3);
  const auto cut = text.find(stop);
  CountingModel model;
  std::vector<Request> requests(3, Request{.prompt = prompt, .max_new_tokens = 30});
  requests[1].stop_strings = {"no such text", stop};
  requests[2].max_new_tokens = 12;  // ends in the middle of what could be the stop string
  requests[2].stop_strings = {stop};
  std::vector<std::string> streamed(3);
  std::vector<std::size_t> done;
  GenerateOptions options;
  options.make_decoder = [] { return std::make_unique<Letters>(); };
  options.on_text = [&](std::size_t request, std::string_view piece) {
    EXPECT_FALSE(piece.empty());
    streamed[request] += piece;
  };
  options.on_done = [&](std::size_t request, const Completion& completion) {
    EXPECT_EQ(completion.text, streamed[request]);
    done.push_back(request);
  };
  const auto completions = generate(model, requests, options);
  EXPECT_EQ(completions[0].text, text);
  EXPECT_EQ(completions[0].reason, FinishReason::length);
  EXPECT_EQ(completions[1].text, text.substr(0, cut));
  EXPECT_EQ(completions[1].reason, FinishReason::stop_string);
  EXPECT_LE(completions[1].ids.size(), cut + stop.size() + 1);
  EXPECT_EQ(completions[2].text, text.substr(0, cut == 11 ? 12 : cut));
  std::ranges::sort(done);
  EXPECT_EQ(done, (std::vector<std::size_t>{0, 1, 2}));
}

TEST(Generate, SamplesDoNotDependOnCompany) {
  auto requests = requests_of_all_lengths(2);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    requests[i].sampling = {.temperature = 1.0, .seed = 100 + i % 2};
    requests[i].max_new_tokens = 12;
  }
  CountingModel model;
  const auto together = generate(model, requests, {.max_batch = 5});
  for (std::size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(generate(model, {&requests[i], 1}).front().ids, together[i].ids);
  }
}

TEST(Generate, RefusesBadRequests) {
  CountingModel model;
  const auto expect_refused = [&](const Request& request, const GenerateOptions& options) {
    EXPECT_THROW(generate(model, {&request, 1}, options), Error);
    EXPECT_TRUE(model.batches.empty());
  };
  expect_refused({}, {});
  expect_refused({.prompt = {1}, .max_new_tokens = -1}, {});
  expect_refused({.prompt = {1}, .stop_strings = {"x"}}, {});
  expect_refused({.prompt = {1}, .sampling = {.top_p = 2.0}}, {});
  expect_refused({.prompt = {1}}, {.max_batch = 0});
  expect_refused({.prompt = {1}}, {.prefill_tokens = 0});
  EXPECT_TRUE(generate(model, {}, {}).empty());
}

// What is wrong with the last request ends nobody's work in the middle.
TEST(Generate, RefusesBadRequestsBeforeItAnswersGoodOnes) {
  CountingModel model;
  const auto letters_decoder = [] { return std::make_unique<Letters>(); };
  for (const Request& bad : {Request{.prompt = {1, 26}}, Request{.prompt = {1, -1}},
                             Request{.prompt = {1}, .stop_strings = {"x", ""}}}) {
    const std::vector<Request> requests{{.prompt = {2, 7}}, bad};
    try {
      generate(model, requests, {.max_batch = 1, .make_decoder = letters_decoder});
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::user);
      EXPECT_TRUE(std::string(error.what()).starts_with("request 1")) << error.what();
    }
    EXPECT_TRUE(model.batches.empty());
  }
}

}  // namespace
}  // namespace sluice
