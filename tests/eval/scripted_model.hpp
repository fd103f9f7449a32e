// A model that recites: after the k-th id behind the last ':' its likeliest id is script[k].
#pragma once

#include <memory>
#include <sluice/error.hpp>
#include <sluice/model.hpp>
#include <sluice/tokenizer.hpp>
#include <string>
#include <vector>

namespace sluice::test {

inline constexpr std::int64_t kScriptVocab = 97;
inline constexpr TokenId kEnd = 96;

// One token per character: the 94 visible ASCII characters, space, line feed, and the end token.
Tokenizer character_tokenizer();

class ScriptedModel final : public Model {
 public:
  // The script's ids have logit `height`, all others 0; behind the script the end token has it.
  ScriptedModel(const std::string& script, float height);

  const ModelDescription& description() const override { return description_; }
  const Backend* layer_backend(std::int64_t) const override { return nullptr; }
  std::string layer_variant(std::int64_t) const override { return {}; }
  MemoryFigures memory() const override { return {}; }
  std::unique_ptr<Sequence> new_sequence() const override;
  void forward(std::span<const SequenceInput> batch, Logits& logits) override;
  const ForwardTimes& times() const override { return times_; }
  void reset_times() override { times_ = {}; }

  std::int64_t ids_seen = 0;
  std::int64_t fail_after = -1;  // ids; -1: never
  TokenId break_at = -1;         // no logit behind this id is a number; -1: none

 private:
  TokenId recite(const std::vector<TokenId>& ids) const;

  std::vector<TokenId> script_;
  float height_;
  ModelDescription description_;
  ForwardTimes times_;
};

}  // namespace sluice::test
