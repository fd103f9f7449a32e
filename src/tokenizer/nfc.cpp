#include "tokenizer/nfc.hpp"

#include <algorithm>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "tokenizer/nfc_table.hpp"
#include "tokenizer/utf8.hpp"

namespace sluice::tokenizer {
namespace {

// Hangul syllables are composed by arithmetic (The Unicode Standard, 3.12).
constexpr char32_t kSyllables = 0xAC00, kLeads = 0x1100, kVowels = 0x1161, kTrails = 0x11A7;
constexpr char32_t kLeadCount = 19, kVowelCount = 21, kTrailCount = 28;
constexpr char32_t kSyllableCount = kLeadCount * kVowelCount * kTrailCount;

constexpr char32_t kFirstThatMayChange = 0x300;  // all of Latin up to here is composed already

std::uint8_t combining_class(char32_t code) {
  const auto ranges = combining_ranges();
  const auto range = std::partition_point(ranges.begin(), ranges.end(),
                                          [&](const CombiningRange& r) { return r.last < code; });
  return range != ranges.end() && range->first <= code ? range->combining_class : 0;
}

void decompose(char32_t code, std::vector<char32_t>& out) {
  if (code - kSyllables < kSyllableCount) {
    const char32_t index = code - kSyllables;
    out.push_back(kLeads + index / (kVowelCount * kTrailCount));
    out.push_back(kVowels + index % (kVowelCount * kTrailCount) / kTrailCount);
    if (index % kTrailCount != 0) out.push_back(kTrails + index % kTrailCount);
    return;
  }
  const auto table = decompositions();
  const auto entry = std::partition_point(table.begin(), table.end(),
                                          [&](const Decomposition& d) { return d.code < code; });
  if (entry == table.end() || entry->code != code) {
    out.push_back(code);
    return;
  }
  decompose(entry->first, out);
  if (entry->second != 0) decompose(entry->second, out);
}

void order_marks(std::vector<char32_t>& text) {
  for (auto begin = text.begin(); begin != text.end();) {
    const auto is_starter = [](char32_t code) { return combining_class(code) == 0; };
    const auto end = std::find_if(begin, text.end(), is_starter);
    std::stable_sort(
        begin, end, [](char32_t a, char32_t b) { return combining_class(a) < combining_class(b); });
    begin = end == text.end() ? end : end + 1;
  }
}

// 0: they do not compose.
char32_t composed(char32_t first, char32_t second) {
  if (first - kLeads < kLeadCount && second - kVowels < kVowelCount) {
    return kSyllables + ((first - kLeads) * kVowelCount + (second - kVowels)) * kTrailCount;
  }
  if (first - kSyllables < kSyllableCount && (first - kSyllables) % kTrailCount == 0 &&
      second > kTrails && second < kTrails + kTrailCount) {
    return first + (second - kTrails);
  }
  static const auto pairs = [] {
    std::unordered_map<std::uint64_t, char32_t> map;
    for (const Decomposition& d : decompositions()) {
      if (d.composes) map.emplace(std::uint64_t{d.first} << 32 | d.second, d.code);
    }
    return map;
  }();
  const auto pair = pairs.find(std::uint64_t{first} << 32 | second);
  return pair == pairs.end() ? 0 : pair->second;
}

void compose(std::vector<char32_t>& text) {
  constexpr std::size_t kNone = static_cast<std::size_t>(-1);
  std::size_t starter = kNone;
  std::size_t kept = 0;
  int last_class = 0;  // of the character kept last after the starter
  for (const char32_t code : text) {
    const int current = combining_class(code);
    const bool adjacent = starter != kNone && kept == starter + 1;
    if (starter != kNone && (adjacent || last_class < current)) {
      if (const char32_t joined = composed(text[starter], code)) {
        text[starter] = joined;
        continue;
      }
    }
    if (current == 0) starter = kept;
    last_class = current;
    text[kept++] = code;
  }
  text.resize(kept);
}

}  // namespace

std::string nfc(std::string_view text) {
  std::vector<char32_t> codes;
  bool may_change = false;
  for (std::size_t i = 0; i < text.size();) {
    const Utf8Char c = utf8_at(text, i);
    may_change |= c.code >= kFirstThatMayChange;
    codes.push_back(c.code);
    i += c.bytes;
  }
  if (!may_change) return std::string(text);
  std::vector<char32_t> decomposed;
  decomposed.reserve(codes.size());
  for (const char32_t code : codes) decompose(code, decomposed);
  order_marks(decomposed);
  compose(decomposed);
  std::string result;
  for (const char32_t code : decomposed) append_utf8(result, code);
  return result;
}

}  // namespace sluice::tokenizer
