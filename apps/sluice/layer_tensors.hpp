// The safetensors files of `sluice layer`: names and shapes as docs/semantics.md §5 gives them.
#pragma once

#include <list>
#include <sluice/backend.hpp>
#include <sluice/checkpoint.hpp>
#include <sluice/spec.hpp>
#include <sluice/weights.hpp>
#include <string>
#include <vector>

#include "base/aligned_buffer.hpp"

namespace sluice::cli {

// Stacked weights, over all experts or over this rank's: of all E, the local ones are taken. F32
// matrices are rounded to the spec's 16-bit weight_format. A tensor with an unknown name is an
// error, because a misspelt bias must not be lost.
class LayerWeights {
 public:
  LayerWeights(const std::string& path, const MoeSpec& spec);
  const MoeWeights& weights() const { return weights_; }

 private:
  TensorView matrix(const char* name);
  ExpertMatrices matrices(const char* name);
  TensorView rows_of_local_experts(const char* name);
  void refuse_unknown_names() const;

  const MoeSpec& spec_;
  std::vector<std::int64_t> local_;  // local expert -> global expert
  Checkpoint file_;
  std::list<AlignedBuffer> owned_;
  MoeWeights weights_;
};

struct LayerInput {
  explicit LayerInput(const std::string& path);
  Checkpoint file;
  ForwardInput tensors;
  std::vector<std::string> unread;  // tensors of the file that the layer does not know
};

}  // namespace sluice::cli
