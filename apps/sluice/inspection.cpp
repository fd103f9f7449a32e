#include "inspection.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sluice/error.hpp>
#include <sluice/fields.hpp>
#include <sstream>

#include "output/table.hpp"

namespace sluice::cli {
namespace {

using Json = nlohmann::ordered_json;

// "2-5, 7".
std::string ranges_of(const std::vector<std::int64_t>& numbers) {
  std::vector<std::string> parts;
  for (std::size_t i = 0; i < numbers.size();) {
    std::size_t end = i + 1;
    while (end < numbers.size() && numbers[end] == numbers[end - 1] + 1) ++end;
    parts.push_back(end - i == 1 ? fmt::format("{}", numbers[i])
                                 : fmt::format("{}-{}", numbers[i], numbers[end - 1]));
    i = end;
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

// Names in lines of at most 100 characters, indented.
std::string wrapped(const std::vector<std::string_view>& names) {
  std::string text;
  std::size_t width = 0;
  for (std::string_view name : names) {
    const bool new_line = width == 0 || width + name.size() + 2 > 100;
    if (new_line) width = 0;
    text += new_line ? (text.empty() ? "  " : ",\n  ") : ", ";
    text += name;
    width += name.size() + 2;
  }
  return text + "\n";
}

// Fields that ask something of a backend come first.
std::string fields_text(const MoeSpec& spec) {
  Table table({{"field"}, {"value", true}, {"neutral", true}, {"meaning"}});
  std::vector<std::string_view> neutral;
  for (const Field& field : fields()) {
    if (field.is_neutral(spec)) {
      neutral.push_back(field.name);
    } else {
      table.add({std::string(field.name), field.value(spec), std::string(field.neutral),
                 std::string(field.meaning)});
    }
  }
  return table.text() + "at their neutral values:\n" + wrapped(neutral);
}

std::string verdict(const SpecInspection& inspection, const Candidate& candidate) {
  if (candidate.backend == inspection.chosen) return "chosen";
  if (candidate.unavailable) return "not available";
  return candidate.support.ok() ? "usable" : "refuses";
}

std::string candidates_text(const SpecInspection& inspection) {
  Table table({{"backend"}, {"verdict"}, {"variant, or why not"}});
  for (const Candidate& candidate : inspection.candidates) {
    const std::string name(candidate.backend->name());
    std::vector<std::string> reasons;
    if (candidate.unavailable) {
      reasons.push_back(*candidate.unavailable);
    } else if (candidate.support.ok()) {
      reasons.push_back(candidate.support.variant);
    }
    for (const Refusal& refusal : candidate.support.refusals) {
      reasons.push_back(refusal.field + " " + refusal.reason);
    }
    table.add({name, verdict(inspection, candidate), reasons.front()});
    for (std::size_t i = 1; i < reasons.size(); ++i) table.add({"", "", reasons[i]});
  }
  std::string text = table.text();
  // The first line says which choice failed; the reasons, before which it has a colon, stand in the
  // table.
  if (!inspection.chosen) {
    std::string line = inspection.no_choice.substr(0, inspection.no_choice.find('\n'));
    if (line.ends_with(':')) line.pop_back();
    text += line + "\n";
  }
  return text;
}

const SpecInspection* spec_of_layer(const Inspection& inspection, std::int64_t layer) {
  for (const SpecInspection& spec : inspection.specs) {
    if (std::count(spec.layers.begin(), spec.layers.end(), layer) > 0) return &spec;
  }
  return nullptr;
}

std::string layers_text(const Inspection& inspection) {
  Table table({{"layer", true}, {"mixer"}, {"mlp"}, {"backend"}, {"variant"}});
  for (const LayerDescription& layer : inspection.model->layers) {
    const SpecInspection* spec = spec_of_layer(inspection, layer.index);
    const bool chosen = spec != nullptr && spec->chosen != nullptr;
    table.add({fmt::format("{}", layer.index), layer.mixer, layer.moe ? "moe" : "dense",
               chosen ? std::string(spec->chosen->name()) : (layer.moe ? "none" : ""),
               chosen ? spec->variant : ""});
  }
  return table.text();
}

std::string figures_text(const Inspection& inspection) {
  std::string text;
  if (inspection.tensors) {
    const TensorFigures& figures = *inspection.tensors;
    text += fmt::format("tensors: {}, {} on disk, of which routed experts {}\n", figures.count,
                        human_bytes(static_cast<double>(figures.bytes)),
                        human_bytes(static_cast<double>(figures.expert_bytes)));
  }
  if (!inspection.tensor_problems.empty()) text += inspection.tensor_problems + "\n";
  if (inspection.expected_tensors > 0) {
    text += fmt::format("tensors of a released checkpoint: {}\n", inspection.expected_tensors);
  }
  if (inspection.memory) {
    const MemoryFigures& memory = *inspection.memory;
    text += fmt::format("memory: weights {} (MoE layers {}); per sequence {} and {} per token\n",
                        human_bytes(static_cast<double>(memory.weight_bytes)),
                        human_bytes(static_cast<double>(memory.expert_bytes)),
                        human_bytes(static_cast<double>(memory.sequence_fixed_bytes)),
                        human_bytes(static_cast<double>(memory.sequence_bytes_per_token)));
  }
  return text;
}

std::string expected_text(const std::vector<ExpectedTensor>& tensors) {
  Table table({{"tensor"}, {"shape"}});
  for (const ExpectedTensor& tensor : tensors) {
    table.add({tensor.name, to_string(tensor.shape)});
  }
  return table.text();
}

std::string tensors_text(const std::vector<TensorInfo>& tensors) {
  Table table({{"tensor"}, {"dtype"}, {"shape"}, {"size", true}, {"file"}});
  for (const TensorInfo& tensor : tensors) {
    table.add({tensor.name, std::string(to_string(tensor.dtype)), to_string(tensor.shape),
               human_bytes(static_cast<double>(tensor.bytes)), tensor.file});
  }
  return table.text();
}

Json shape_json(const Shape& shape) {
  Json json = Json::array();
  for (int axis = 0; axis < shape.rank(); ++axis) json.push_back(shape[axis]);
  return json;
}

// Its lines, but for the first, which says what they are.
Json problems_json(const std::string& problems) {
  Json json = Json::array();
  std::istringstream lines(problems);
  std::string line;
  std::getline(lines, line);
  while (std::getline(lines, line)) json.push_back(line.substr(line.find_first_not_of(' ')));
  return json;
}

Json candidate_json(const Candidate& candidate) {
  Json json{{"backend", candidate.backend->name()},
            {"usable", candidate.usable()},
            {"variant", candidate.support.variant},
            {"unavailable", candidate.unavailable ? Json(*candidate.unavailable) : Json()},
            {"refusals", Json::array()}};
  for (const Refusal& refusal : candidate.support.refusals) {
    json["refusals"].push_back({{"field", refusal.field}, {"reason", refusal.reason}});
  }
  return json;
}

Json spec_json(const SpecInspection& inspection) {
  Json json{{"layers", inspection.layers},
            {"spec", Json::parse(print_spec(inspection.spec))},
            {"fields", Json::array()},
            {"backend", inspection.chosen ? Json(inspection.chosen->name()) : Json()},
            {"variant", inspection.variant},
            {"candidates", Json::array()}};
  for (const Field& field : fields()) {
    json["fields"].push_back({{"name", field.name},
                              {"value", field.value(inspection.spec)},
                              {"is_neutral", field.is_neutral(inspection.spec)}});
  }
  for (const Candidate& candidate : inspection.candidates) {
    json["candidates"].push_back(candidate_json(candidate));
  }
  return json;
}

}  // namespace

bool Inspection::ok() const {
  return tensor_problems.empty() &&
         std::all_of(specs.begin(), specs.end(),
                     [](const SpecInspection& spec) { return spec.chosen != nullptr; });
}

SpecInspection inspect_spec(const MoeSpec& spec, const std::string& forced_backend) {
  SpecInspection inspection;
  inspection.spec = spec;
  for (const Backend* backend : backends()) {
    inspection.candidates.push_back({backend, backend->unavailable(), negotiate(*backend, spec)});
  }
  try {
    Choice choice = choose_backend(spec, forced_backend);
    inspection.chosen = choice.backend;
    inspection.variant = std::move(choice.variant);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::unsupported) throw;
    inspection.no_choice = error.what();
  }
  return inspection;
}

std::string report_text(const Inspection& inspection) {
  std::string text;
  if (inspection.model) {
    const ModelDescription& model = *inspection.model;
    text += fmt::format("{}: {}, {} layers, hidden size {}, vocabulary {}\n\n", inspection.source,
                        model.model_type, model.layers.size(), model.hidden_size, model.vocab_size);
    text += layers_text(inspection) + "\n";
  }
  for (const SpecInspection& spec : inspection.specs) {
    text += spec.layers.empty() ? inspection.source + "\n"
                                : fmt::format("MoE layers {}\n", ranges_of(spec.layers));
    text += fields_text(spec.spec) + "\n" + candidates_text(spec) + "\n";
  }
  text += figures_text(inspection);
  if (inspection.list_expected) text += "\n" + expected_text(inspection.model->tensors);
  if (!inspection.tensor_list.empty()) text += "\n" + tensors_text(inspection.tensor_list);
  return text;
}

nlohmann::ordered_json report_json(const Inspection& inspection) {
  Json json{{"source", inspection.source}, {"specs", Json::array()}};
  if (inspection.model) {
    const ModelDescription& model = *inspection.model;
    json["model_type"] = model.model_type;
    json["hidden_size"] = model.hidden_size;
    json["vocab_size"] = model.vocab_size;
    for (const LayerDescription& layer : model.layers) {
      const SpecInspection* spec = spec_of_layer(inspection, layer.index);
      json["layers"].push_back(
          {{"index", layer.index},
           {"mixer", layer.mixer},
           {"mlp", layer.moe ? "moe" : "dense"},
           {"backend", spec && spec->chosen ? Json(spec->chosen->name()) : Json()}});
    }
  }
  for (const SpecInspection& spec : inspection.specs) json["specs"].push_back(spec_json(spec));
  if (inspection.tensors) {
    json["tensor_count"] = inspection.tensors->count;
    json["tensor_bytes"] = inspection.tensors->bytes;
    json["expert_bytes"] = inspection.tensors->expert_bytes;
    json["tensor_problems"] = problems_json(inspection.tensor_problems);
  }
  if (inspection.expected_tensors > 0) json["tensor_count"] = inspection.expected_tensors;
  if (inspection.list_expected) {
    for (const ExpectedTensor& tensor : inspection.model->tensors) {
      json["tensors"].push_back({{"name", tensor.name}, {"shape", shape_json(tensor.shape)}});
    }
  }
  for (const TensorInfo& tensor : inspection.tensor_list) {
    json["tensors"].push_back({{"name", tensor.name},
                               {"dtype", to_string(tensor.dtype)},
                               {"shape", shape_json(tensor.shape)},
                               {"bytes", tensor.bytes},
                               {"file", tensor.file}});
  }
  if (inspection.memory) {
    json["memory"] = {{"weight_bytes", inspection.memory->weight_bytes},
                      {"expert_bytes", inspection.memory->expert_bytes},
                      {"sequence_fixed_bytes", inspection.memory->sequence_fixed_bytes},
                      {"sequence_bytes_per_token", inspection.memory->sequence_bytes_per_token}};
  }
  return json;
}

}  // namespace sluice::cli
