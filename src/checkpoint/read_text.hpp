// The text files beside the tensors, read whole.
#pragma once

#include <filesystem>
#include <string>

namespace sluice {

// Larger than any config, index or tokenizer of a real model; small enough to parse anywhere.
inline constexpr std::size_t kLongestText = 256u << 20;

// Throws Error(checkpoint) when the file cannot be read or is longer than kLongestText.
std::string read_text(const std::filesystem::path& path);

}  // namespace sluice
