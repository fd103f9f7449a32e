// Where the tensors of a layer and of a call live.
#pragma once

#include <string_view>

#include <sluice/backend.hpp>

namespace sluice {

// The one device of all tensors of a call; the host where none has an address. Throws Error(user)
// naming two tensors that differ.
Device common_device(const ForwardInput& input, const ForwardOutput& output);

// Every weight must be in host memory or on `device`, the backend's own. Error(unsupported) names
// the first that is elsewhere.
void check_weight_devices(const MoeWeights& weights, Device device, std::string_view backend);

}  // namespace sluice
