// Hooks that replace the router in front of a correct backend, and pieces that forward hooks share.
#pragma once

#include <functional>

#include "audit/faults/fault.hpp"
#include "audit/faults/router_model.hpp"

namespace sluice::auditing {

// Routes with the faulty model and hands ids and weights to the inner backend. Calls that come
// with given routing are not touched.
MakeFault router_fault(const RouterFaults& faults);

// As above, but the switches depend on the call: a bug that only shows for some specs or sizes.
MakeFault router_fault_when(
    const std::function<RouterFaults(const MoeSpec&, std::int64_t tokens)>& faults);

// What the layer's router decides, as tensors that can be given to the inner backend.
struct RoutedTokens {
  OwnedTensor ids;      // [tokens, K] i32
  OwnedTensor weights;  // [tokens, K] f32
};
RoutedTokens route_call(const Call& call, std::span<const float> router_bias,
                        std::span<const float> correction_bias, const RouterFaults& faults);
// Replaces the call's logits by the routing and reports it in the call's optional outputs.
void give_routing(Call& call, const RoutedTokens& routed);

// Runs the inner backend into fp32 scratch, lets `edit` change [tokens, H] values, then rounds them
// into the caller's buffer.
void edit_output(Call& call, const std::function<void(std::span<float>)>& edit);

}  // namespace sluice::auditing
