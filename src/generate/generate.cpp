#include <algorithm>
#include <cmath>
#include <utility>

#include <sluice/generate.hpp>

#include "base/fail.hpp"
#include "generate/stop_text.hpp"

namespace sluice {
namespace {

// Everything, before anything is computed: a request that is refused when its turn comes would take
// the completions of all before it along.
void check(const Model& model, std::span<const Request> requests, const GenerateOptions& options) {
  if (options.max_batch < 1 || options.prefill_tokens < 1) {
    fail(ErrorKind::user, "max_batch is {} and prefill_tokens is {}; both must be at least 1",
         options.max_batch, options.prefill_tokens);
  }
  for (std::size_t index = 0; index < requests.size(); ++index) {
    const Request& request = requests[index];
    validate(request.sampling);
    if (request.prompt.empty()) {
      fail(ErrorKind::user, "request {} has an empty prompt; give at least one id", index);
    }
    if (request.max_new_tokens < 0) {
      fail(ErrorKind::user, "request {}: max_new_tokens is {}; give 0 or more", index,
           request.max_new_tokens);
    }
    if (!request.stop_strings.empty() && !options.make_decoder) {
      fail(ErrorKind::user, "request {} has stop strings, which need make_decoder", index);
    }
    if (std::ranges::find(request.stop_strings, "") != request.stop_strings.end()) {
      fail(ErrorKind::user, "request {} has an empty stop string; leave it out instead", index);
    }
    const std::int64_t vocab_size = model.description().vocab_size;
    for (const std::int32_t id : request.prompt) {
      if (id >= 0 && id < vocab_size) continue;
      fail(ErrorKind::user,
           "request {} has the id {} in its prompt; the vocabulary has ids 0 to {}", index, id,
           vocab_size - 1);
    }
  }
}

// How many ids all prompts begin with, leaving each at least one of its own.
std::size_t common_prefix(std::span<const Request> requests) {
  std::span<const std::int32_t> prefix = requests.front().prompt;
  for (const Request& request : requests) {
    prefix = prefix.first(std::min(prefix.size(), request.prompt.size() - 1));
    const auto end = std::mismatch(prefix.begin(), prefix.end(), request.prompt.begin()).first;
    prefix = prefix.first(static_cast<std::size_t>(end - prefix.begin()));
  }
  return prefix.size();
}

// One request on its way: prompt ids first, then one sampled id per step.
class Run {
 public:
  Run(std::size_t index, const Request& request, std::unique_ptr<Sequence> sequence,
      const GenerateOptions& options)
      : index_(index),
        request_(request),
        options_(options),
        sequence_(std::move(sequence)),
        sampler_(request.sampling),
        stop_text_(request.stop_strings),
        next_(request.prompt.begin() + sequence_->length(), request.prompt.end()) {
    if (options.make_decoder) decoder_ = options.make_decoder();
    if (request.max_new_tokens == 0) finish(FinishReason::length);
  }

  bool done() const { return done_; }
  bool decoding() const { return !completion_.ids.empty(); }
  std::size_t index() const { return index_; }
  Completion take() { return std::move(completion_); }

  // The next step: at most `budget` ids. `logits` says whether a choice follows.
  SequenceInput input(std::int64_t budget) {
    given_ = std::min(std::ssize(next_), budget);
    return {sequence_.get(), std::span(next_).first(static_cast<std::size_t>(given_)),
            given_ == std::ssize(next_) ? 1 : 0};
  }
  // After the forward call; `row` is null if the prompt is not finished.
  void advance(std::span<const float> logits) {
    next_.erase(next_.begin(), next_.begin() + given_);
    if (logits.empty()) return;
    if (std::ranges::all_of(logits, [](float logit) { return std::isnan(logit); })) {
      return finish(FinishReason::not_a_number);
    }
    const std::int32_t id = sampler_(logits);
    completion_.ids.push_back(id);
    next_.push_back(id);
    if (std::ranges::find(request_.stop_ids, id) != request_.stop_ids.end()) {
      return finish(FinishReason::stop_id);
    }
    if (decoder_) show(stop_text_.push(decoder_->push(id)));
    if (stop_text_.stopped()) return finish(FinishReason::stop_string);
    if (std::ssize(completion_.ids) >= request_.max_new_tokens) finish(FinishReason::length);
  }

