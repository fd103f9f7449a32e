// The header of a safetensors file: what is where.
//
//   u64 N, little-endian | N bytes of JSON | tensor bytes to the end of the file
//   {"__metadata__": {"key": "text"}, "name": {"dtype": "BF16", "shape": [2, 3],
//    "data_offsets": [begin, end]}}     offsets count from the end of the JSON
//
// The tensors must cover the bytes after the JSON exactly: no gap, no overlap, nothing left over.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <vector>

#include <sluice/tensor.hpp>

namespace sluice {

// The format's own limit.
inline constexpr std::size_t kLongestHeader = 100'000'000;

struct HeaderEntry {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  std::size_t begin = 0;  // in the file
  std::size_t end = 0;
};

struct SafetensorsHeader {
  std::vector<HeaderEntry> entries;  // in file order
  std::map<std::string, std::string> metadata;
};

// `file_name` is for messages. Throws Error(checkpoint); whatever returns may be read safely.
SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file,
                                           const std::string& file_name);

}  // namespace sluice
