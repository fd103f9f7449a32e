// One expert on one token, in double.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <sluice/spec.hpp>

namespace sluice::reference {

// Weights unpacked to fp32, which holds every format exactly; gate and up apart, whatever the
// checkpoint's gate_up_order.
struct ExpertWeights {
  std::int64_t width = 0;                 // I of this rank, or the shared block's
  std::vector<float> gate;                // [width, H]; of kinds without a gate: the one matrix
  std::vector<float> up;                  // [width, H]; empty without a gate
  std::vector<float> down;                // [H, width]
  std::vector<float> gate_bias, up_bias;  // [width] or empty
  std::vector<float> down_bias;           // [H] or empty
  std::size_t bytes() const;
};

// result [H] = down(act(gate x, up x)), without down_bias. x [H] and `hidden` [width] (scratch)
// hold values of activation_format.
void run_expert(const ExpertSpec& experts, const ExpertWeights& weights, std::span<const double> x,
                std::span<double> hidden, std::span<double> result);

// Accumulated in double; eight interleaved sums, so that the compiler may use vectors without
// changing the order.
double dot(std::span<const float> weights, std::span<const double> x);

}  // namespace sluice::reference
