// The text files beside the tensors, read whole.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

namespace sluice {

// JSON takes some 25 bytes of memory per byte of text. A config takes kilobytes, some hundred where
// it lists a quantised model's modules; the index of a model of a million tensors 100 MiB.
inline constexpr std::size_t kLongestConfig = 4u << 20;
inline constexpr std::size_t kLongestIndex = 256u << 20;

// Throws Error(checkpoint) when the file cannot be read or is longer than `longest` bytes.
std::string read_text(const std::filesystem::path& path, std::size_t longest);

}  // namespace sluice
