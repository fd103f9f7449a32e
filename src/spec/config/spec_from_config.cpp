#include <array>
#include <vector>

#include <sluice/presets.hpp>

#include "base/fail.hpp"
#include "base/nearest_name.hpp"
#include "spec/config/common.hpp"
#include "spec/config/family_readers.hpp"

namespace sluice {
namespace {

struct FamilyReader {
  std::string_view model_type;
  MoeSpec (*read)(const ConfigReader&);
};

constexpr std::array<FamilyReader, 13> kReaders{{
    {"afmoe", config::read_afmoe},
    {"deepseek_v2", config::read_deepseek_v2},
    {"deepseek_v3", config::read_deepseek_v3},
    {"ernie4_5_moe", config::read_ernie4_5_moe},
    {"glm4_moe", config::read_glm4_moe},
    {"gpt_oss", config::read_gpt_oss},
    {"kimi_k2", config::read_deepseek_v3},
    {"kimi_linear", config::read_kimi_linear},
    {"minimax_m2", config::read_minimax_m2},
    {"mixtral", config::read_mixtral},
    {"olmoe", config::read_olmoe},
    {"qwen3_moe", config::read_qwen3_moe},
    {"qwen3_next", config::read_qwen3_next},
}};

const FamilyReader& reader_for(const std::string& model_type) {
  std::vector<std::string_view> known;
  for (const FamilyReader& reader : kReaders) {
    if (reader.model_type == model_type) return reader;
    known.push_back(reader.model_type);
  }
  fail(ErrorKind::checkpoint, "config.json: model_type is \"{}\"{}; known: {}",
       model_type.substr(0, 80), did_you_mean(model_type, known), fmt::join(known, ", "));
}

}  // namespace

MoeSpec spec_from_config(const std::string& config_json_text) {
  const ConfigReader reader(config_json_text);
  MoeSpec spec = reader_for(reader.text("model_type")).read(reader);
  config::read_formats(reader, spec.experts);
  reader.refuse_unread_moe_keys();
  try {
    validate(spec);
  } catch (const Error& error) {
    fail(ErrorKind::checkpoint, "config.json: {}", error.what());
  }
  return spec;
}

}  // namespace sluice
