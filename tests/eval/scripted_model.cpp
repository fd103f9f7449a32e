#include "eval/scripted_model.hpp"

#include <algorithm>
#include <limits>

namespace sluice::test {
namespace {

struct Recital final : Sequence {
  std::int64_t length() const override { return std::ssize(ids); }
  std::size_t bytes() const override { return ids.size() * sizeof(TokenId); }
  std::unique_ptr<Sequence> fork() const override { return std::make_unique<Recital>(*this); }
  std::vector<TokenId> ids;
};

}  // namespace

Tokenizer character_tokenizer() {
  std::string vocab;
  for (int c = 33; c < 127; ++c) {
    const std::string escape = c == '"' || c == '\\' ? "\\" : "";
    vocab += "\"" + escape + static_cast<char>(c) + "\": " + std::to_string(c - 33) + ", ";
  }
  // Byte-level alphabet: the space is U+0120, the line feed U+010A.
  vocab += "\"\\u0120\": 94, \"\\u010a\": 95, \"<end>\": 96";
  return Tokenizer::from_tokenizer_json(
      R"({"version": "1.0", "truncation": null, "padding": null,
      "added_tokens": [{"id": 96, "content": "<end>", "single_word": false, "lstrip": false,
                        "rstrip": false, "normalized": false, "special": true}],
      "normalizer": null,
      "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                        "use_regex": false},
      "post_processor": null,
      "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                  "use_regex": false},
      "model": {"type": "BPE", "dropout": null, "unk_token": null,
                "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false,
                "byte_fallback": false, "ignore_merges": false, "merges": [],
                "vocab": {)" +
      vocab + "}}}");
}

ScriptedModel::ScriptedModel(const std::string& script, float height)
    : script_(character_tokenizer().encode(script)), height_(height) {
  description_.vocab_size = kScriptVocab;
}

std::unique_ptr<Sequence> ScriptedModel::new_sequence() const {
  return std::make_unique<Recital>();
}

TokenId ScriptedModel::recite(const std::vector<TokenId>& ids) const {
  constexpr TokenId kColon = ':' - 33;
  const auto colon = std::find(ids.rbegin(), ids.rend(), kColon);
  const auto behind = static_cast<std::size_t>(colon - ids.rbegin());
  return behind < script_.size() ? script_[behind] : kEnd;
}

void ScriptedModel::forward(std::span<const SequenceInput> batch, Logits& logits) {
  std::int64_t rows = 0;
  for (const SequenceInput& input : batch) rows += std::min(input.logits, std::ssize(input.ids));
  auto values = logits.resize(rows, kScriptVocab);
  std::fill(values.begin(), values.end(), 0.0f);
  std::int64_t row = 0;
  for (const SequenceInput& input : batch) {
    auto& ids = static_cast<Recital*>(input.sequence)->ids;
    const std::int64_t silent = std::ssize(input.ids) - input.logits;
    for (std::int64_t i = 0; i < std::ssize(input.ids); ++i) {
      ids.push_back(input.ids[static_cast<std::size_t>(i)]);
      if (++ids_seen == fail_after) throw Error(ErrorKind::device, "the power went out");
      if (i < silent) continue;
      const auto begin = static_cast<std::size_t>(row++ * kScriptVocab);
      values[begin + static_cast<std::size_t>(recite(ids))] = height_;
      if (ids.back() == break_at) {
        std::ranges::fill(values.subspan(begin, kScriptVocab),
                          std::numeric_limits<float>::quiet_NaN());
      }
    }
  }
}

}  // namespace sluice::test
