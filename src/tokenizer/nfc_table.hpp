// Unicode's data for canonical composition (NFC); nfc_table.cpp is generated.
#pragma once

#include <cstdint>
#include <span>

namespace sluice::tokenizer {

struct Decomposition {
  char32_t code;           // ascending
  char32_t first, second;  // second 0: `code` stands for one other character
  bool composes;           // first + second becomes code again
};

struct CombiningRange {
  char32_t first, last;  // ascending
  std::uint8_t combining_class;
};

std::span<const Decomposition> decompositions();
std::span<const CombiningRange> combining_ranges();

}  // namespace sluice::tokenizer
