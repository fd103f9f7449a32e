#include "tokenizer/pipeline.hpp"

#include <utility>

#include "base/fail.hpp"
#include "tokenizer/byte_alphabet.hpp"
#include "tokenizer/nfc.hpp"
#include "tokenizer/utf8.hpp"

namespace sluice::tokenizer {

const TokenTable& Pipeline::tokens() const {
  if (const auto* bpe = std::get_if<ByteLevelBpe>(&model)) return bpe->model.tokens();
  return std::get<Tiktoken>(model).tokens();
}

std::optional<TokenId> Pipeline::id_of(std::string_view token) const {
  if (const auto id = added.find(token)) return id;
  return tokens().find(token);
}

const std::string* Pipeline::token_of(TokenId id) const {
  if (const std::string* token = added.token(id)) return token;
  return tokens().token(id);
}

void Pipeline::append_bytes(TokenId id, std::string& bytes) const {
  const std::string* token = token_of(id);
  if (token == nullptr) return;
  if (std::holds_alternative<ByteLevelBpe>(model)) {
    append_token_bytes(bytes, *token);
  } else {
    bytes.append(*token);
  }
}

void Pipeline::add_token(AddedToken token, bool normalize) {
  if (token.content.empty()) {
    fail(ErrorKind::checkpoint, "added token {} is an empty string", token.id);
  }
  const std::string* owner = tokens().token(token.id);
  const auto known = tokens().find(token.content);
  if (known ? *known != token.id : owner != nullptr) {
    fail(ErrorKind::checkpoint,
         "added token \"{}\" has id {}, but the vocabulary says that \"{}\" has id {}",
         shown(token.content), token.id, shown(known ? token.content : *owner),
         known ? *known : token.id);
  }
  added.add(token.content, token.id);
  if (token.special) special.insert(token.id);
  token.match = normalize && nfc ? tokenizer::nfc(token.content) : token.content;
  (normalize ? normalized : exact).add(std::move(token));
}

void Pipeline::encode_words(std::string_view text, std::vector<TokenId>& ids) const {
  if (const auto* tiktoken = std::get_if<Tiktoken>(&model)) {
    tiktoken->encode(text, ids);
    return;
  }
  const auto& bpe = std::get<ByteLevelBpe>(model);
  const Words words = bpe.pre_tokenizer.words(text);
  for (const Span& span : words.spans) {
    bpe.model.encode(std::string_view(words.text).substr(span.begin, span.end - span.begin), ids);
  }
}

void Pipeline::encode_between(std::string_view text, bool recognise_special,
                              std::vector<TokenId>& ids) const {
  const std::string text_normalized = nfc ? tokenizer::nfc(text) : std::string(text);
  for (const Piece& piece : normalized.split(text_normalized, recognise_special)) {
    if (piece.token != nullptr) {
      ids.push_back(piece.token->id);
    } else {
      encode_words(piece.text, ids);
    }
  }
}

std::vector<TokenId> Pipeline::encode(std::string_view text, bool add_special_tokens,
                                      SpecialText special_text) const {
  const bool recognise_special = special_text == SpecialText::recognised;
  const std::string valid = valid_utf8(text);
  std::vector<TokenId> ids;
  for (const Piece& piece : exact.split(valid, recognise_special)) {
    if (piece.token != nullptr) {
      ids.push_back(piece.token->id);
    } else {
      encode_between(piece.text, recognise_special, ids);
    }
  }
  if (!add_special_tokens) return ids;
  std::vector<TokenId> all;
  for (const std::optional<TokenId>& part : around) {
    if (part) {
      all.push_back(*part);
    } else {
      all.insert(all.end(), ids.begin(), ids.end());
    }
  }
  return all;
}

}  // namespace sluice::tokenizer
