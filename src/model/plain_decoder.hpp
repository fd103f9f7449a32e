// What every decoder family refuses in config.json; values are read with ConfigReader.
#pragma once

#include <optional>

#include "spec/config/config_reader.hpp"

namespace sluice {

// Keys that would change the arithmetic of any decoder and that no family here implements:
// quantised weights, soft caps, residual multipliers, scaled rotary embeddings, …
void require_plain_decoder(const ConfigReader& config);

// See ModelDescription::max_positions.
std::optional<std::int64_t> find_max_positions(const ConfigReader& config);

// Refuses a config whose list of tensors alone would fill the memory.
void check_tensor_count(std::int64_t layers, std::int64_t experts);

}  // namespace sluice
