// Two 4-bit values in a byte: element 2i in the low nibble, element 2i+1 in the high nibble.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sluice::formats {

inline std::uint8_t load_nibble(const void* base, std::int64_t index) {
  const std::uint8_t byte = static_cast<const std::uint8_t*>(base)[index / 2];
  return index % 2 == 0 ? byte & 0xf : byte >> 4;
}

// The byte must have been zero before its first nibble is stored.
inline void store_nibble(std::byte* base, std::int64_t index, std::uint8_t nibble) {
  base[index / 2] |= std::byte{nibble} << (index % 2 == 0 ? 0 : 4);
}

}  // namespace sluice::formats
