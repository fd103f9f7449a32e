#define PCRE2_CODE_UNIT_WIDTH 8
#include "tokenizer/regex_property.hpp"

#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <utility>

namespace sluice::tokenizer {
namespace {

using Entry = std::pair<std::string_view, std::string_view>;

// Loose names (lower case, no separators). General categories come first: "l" is no script.
constexpr std::array kNames{
    Entry{"letter", "L"},
    Entry{"uppercaseletter", "Lu"},
    Entry{"lowercaseletter", "Ll"},
    Entry{"titlecaseletter", "Lt"},
    Entry{"casedletter", "L&"},
    Entry{"lc", "L&"},
    Entry{"modifierletter", "Lm"},
    Entry{"otherletter", "Lo"},
    Entry{"mark", "M"},
    Entry{"nonspacingmark", "Mn"},
    Entry{"spacingmark", "Mc"},
    Entry{"enclosingmark", "Me"},
    Entry{"number", "N"},
    Entry{"decimalnumber", "Nd"},
    Entry{"letternumber", "Nl"},
    Entry{"othernumber", "No"},
    Entry{"punctuation", "P"},
    Entry{"connectorpunctuation", "Pc"},
    Entry{"dashpunctuation", "Pd"},
    Entry{"openpunctuation", "Ps"},
    Entry{"closepunctuation", "Pe"},
    Entry{"initialpunctuation", "Pi"},
    Entry{"finalpunctuation", "Pf"},
    Entry{"otherpunctuation", "Po"},
    Entry{"symbol", "S"},
    Entry{"mathsymbol", "Sm"},
    Entry{"currencysymbol", "Sc"},
    Entry{"modifiersymbol", "Sk"},
    Entry{"othersymbol", "So"},
    Entry{"separator", "Z"},
    Entry{"spaceseparator", "Zs"},
    Entry{"lineseparator", "Zl"},
    Entry{"paragraphseparator", "Zp"},
    Entry{"other", "C"},
    Entry{"control", "Cc"},
    Entry{"cntrl", "Cc"},
    Entry{"format", "Cf"},
    Entry{"surrogate", "Cs"},
    Entry{"privateuse", "Co"},
    Entry{"unassigned", "Cn"},
    Entry{"digit", "Nd"},
    Entry{"any", "Any"},
    Entry{"alpha", "Alphabetic"},
    Entry{"upper", "Uppercase"},
    Entry{"lower", "Lowercase"},
};

constexpr std::string_view kCategories = "CLMNPSZ";
constexpr std::string_view kSubcategories =
    "CcCfCnCoCsLlLmLoLtLuMcMeMnNdNlNoPcPdPePfPiPoPsScSkSmSoZlZpZs";

bool is_category(std::string_view name) {
  if (name.size() == 1) return kCategories.find(name[0]) != std::string_view::npos;
  const std::size_t at = kSubcategories.find(name);
  return name.size() == 2 && at != std::string_view::npos && at % 2 == 0;
}

std::string loose(std::string_view name) {
  std::string key;
  for (const char c : name) {
    if (c == ' ' || c == '-' || c == '_') continue;
    key.push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c);
  }
  return key;
}

bool pcre2_knows(const std::string& body) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(body.data()), body.size(),
                                   PCRE2_UTF, &error, &offset, nullptr);
  pcre2_code_free(code);
  return code != nullptr;
}

}  // namespace

std::string property_class(std::string_view name) {
  std::string key = loose(name);
  const bool wordlike = !key.empty() && std::all_of(key.begin(), key.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
  });
  if (!wordlike) return {};
  if (key == "word") return std::string(word_class());
  if (key == "space" || key == "whitespace") return std::string(white_space_class());
  if (key == "alnum") return R"(\p{Alphabetic}\p{Nd})";
  if (key == "blank") return R"(\p{Zs}\t)";
  if (key == "xdigit") return "0-9A-Fa-f";
  if (key == "punct") return R"(\p{P})";
  // Oniguruma's meaning of these differs from ours-by-name and no tokenizer needs them.
  if (key == "graph" || key == "print") return {};
  for (const auto& [known, ours] : kNames) {
    if (key == known) return fmt::format("\\p{{{}}}", ours);
  }
  std::string category = key;
  if (key.size() <= 2) category[0] = static_cast<char>(category[0] - 'a' + 'A');
  if (is_category(category)) return fmt::format("\\p{{{}}}", category);
  const std::string script = fmt::format("\\p{{sc:{}}}", key);
  if (pcre2_knows(script)) return script;
  const std::string property = fmt::format("\\p{{{}}}", key);
  return pcre2_knows(property) ? property : std::string{};
}

std::string_view white_space_class() {
  return R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
}

std::string_view word_class() {
  // The superscripts and fractions of Latin-1 are Oniguruma's own addition.
  return R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{b2}\x{b3}\x{b9}\x{bc}-\x{be})";
}

}  // namespace sluice::tokenizer
