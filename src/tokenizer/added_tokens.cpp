#include "tokenizer/added_tokens.hpp"

#include <algorithm>
#include <utility>

#include "base/fail.hpp"
#include "tokenizer/regex.hpp"
#include "tokenizer/utf8.hpp"

namespace sluice::tokenizer {
namespace {

// Letters, marks, decimal digits, connectors and joiners: \w of Rust's regex crate.
constexpr std::string_view kWord = R"([\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200c}\x{200d}])";

bool matches_all(const Regex& regex, std::string_view character) {
  std::vector<Span> spans;
  regex.split(character, spans);
  return spans.size() == 1 && spans[0].matched;
}

bool is_word(std::string_view character) {
  static const Regex regex(kWord);
  return matches_all(regex, character);
}

bool is_space(std::string_view character) {
  static const Regex regex(R"(\s)");
  return matches_all(regex, character);
}

std::string_view first_character(std::string_view text) {
  return text.empty() ? text : text.substr(0, utf8_at(text, 0).bytes);
}

std::string_view last_character(std::string_view text) {
  std::size_t begin = text.size();
  while (begin > 0 && (static_cast<unsigned char>(text[--begin]) & 0xC0) == 0x80) {
  }
  return text.substr(begin);
}

std::uint64_t edge(std::uint32_t node, char byte) {
  return std::uint64_t{node} << 8 | static_cast<unsigned char>(byte);
}

}  // namespace

void AddedTokens::add(AddedToken token) {
  if (token.match.size() > kMaxAddedTokenBytes) {
    fail(ErrorKind::checkpoint, "added token \"{}\" has {} bytes; the limit is {}",
         shown(token.content), token.match.size(), kMaxAddedTokenBytes);
  }
  std::uint32_t node = 0;
  for (const char byte : token.match) {
    const auto [next, fresh] =
        edges_.emplace(edge(node, byte), static_cast<std::uint32_t>(nodes_.size()));
    if (fresh) nodes_.emplace_back();
    node = next->second;
  }
  if (const auto& other = nodes_[node]; other && other->content != token.content) {
    // Hugging Face's tokenizers take either, and not the same one in every process.
    fail(ErrorKind::checkpoint,
         "added tokens \"{}\" (id {}) and \"{}\" (id {}) are the same text once normalized, so "
         "nothing says which of them it is; remove one, or make \"normalized\" false",
         shown(other->content), other->id, shown(token.content), token.id);
  }
  nodes_[node] = std::move(token);
}

const AddedToken* AddedTokens::longest_match(std::string_view text) const {
  const AddedToken* longest = nullptr;
  std::uint32_t node = 0;
  for (const char byte : text) {
    const auto next = edges_.find(edge(node, byte));
    if (next == edges_.end()) break;
    node = next->second;
    if (nodes_[node]) longest = &*nodes_[node];
  }
  return longest;
}

std::vector<Piece> AddedTokens::split(std::string_view text, bool recognise_special) const {
  std::vector<Piece> pieces;
  std::size_t done = 0;       // where the text after the last token begins
  std::size_t space_end = 0;  // of the white space that was stripped last: tokens may lie in it
  for (std::size_t at = 0; at < text.size();) {
    const AddedToken* token = longest_match(text.substr(at));
    if (token == nullptr) {
      ++at;
      continue;
    }
    std::size_t begin = at;
    std::size_t end = at + token->match.size();
    at = end;  // matches never overlap, whether they are then taken or not
    if (token->special && !recognise_special) continue;
    if (token->single_word && ((begin > 0 && is_word(last_character(text.substr(0, begin)))) ||
                               (end < text.size() && is_word(first_character(text.substr(end)))))) {
      continue;
    }
    // White space taken by an earlier token stays with it; hence `done` on the left, even where the
    // match itself is such white space. On the right a following token that strips nothing on its
    // left may claim what this one stripped, as in Hugging Face's code.
    if (token->lstrip) {
      begin = std::max(begin, done);
      while (begin > done && is_space(last_character(text.substr(0, begin)))) {
        begin -= last_character(text.substr(0, begin)).size();
      }
    }
    if (token->rstrip) {
      end = std::max(end, space_end);
      while (end < text.size() && is_space(first_character(text.substr(end)))) {
        end += first_character(text.substr(end)).size();
      }
      space_end = end;
    }
    if (begin >= end) continue;  // an earlier token took all of it
    if (done < begin) pieces.push_back({text.substr(done, begin - done), nullptr});
    pieces.push_back({text.substr(begin, end - begin), token});
    done = end;
  }
  if (done < text.size()) pieces.push_back({text.substr(done), nullptr});
  return pieces;
}

}  // namespace sluice::tokenizer
