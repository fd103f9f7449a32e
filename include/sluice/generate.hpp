// Text generation: sampling, stop rules, and a batch that refills itself.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <sluice/model.hpp>

namespace sluice {

class Tokenizer;

// Applied in the order temperature, top_k, top_p, min_p, as Hugging Face's logits warpers are; then
// one draw. Ties are broken towards the lower id, in greedy as in the cuts.
struct Sampling {
  double temperature = 0.0;  // 0: greedy, the rest is ignored
  std::int64_t top_k = 0;    // 0: off
  double top_p = 1.0;        // keep the smallest set of likeliest ids whose sum is >= top_p
  double min_p = 0.0;        // drop ids below min_p times the likeliest's probability
  std::uint64_t seed = 0;    // same request, same seed: same ids, whatever else is in the batch
};

// Throws Error(user) naming the setting that is out of range.
void validate(const Sampling& sampling);

// Draws ids for one sequence.
class Sampler {
 public:
  explicit Sampler(const Sampling& sampling);
  ~Sampler();
  Sampler(Sampler&&) noexcept;
  Sampler& operator=(Sampler&&) noexcept;
  // NaN logits are never chosen; Error(checkpoint) when no logit is a number.
  std::int32_t operator()(std::span<const float> logits);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The lowest id of the largest logit.
std::int32_t greedy_choice(std::span<const float> logits);

// Turns one sequence's new ids into text as they come.
class TextDecoder {
 public:
  virtual ~TextDecoder() = default;
  virtual std::string push(std::int32_t id) = 0;  // text that is complete now; may be empty
  virtual std::string finish() = 0;               // what is left
};

// Over a tokenizer: a TokenStream of its own.
std::unique_ptr<TextDecoder> make_text_decoder(const Tokenizer& tokenizer);

struct Request {
  std::vector<std::int32_t> prompt = {};  // at least one id
  Sampling sampling = {};
  std::int64_t max_new_tokens = 256;
  std::vector<std::int32_t> stop_ids = {};  // the id itself is not part of the text
  // The text ends before the match that is complete first; of several, the longest. Where ids
  // begin and end within the text makes no difference.
  std::vector<std::string> stop_strings = {};
};

// not_a_number: no logit of the next id was a number, because of a weight or of a backend. It ends
// that completion alone.
enum class FinishReason : std::uint8_t { stop_id, stop_string, length, not_a_number };
std::string_view to_string(FinishReason reason);

struct Completion {
  std::vector<std::int32_t> ids;  // as sampled; a stop id is the last of them
  std::string text;               // without stop id and stop string; empty without a decoder
  FinishReason reason = FinishReason::length;
};

struct GenerateOptions {
  std::int64_t max_batch = 16;  // sequences at a time
  // Prompt ids per forward call, over all sequences: a model of many experts streams all its
  // weights for each. Buffers grow with it.
  std::int64_t prefill_tokens = 4096;
  // Compute what all prompts begin with once, and fork it.
  bool share_prefix = true;
  // Needed for text and for stop_strings (Error(user) if they are given without it).
  std::function<std::unique_ptr<TextDecoder>()> make_decoder = {};
  // Text that can no longer become part of a stop string; and each completion when it is done.
  std::function<void(std::size_t request, std::string_view text)> on_text = {};
  std::function<void(std::size_t request, const Completion& completion)> on_done = {};
};

// Completions in the order of the requests. When a sequence ends, the next prompt takes its place.
// Error(user), before anything is computed, names the first request that is not possible.
std::vector<Completion> generate(Model& model, std::span<const Request> requests,
                                 const GenerateOptions& options = {});

}  // namespace sluice
