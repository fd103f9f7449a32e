// A small layer of small integers: every product and partial sum is exact in fp32, so results
// compare bit by bit however the sums are split.
#pragma once

#include <cstdint>
#include <sluice/layer.hpp>
#include <vector>

namespace sluice::test {

struct SmallLayer {
  SmallLayer();  // E 6, K 3, H 8, I 16, relu2, one gated shared expert 32 wide

  MoeSpec spec;
  std::vector<float> router_weight;    // [E, H]
  std::vector<float> correction_bias;  // [E]
  std::vector<float> gate_up;          // [E, I, H]
  std::vector<float> down;             // [E, H, I]
  std::vector<float> shared_gate_up;   // [32, H]
  std::vector<float> shared_down;      // [H, 32]

  // Tensors of the given local experts (global numbers), shared ones included.
  MoeWeights weights(const std::vector<std::int64_t>& experts) const;
  MoeWeights weights() const;  // all of them

  // What one rank of tensor parallelism holds.
  SmallLayer slice(std::int64_t rank, std::int64_t size) const;
};

// Small integers of both signs, never all alike.
std::vector<float> integers(std::size_t count, std::uint32_t seed, int magnitude);

template <typename T>
TensorView view(const std::vector<T>& values, DType dtype, Shape shape) {
  return {values.data(), dtype, shape, {}};
}

struct Tokens {
  explicit Tokens(std::int64_t count, DType output = DType::f32);
  std::int64_t count;
  std::vector<float> hidden;  // [count, 8]
  std::vector<float> logits;  // [count, 6]
  DType output_dtype;
  std::vector<std::byte> output;
  std::vector<std::int32_t> ids;  // [count, 3]
  std::vector<float> weights;     // [count, 3]

  ForwardInput from_hidden() const;
  ForwardInput from_logits() const;
  ForwardOutput views();
  float output_at(std::int64_t index) const;
};

}  // namespace sluice::test
