// A layer's tensors as plain floats, gate and up apart: what the oracle and the models compute on.
#pragma once

#include <vector>

#include <sluice/weights.hpp>

namespace sluice::auditing {

struct UnpackedExpert {
  std::vector<float> gate;  // [width, H]; of kinds without a gate the only matrix of GEMM 1
  std::vector<float> up;    // [width, H] or empty
  std::vector<float> down;  // [H, width]
  std::vector<float> gate_bias, up_bias;  // [width] or empty
  std::vector<float> down_bias;           // [H] or empty; empty where tp_rank > 0
};

struct Unpacked {
  std::vector<float> router_bias;       // [E] or empty
  std::vector<float> correction_bias;   // [E] or empty
  std::vector<float> shared_gate;       // [H] or empty
  std::vector<UnpackedExpert> experts;  // local order
  UnpackedExpert shared;                // empty matrices: no shared experts
};

Unpacked unpack(const MoeSpec& spec, const MoeWeights& weights);

}  // namespace sluice::auditing
