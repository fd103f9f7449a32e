// A case: one layer with its tensors and tokens, whole, so that it can be run anywhere and
// replayed.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include <sluice/backend.hpp>

#include "audit/owned_tensor.hpp"

namespace sluice::auditing {

struct Case {
  std::string regime;
  std::uint64_t seed = 0;
  MoeSpec spec;
  // By the names of `sluice layer`: stacked [local experts, …] matrices, "shared.gate_up_proj",
  // "hidden_states", "router_logits" or "topk_ids" and "topk_weights", …
  std::map<std::string, OwnedTensor, std::less<>> tensors;
  // Operands are independent draws, so that rounding errors may be taken as independent
  // (docs/numerics.md §4). False: worst-case bounds only.
  bool statistical = true;

  const OwnedTensor* find(std::string_view name) const;
  TensorView view(std::string_view name) const;
  std::int64_t tokens() const { return find("hidden_states")->shape()[0]; }
  DType output_dtype() const;

  // Views into this case.
  MoeWeights weights() const;
  ForwardInput input() const;
};

// Whether a tensor of that name belongs to the input file of `sluice layer`, not to the weights.
bool is_input(std::string_view name);

}  // namespace sluice::auditing
