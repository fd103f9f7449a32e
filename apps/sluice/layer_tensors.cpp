#include "layer_tensors.hpp"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/fail.hpp"

namespace sluice::cli {
namespace {

constexpr std::array<std::string_view, 4> kInputNames{"hidden_states", "router_logits", "topk_ids",
                                                      "topk_weights"};

NamedTensors all_tensors(const Checkpoint& file) {
  NamedTensors tensors;
  for (const TensorInfo& tensor : file.tensors()) {
    tensors.emplace(tensor.name, file.tensor(tensor.name));
  }
  return tensors;
}

}  // namespace

LayerWeights::LayerWeights(const std::string& path, const MoeSpec& spec)
    : file_(Checkpoint::open(path)), named_(spec, all_tensors(file_)) {}

LayerInput::LayerInput(const std::string& path) : file(Checkpoint::open(path)) {
  const auto given = [&](const char* name) { return file.find(name).value_or(TensorView{}); };
  if (!file.contains("hidden_states")) {
    fail(ErrorKind::user, "{} holds no tensor \"hidden_states\"", path);
  }
  tensors.hidden_states = given("hidden_states");
  tensors.router_logits = given("router_logits");
  tensors.topk_ids = given("topk_ids");
  tensors.topk_weights = given("topk_weights");
  for (const TensorInfo& tensor : file.tensors()) {
    if (std::find(kInputNames.begin(), kInputNames.end(), tensor.name) == kInputNames.end()) {
      unread.push_back(tensor.name);
    }
  }
}

}  // namespace sluice::cli
