#include "tokenizer/tiktoken.hpp"

#include <algorithm>
#include <charconv>
#include <string>

#include "base/fail.hpp"
#include "tokenizer/merge.hpp"
#include "tokenizer/utf8.hpp"

namespace sluice::tokenizer {
namespace {

int base64_value(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  if (c == '/') return 63;
  return -1;
}

// Strict: padded, no other characters, no stray bits in the last group.
bool decode_base64(std::string_view text, std::string& bytes) {
  if (text.empty() || text.size() % 4 != 0) return false;
  std::size_t length = text.size();
  while (length > text.size() - 2 && text[length - 1] == '=') --length;
  unsigned bits = 0;
  int count = 0;
  for (const char c : text.substr(0, length)) {
    const int value = base64_value(c);
    if (value < 0) return false;
    bits = (bits << 6 | static_cast<unsigned>(value)) & 0xFFFFFF;
    count += 6;
    if (count >= 8) {
      count -= 8;
      bytes.push_back(static_cast<char>(bits >> count & 0xFF));
    }
  }
  return (bits & ((1U << count) - 1)) == 0;
}

void read_line(std::string_view line, std::size_t number, TokenTable& tokens) {
  const std::size_t space = line.find(' ');
  const std::string_view rank = space == std::string_view::npos ? "" : line.substr(space + 1);
  std::string bytes;
  std::int64_t id = 0;
  const auto [end, error] = std::from_chars(rank.data(), rank.data() + rank.size(), id);
  if (error != std::errc{} || end != rank.data() + rank.size() ||
      !decode_base64(line.substr(0, space), bytes)) {
    fail(ErrorKind::checkpoint, "tiktoken.model line {}: expected \"base64 rank\", found \"{}\"",
         number, shown(line));
  }
  tokens.add(std::move(bytes), id);
}

TokenTable read_ranks(std::string_view text) {
  TokenTable tokens;
  for (std::size_t begin = 0, number = 1; begin < text.size(); ++number) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = text.substr(begin, end - begin);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.empty()) read_line(line, number, tokens);
    begin = end + 1;
  }
  if (tokens.largest_id() + 1 != static_cast<std::int64_t>(tokens.size())) {
    fail(ErrorKind::checkpoint, "tiktoken.model: {} ranks up to {}; ranks must be 0 to n-1",
         tokens.size(), tokens.largest_id());
  }
  for (int byte = 0; byte < 256; ++byte) {
    if (!tokens.find(std::string(1, static_cast<char>(byte)))) {
      fail(ErrorKind::checkpoint, "tiktoken.model: byte 0x{:02x} has no rank", byte);
    }
  }
  return tokens;
}

}  // namespace

Tiktoken::Tiktoken(std::string_view ranks, std::string_view pattern)
    : tokens_(read_ranks(ranks)), pattern_(pattern) {}

void Tiktoken::encode(std::string_view text, std::vector<TokenId>& ids) const {
  std::vector<Span> spans;
  pattern_.split(text, spans);
  for (const Span& span : spans) {  // what the pattern leaves out is no word: tiktoken drops it
    if (span.matched) encode_word(text.substr(span.begin, span.end - span.begin), ids);
  }
}

void Tiktoken::encode_word(std::string_view word, std::vector<TokenId>& ids) const {
  if (const auto id = tokens_.find(word)) {
    ids.push_back(*id);
    return;
  }
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  for (std::size_t i = 0; i < word.size(); ++i) {
    append_symbol(symbols, *tokens_.find(word.substr(i, 1)), i, i + 1);
  }
  merge_symbols(symbols, [&](const Symbol& left, const Symbol& right) -> std::optional<Merge> {
    const auto joined = tokens_.find(word.substr(left.begin, right.end - left.begin));
    if (!joined) return std::nullopt;
    return Merge{static_cast<std::uint32_t>(*joined), *joined};
  });
  for (const Symbol& symbol : symbols) {
    if (symbol.begin != symbol.end) ids.push_back(symbol.id);
  }
}

std::string_view kimi_pattern() {
  return R"([\p{Han}]+)"
         R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*)"
         R"([\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
         R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+)"
         R"([\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
         R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
}

}  // namespace sluice::tokenizer
