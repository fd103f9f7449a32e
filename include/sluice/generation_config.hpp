// What a checkpoint says about generating with it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace sluice {

class Checkpoint;

// Absent keys stay nullopt (or empty): the generator has its own defaults.
struct GenerationConfig {
  std::vector<std::int64_t> eos_token_ids;
  std::optional<std::int64_t> bos_token_id;
  std::optional<std::int64_t> pad_token_id;
  std::optional<bool> do_sample;
  std::optional<double> temperature;
  std::optional<std::int64_t> top_k;
  std::optional<double> top_p;
  std::optional<double> min_p;
};

// From the text of generation_config.json (or of config.json, whose token ids have the same keys).
// Unknown keys are ignored; known ones of a wrong type or range are Error(checkpoint).
GenerationConfig parse_generation_config(const std::string& json_text);

// generation_config.json if there is one; token ids that it does not give come from config.json.
GenerationConfig generation_config(const Checkpoint& checkpoint);

}  // namespace sluice