 private:
  void show(const std::string& text) {
    if (text.empty()) return;
    completion_.text += text;
    if (options_.on_text) options_.on_text(index_, text);
  }

  void finish(FinishReason reason) {
    completion_.reason = reason;
    done_ = true;
    if (decoder_) {
      show(stop_text_.push(decoder_->finish()));
      // The decoder's last bytes may complete a stop string.
      if (stop_text_.stopped()) completion_.reason = FinishReason::stop_string;
      show(stop_text_.finish());
    }
    sequence_.reset();
    if (options_.on_done) options_.on_done(index_, completion_);
  }

  std::size_t index_;
  const Request& request_;
  const GenerateOptions& options_;
  std::unique_ptr<Sequence> sequence_;
  Sampler sampler_;
  StopText stop_text_;
  std::unique_ptr<TextDecoder> decoder_;
  std::vector<std::int32_t> next_;  // ids the sequence has not seen yet
  std::int64_t given_ = 0;          // of them, in the current step
  Completion completion_;
  bool done_ = false;
};

class Scheduler {
 public:
  Scheduler(Model& model, std::span<const Request> requests, const GenerateOptions& options)
      : model_(model), requests_(requests), options_(options), completions_(requests.size()) {}

  std::vector<Completion> run() {
    compute_prefix();
    for (refill(); !runs_.empty(); refill()) step();
    return std::move(completions_);
  }

 private:
  void compute_prefix() {
    if (!options_.share_prefix || requests_.size() < 2) return;
    const std::size_t length = common_prefix(requests_);
    if (length == 0) return;
    prefix_ = model_.new_sequence();
    std::span<const std::int32_t> rest(requests_.front().prompt.data(), length);
    while (!rest.empty()) {
      const auto part = std::min(rest.size(), static_cast<std::size_t>(options_.prefill_tokens));
      const SequenceInput input{prefix_.get(), rest.first(part), 0};
      model_.forward(std::span(&input, 1), logits_);
      rest = rest.subspan(part);
    }
  }

  void refill() {
    while (std::ssize(runs_) < options_.max_batch && queued_ < requests_.size()) {
      auto sequence = prefix_ ? prefix_->fork() : model_.new_sequence();
      const std::size_t index = queued_++;
      runs_.push_back(
          std::make_unique<Run>(index, requests_[index], std::move(sequence), options_));
      collect_done();
    }
  }

  // Running sequences decode in every step; the budget is for prompts alone, oldest first, of which
  // one always goes on.
  void step() {
    inputs_.clear();
    std::int64_t budget = options_.prefill_tokens;
    for (const auto& run : runs_) {
      inputs_.push_back(run->input(run->decoding() ? 1 : budget));
      if (!run->decoding()) budget -= std::ssize(inputs_.back().ids);
    }
    model_.forward(inputs_, logits_);
    std::int64_t row = 0;
    for (std::size_t i = 0; i < runs_.size(); ++i) {
      const bool chooses = inputs_[i].logits > 0 && !inputs_[i].ids.empty();
      runs_[i]->advance(chooses ? logits_.row(row++) : std::span<const float>());
    }
    collect_done();
  }

  void collect_done() {
    std::erase_if(runs_, [this](const std::unique_ptr<Run>& run) {
      if (!run->done()) return false;
      completions_[run->index()] = run->take();
      return true;
    });
  }

  Model& model_;
  std::span<const Request> requests_;
  const GenerateOptions& options_;
  std::unique_ptr<Sequence> prefix_;
  std::size_t queued_ = 0;
  std::vector<std::unique_ptr<Run>> runs_;
  std::vector<SequenceInput> inputs_;
  Logits logits_;
  std::vector<Completion> completions_;
};

}  // namespace

std::string_view to_string(FinishReason reason) {
  switch (reason) {
    case FinishReason::stop_id:
      return "stop_id";
    case FinishReason::stop_string:
      return "stop_string";
    case FinishReason::length:
      return "length";
    case FinishReason::not_a_number:
      return "not_a_number";
  }
  return "unknown";
}

std::vector<Completion> generate(Model& model, std::span<const Request> requests,
                                 const GenerateOptions& options) {
  check(model, requests, options);
  return Scheduler(model, requests, options).run();
}

}  // namespace sluice
