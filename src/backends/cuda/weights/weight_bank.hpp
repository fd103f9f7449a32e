// A rank's weights in device memory: tiles, biases and what routing needs.
#pragma once

#include <cstdint>

#include <sluice/spec.hpp>
#include <sluice/weights.hpp>

#include "backends/cuda/device/device_memory.hpp"
#include "backends/cuda/layout.hpp"

namespace sluice::cuda {

class WeightBank {
 public:
  // Packs from host or device memory, matrix by matrix: beside the packed weights only one matrix
  // of the checkpoint's stands in device memory at a time.
  WeightBank(const MoeSpec& spec, const MoeWeights& weights, int device);

  std::size_t bytes() const { return matrices_.size() + vectors_.size() + router_.size(); }

  BlockShape routed, shared;  // shared.width = 0: none
  std::int64_t local_experts = 0;
  const std::uint8_t* weights1 = nullptr;  // [local experts] tiles
  const std::uint8_t* weights2 = nullptr;
  const std::uint8_t* shared1 = nullptr;
  const std::uint8_t* shared2 = nullptr;
  // fp32, or null where the spec has none.
  const float* bias1 = nullptr;                // [local experts, 2, units]
  const float* down_bias = nullptr;            // [local experts, H]; tp_rank 0 only
  const float* router_bias = nullptr;          // [E]
  const float* correction_bias = nullptr;      // [E]
  const float* shared_gate = nullptr;          // [H]
  const std::int32_t* local_expert = nullptr;  // [E] global -> local or -1; null: the same
  const void* router_weight = nullptr;         // [E, H], as it was given; null: it was not
  DType router_dtype = DType::bf16;

 private:
  DeviceBuffer matrices_, vectors_, router_;
};

}  // namespace sluice::cuda
