// The safetensors files of `sluice layer`: names and shapes as docs/semantics.md §5 gives them.
#pragma once

#include <sluice/backend.hpp>
#include <sluice/checkpoint.hpp>
#include <sluice/spec.hpp>
#include <sluice/weights.hpp>
#include <string>
#include <vector>

#include "layer/named_weights.hpp"

namespace sluice::cli {

class LayerWeights {
 public:
  LayerWeights(const std::string& path, const MoeSpec& spec);
  const MoeWeights& weights() const { return named_.weights(); }

 private:
  Checkpoint file_;
  NamedWeights named_;
};

struct LayerInput {
  explicit LayerInput(const std::string& path);
  Checkpoint file;
  ForwardInput tensors;
  std::vector<std::string> unread;  // tensors of the file that the layer does not know
};

}  // namespace sluice::cli
