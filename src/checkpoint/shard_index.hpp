// model.safetensors.index.json: which shard holds which tensor.
#pragma once

#include <map>
#include <string>

namespace sluice {

inline constexpr const char* kIndexName = "model.safetensors.index.json";

// Tensor name -> file name inside the directory. Throws one Error(checkpoint) listing every entry
// whose file is not a plain name: shards of a checkpoint lie beside its index, nowhere else.
std::map<std::string, std::string> parse_shard_index(const std::string& json_text);

}  // namespace sluice
