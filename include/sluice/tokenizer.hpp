// Text to token ids and back, and the chat formats of the model families.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice {

using TokenId = std::int32_t;

struct ChatMessage {
  std::string role;  // "system", "user", "assistant", …
  std::string content;
};

// What "<|im_end|>" in the text means: the special token (needed for rendered chat prompts), or the
// ten characters (text from strangers, which must not be able to end its own turn).
enum class SpecialText : std::uint8_t { recognised, ordinary };

// Immutable and cheap to copy; every method may be called from several threads at once.
//
// Invalid UTF-8 in a text to encode counts as U+FFFD, one per maximal ill-formed run, as Rust's and
// Python's "replace" do; bytes that decode to invalid UTF-8 become U+FFFD in the same way. Ids
// equal Hugging Face `tokenizers` (tokenizer.json) and `tiktoken` (tiktoken.model).
class Tokenizer {
 public:
  // Reads tokenizer.json, else tiktoken.model; beside it tokenizer_config.json (optional for
  // tokenizer.json) and chat_template.jinja (optional; wins over the config's "chat_template"). An
  // empty file or a link to nowhere is damage, not absence. Throws Error(user) for what is no
  // directory, Error(checkpoint) for a damaged or oversized file and Error(unsupported) for a
  // component (normalizer, pre-tokenizer, model, decoder …) that is not known, by name.
  static Tokenizer load(const std::filesystem::path& directory);
  // The same from texts. Of a tokenizer.json `config_json` may be empty: no named special tokens,
  // no chat template. tiktoken's ranks need its "added_tokens_decoder", which holds their special
  // tokens.
  static Tokenizer from_tokenizer_json(std::string_view json, std::string_view config_json = {});
  static Tokenizer from_tiktoken(std::string_view ranks, std::string_view config_json);

  // `add_special_tokens`: what the checkpoint's post-processor adds, such as a leading BOS.
  // Chat prompts contain theirs already: encode(render_chat(…), false).
  std::vector<TokenId> encode(std::string_view text, bool add_special_tokens = true,
                              SpecialText special = SpecialText::recognised) const;

  // Always valid UTF-8. Ids without a token (padding rows of the embedding) add nothing.
  std::string decode(std::span<const TokenId> ids, bool skip_special_tokens = true) const;

  std::int64_t vocab_size()
      const;  // the largest id + 1; the embedding may have more rows, or fewer
  std::optional<TokenId> id_of(std::string_view token) const;  // token as token_of spells it
  // As the checkpoint spells it: byte-level tokens in their printable alphabet ("Ġthe"), tiktoken's
  // as raw bytes. nullopt: no such token.
  std::optional<std::string> token_of(TokenId id) const;
  bool is_special(TokenId id) const;
  std::optional<TokenId> bos() const;
  std::optional<TokenId> eos() const;
  std::optional<TokenId> pad() const;

  // The checkpoint's chat template applied to `messages`, ending in the assistant's header if
  // `add_generation_prompt`. Throws Error(unsupported) naming the first construct of the template
  // that is needed and not known, and Error(user) when there is no template or it rejects the
  // messages.
  std::string render_chat(std::span<const ChatMessage> messages, bool add_generation_prompt) const;
  bool has_chat_template() const;

  struct Impl;
  explicit Tokenizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

 private:
  friend class TokenStream;
  std::shared_ptr<const Impl> impl_;
};

// Decodes ids one at a time for display. The pieces joined, with finish() last, are exactly
// decode() of all ids; a piece never ends inside a UTF-8 character.
class TokenStream {
 public:
  explicit TokenStream(Tokenizer tokenizer, bool skip_special_tokens = true)
      : tokenizer_(std::move(tokenizer)), skip_special_tokens_(skip_special_tokens) {}
  std::string push(TokenId id);
  std::string finish();  // what is left of an unfinished character, as U+FFFD; then starts anew

 private:
  Tokenizer tokenizer_;
  bool skip_special_tokens_;
  std::string pending_;  // an incomplete character: at most 3 bytes
};

}  // namespace sluice
