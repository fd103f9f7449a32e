#include "tokenizer/jinja/strings.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <unordered_set>
#include <vector>

#include "tokenizer/jinja/lexer.hpp"
#include "tokenizer/utf8.hpp"

namespace sluice::tokenizer::jinja {
namespace {

// str.isspace(): Unicode's White_Space and the four information separators.
bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

List split(int line, std::string_view text, std::string_view separator) {
  List parts;
  for (std::size_t begin = 0;;) {
    if (parts.size() == kMaxListItems) {
      refuse(line, fmt::format("split() into more than {} parts", kMaxListItems));
    }
    const std::size_t end = find(text, separator, begin);
    parts.emplace_back(std::string(text.substr(begin, end - begin)));
    if (end == std::string_view::npos) return parts;
    begin = end + separator.size();
  }
}

std::string ascii_case(int line, std::string_view name, const std::string& text) {
  std::string result = text;
  for (char& c : result) {
    if (static_cast<unsigned char>(c) >= 0x80) {
      refuse(line, fmt::format("{}() of text beyond ASCII", name));
    }
    if (name == "upper" && c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
    if (name == "lower" && c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

}  // namespace

bool is_string_method(std::string_view name) {
  constexpr std::array<std::string_view, 9> kNames{
      "strip", "lstrip", "rstrip", "startswith", "endswith", "split", "upper", "lower", "replace"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

Value string_method(int line, std::string_view name, const std::string& self,
                    const List& arguments) {
  std::vector<std::string> texts;
  for (const Value& argument : arguments) {
    const auto* text = argument.as<std::string>();
    if (text == nullptr) {
      refuse(line, fmt::format("{}() with an argument of type {}", name, type_name(argument)));
    }
    texts.push_back(*text);
  }
  const std::size_t count = texts.size();
  const bool strips = name == "strip" || name == "lstrip" || name == "rstrip";
  if (strips && count == 0) return stripped(self, "", name != "rstrip", name != "lstrip");
  if (strips && count == 1 && !texts[0].empty()) {
    return stripped(self, texts[0], name != "rstrip", name != "lstrip");
  }
  if (name == "startswith" && count == 1) return self.starts_with(texts[0]);
  if (name == "endswith" && count == 1) return self.ends_with(texts[0]);
  if (name == "split" && count == 1 && !texts[0].empty())
    return make_list(split(line, self, texts[0]));
  if (name == "replace" && count == 2 && !texts[0].empty()) {
    return replaced(line, self, texts[0], texts[1]);
  }
  if ((name == "upper" || name == "lower") && count == 0) return ascii_case(line, name, self);
  refuse(line, fmt::format("{}() with {} arguments like these", name, count));
}

std::size_t characters(std::string_view text) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < text.size(); i += utf8_at(text, i).bytes) ++count;
  return count;
}

std::string stripped(std::string_view text, std::string_view set, bool left, bool right) {
  std::unordered_set<char32_t> members;
  for (std::size_t i = 0; i < set.size(); i += utf8_at(set, i).bytes) {
    members.insert(utf8_at(set, i).code);
  }
  const auto strips = [&](std::string_view character) {
    const char32_t code = utf8_at(character, 0).code;
    return set.empty() ? is_space(code) : members.contains(code);
  };
  while (left && !text.empty()) {
    const std::size_t bytes = utf8_at(text, 0).bytes;
    if (!strips(text.substr(0, bytes))) break;
    text.remove_prefix(bytes);
  }
  while (right && !text.empty()) {
    std::size_t begin = text.size() - 1;
    while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
    if (!strips(text.substr(begin))) break;
    text = text.substr(0, begin);
  }
  return std::string(text);
}

std::string replaced(int line, std::string_view text, std::string_view from, std::string_view to) {
  std::string result;
  for (std::size_t begin = 0;;) {
    const std::size_t end = find(text, from, begin);
    append(line, result, text.substr(begin, end - begin));
    if (end == std::string_view::npos) return result;
    append(line, result, to);
    begin = end + from.size();
  }
}

void append(int line, std::string& text, std::string_view more) {
  if (text.size() + more.size() > kMaxTextBytes) {
    refuse(line, fmt::format("text longer than {} MiB", kMaxTextBytes >> 20));
  }
  text += more;
}

// Walks: a list of a long text's characters would take a hundred times its memory.
std::string picked(std::string_view text, std::int64_t begin, std::int64_t end,
                   std::int64_t stride) {
  std::string result;
  std::int64_t at = 0;   // the character that
  std::size_t byte = 0;  // begins here
  for (std::int64_t i = begin; stride > 0 ? i < end : i > end;) {
    for (; at < i; ++at) byte += utf8_at(text, byte).bytes;
    for (; at > i; --at) {
      while ((static_cast<unsigned char>(text[--byte]) & 0xC0) == 0x80) {
      }
    }
    result += text.substr(byte, utf8_at(text, byte).bytes);
    if (__builtin_add_overflow(i, stride, &i)) break;
  }
  return result;
}

// string_view's own compares all of `part` at every place: a text of one letter, repeated, would
// take hours.
std::size_t find(std::string_view text, std::string_view part, std::size_t from) {
  if (from > text.size()) return std::string_view::npos;
  const std::string_view rest = text.substr(from);
  const void* found = memmem(rest.data(), rest.size(), part.data(), part.size());
  if (found == nullptr) return std::string_view::npos;
  return static_cast<std::size_t>(static_cast<const char*>(found) - text.data());
}

}  // namespace sluice::tokenizer::jinja
