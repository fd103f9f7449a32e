// The CUDA backend: BF16 on Hopper (sm_90a), the whole layer on the device.
#pragma once

#include <sluice/backend.hpp>

namespace sluice {

const Backend& cuda_backend();

}  // namespace sluice
