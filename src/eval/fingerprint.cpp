#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <sluice/checkpoint.hpp>
#include <sluice/eval.hpp>

#include "base/absent.hpp"
#include "checkpoint/read_text.hpp"

namespace sluice {
namespace {

// FNV-1a, 64 bits: tells runs apart; no defence against forgery is meant.
class Fingerprint {
 public:
  void add(const void* data, std::size_t bytes) {
    const auto* next = static_cast<const unsigned char*>(data);
    for (std::size_t i = 0; i < bytes; ++i) hash_ = (hash_ ^ next[i]) * 0x100000001b3u;
  }
  // With its length, so that two texts never merge into another two.
  void add(std::string_view text) {
    const std::uint64_t size = text.size();
    add(&size, sizeof size);
    add(text.data(), text.size());
  }
  std::string text() const { return fmt::format("{:016x}", hash_); }

 private:
  std::uint64_t hash_ = 0xcbf29ce484222325u;
};

}  // namespace

std::string fingerprint_model(const std::string& directory) {
  constexpr std::size_t kSample = 64;
  const Checkpoint checkpoint = Checkpoint::open(directory);
  Fingerprint fingerprint;
  fingerprint.add(checkpoint.config_text());
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    fingerprint.add(tensor.name);
    fingerprint.add(to_string(tensor.dtype));
    fingerprint.add(to_string(tensor.shape));
    const auto* bytes = static_cast<const char*>(checkpoint.tensor(tensor.name).data);
    const std::size_t sample = std::min(kSample, tensor.bytes);
    fingerprint.add(bytes, sample);
    fingerprint.add(bytes + tensor.bytes - sample, sample);
  }
  return fingerprint.text();
}

// Everything that Tokenizer::load may read.
std::string fingerprint_tokenizer(const std::string& directory) {
  constexpr std::size_t kLongest = std::size_t{512} << 20;  // no less than it reads
  Fingerprint fingerprint;
  for (const std::string name :
       {"tokenizer.json", "tiktoken.model", "tokenizer_config.json", "chat_template.jinja"}) {
    const std::filesystem::path path = std::filesystem::path(directory) / name;
    if (is_absent(path)) continue;
    fingerprint.add(name);
    fingerprint.add(read_text(path, kLongest));
  }
  return fingerprint.text();
}

std::string fingerprint_prompt(const Tokenizer& tokenizer, const PromptStyle& style,
                               const Problem& problem) {
  const std::string text = style.chat
                               ? tokenizer.render_chat(build_chat(style, problem.question), true)
                               : build_prompt(style, problem.question);
  Fingerprint fingerprint;
  fingerprint.add(text);
  const auto ids = tokenizer.encode(text, !style.chat);
  fingerprint.add(ids.data(), ids.size() * sizeof(TokenId));
  return fingerprint.text();
}

std::string fingerprint_problems(std::span<const Problem> problems) {
  Fingerprint fingerprint;
  for (const Problem& problem : problems) {
    fingerprint.add(problem.question);
    fingerprint.add(problem.answer);
  }
  return fingerprint.text();
}

}  // namespace sluice
