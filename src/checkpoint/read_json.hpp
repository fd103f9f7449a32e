// JSON files beside the tensors: read whole, refused when too long, nested too deep, or when a key
// stands twice.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace sluice {

// Larger than any config, index or tokenizer of a real model; small enough to parse anywhere.
inline constexpr std::size_t kLongestJson = 256u << 20;

// Throws Error(checkpoint) when the file cannot be read or is longer than kLongestJson.
std::string read_text(const std::filesystem::path& path);
// `name` is for messages. The root is an object.
nlohmann::json parse_json_object(const std::string& text, const std::string& name);

}  // namespace sluice
