// A layer's tensors by the names of `sluice layer`: what the command line and Python hand in.
#pragma once

#include <functional>
#include <list>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <sluice/weights.hpp>

#include "base/aligned_buffer.hpp"

namespace sluice {

using NamedTensors = std::map<std::string, TensorView, std::less<>>;

// "gate_up_proj", "down_proj", "shared.gate_up_proj", "router.weight", …
std::span<const std::string_view> weight_names();

// Experts come stacked, [experts, …]. A stack of all router.num_experts is in global order, as in a
// checkpoint, and this rank's are taken from it: also where an expert_map holds every expert, in
// another order. A shorter stack is this rank's experts, in local order. F32 matrices are rounded
// to a 16-bit weight_format. Whether the result fits the spec is check_weights' business.
class NamedWeights {
 public:
  // The tensors' memory must outlive this object. Throws Error(user) for names that are no part of
  // a layer, each with the nearest that is, and with what check_weights finds beside them.
  NamedWeights(const MoeSpec& spec, NamedTensors tensors);
  NamedWeights(const NamedWeights&) = delete;
  NamedWeights& operator=(const NamedWeights&) = delete;
  const MoeWeights& weights() const { return weights_; }

 private:
  void refuse_unknown() const;
  TensorView given(std::string_view name) const;
  TensorView matrix(std::string_view name);
  ExpertMatrices matrices(std::string_view name);
  TensorView rows_of_local_experts(std::string_view name);

  MoeSpec spec_;
  std::vector<std::int64_t> local_;  // global ids of this rank's experts, in local order
  NamedTensors tensors_;
  std::list<AlignedBuffer> owned_;  // what had to be rounded or gathered
  MoeWeights weights_;
};

}  // namespace sluice
