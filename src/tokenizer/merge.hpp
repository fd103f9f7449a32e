// Byte-pair merging of one word: the best-ranked adjacent pair first, the leftmost of equals.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <queue>
#include <vector>

#include <sluice/tokenizer.hpp>

namespace sluice::tokenizer {

struct Symbol {
  TokenId id;
  std::size_t begin, end;  // bytes of the word; end == begin: merged into its left neighbour
  std::size_t previous, next;
};

constexpr std::size_t kNoSymbol = std::numeric_limits<std::size_t>::max();

struct Merge {
  std::uint32_t rank;  // lower is merged earlier
  TokenId id;
};

inline void append_symbol(std::vector<Symbol>& symbols, TokenId id, std::size_t begin,
                          std::size_t end) {
  const std::size_t index = symbols.size();
  if (index > 0) symbols.back().next = index;
  symbols.push_back({id, begin, end, index == 0 ? kNoSymbol : index - 1, kNoSymbol});
}

// `merge_of(left, right)` -> optional<Merge> says what two neighbouring symbols become. Survivors
// are the symbols with end != begin. O(n log n): each merge adds at most two candidates.
template <typename MergeOf>
void merge_symbols(std::vector<Symbol>& symbols, const MergeOf& merge_of) {
  struct Candidate {
    std::uint32_t rank;
    std::size_t left;
    TokenId id;
    std::size_t end;  // of the pair when it was seen: a later merge of either side moves it
    bool operator<(const Candidate& other) const {  // priority_queue: the greatest comes first
      return rank != other.rank ? rank > other.rank : left > other.left;
    }
  };
  std::vector<Candidate> storage;
  storage.reserve(symbols.size());
  std::priority_queue candidates(std::less<Candidate>{}, std::move(storage));
  const auto consider = [&](std::size_t left) {
    if (left == kNoSymbol || symbols[left].next == kNoSymbol) return;
    const Symbol& right = symbols[symbols[left].next];
    if (const std::optional<Merge> merge = merge_of(symbols[left], right)) {
      candidates.push({merge->rank, left, merge->id, right.end});
    }
  };
  for (std::size_t left = 0; left + 1 < symbols.size(); ++left) consider(left);
  while (!candidates.empty()) {
    const Candidate best = candidates.top();
    candidates.pop();
    Symbol& left = symbols[best.left];
    if (left.begin == left.end || left.next == kNoSymbol) continue;
    Symbol& right = symbols[left.next];
    if (right.end != best.end) continue;
    left.id = best.id;
    left.end = right.end;
    right.end = right.begin;
    left.next = right.next;
    if (left.next != kNoSymbol) symbols[left.next].previous = best.left;
    consider(left.previous);
    consider(best.left);
  }
}

}  // namespace sluice::tokenizer
