// The last stage of a pass: a token's slot outputs, biases and shared block into its output row.
#include <algorithm>
#include <cmath>

#include "backends/cpu/pass.hpp"
#include "base/element.hpp"

namespace sluice {
namespace {

// What is summed into one row: a few terms at a time.
class Terms {
 public:
  Terms(const Isa& isa, float* sum, std::int64_t count) : isa_(isa), sum_(sum), count_(count) {}

  void add(const float* row, float weight) {
    if (terms_ == kMost) flush();
    rows_[terms_] = row;
    weights_[terms_++] = weight;
  }

  void flush() {
    isa_.accumulate({sum_, rows_, weights_, terms_, count_, onto_});
    terms_ = 0;
    onto_ = true;
  }

 private:
  static constexpr std::int64_t kMost = 16;
  const Isa& isa_;
  float* sum_;
  std::int64_t count_;
  const float* rows_[kMost] = {};
  float weights_[kMost] = {};
  std::int64_t terms_ = 0;
  bool onto_ = false;
};

}  // namespace

// fp32 sum over slots in slot order, then the factor, then the shared block; rounded once.
void Pass::combine_token(std::int64_t token) const {
  constexpr std::int64_t kColumns = 1024;
  alignas(64) float sum[kColumns];
  const std::int64_t hidden_size = spec.experts.hidden_size;
  const bool on_input = spec.router.apply_router_weight_on_input;
  const float shared = bank.has_shared() ? shared_scale(token) : 0.0f;
  for (std::int64_t first = 0; first < hidden_size; first += kColumns) {
    const std::int64_t count = std::min(kColumns, hidden_size - first);
    const auto y = [&](std::int64_t row) {
      return reinterpret_cast<const float*>(buffers.y.row(row)) + first;
    };
    Terms terms(*kernel.isa, sum, count);
    for (std::int64_t slot = 0; slot < plan.top_k; ++slot) {
      const std::int64_t row = plan.slot_row[static_cast<std::size_t>(token * plan.top_k + slot)];
      if (row < 0) continue;
      const float weight = plan.row_weight[static_cast<std::size_t>(row)];
      terms.add(y(row), on_input ? 1.0f : weight);
      if (!spec.experts.down_bias) continue;
      // The plan's offsets say whose row it is; only a bias makes the expert matter here.
      const auto after =
          std::upper_bound(plan.expert_offsets.begin(), plan.expert_offsets.end(), row);
      const auto& block =
          bank.blocks()[static_cast<std::size_t>(after - plan.expert_offsets.begin() - 1)];
      if (block.down_bias != nullptr) terms.add(block.down_bias + first, weight);
    }
    terms.flush();
    if (spec.router.apply_routed_scale_to_output) {
      const auto factor = static_cast<float>(spec.router.routed_scaling_factor);
      for (std::int64_t i = 0; i < count; ++i) sum[i] *= factor;
    }
    if (bank.has_shared()) {
      terms.add(y(plan.rows() + token), shared);
      terms.flush();
    }
    auto* to = static_cast<std::byte*>(output.data) +
               (token * hidden_size + first) * bits(output.dtype) / 8;
    kernel.isa->convert({sum, to, count, RowFormat::f32, row_format(output.dtype), 1.0f});
  }
}

// sigmoid(w . x) of the shared experts' gate, on the hidden states as given; 1 without a gate.
float Pass::shared_scale(std::int64_t token) const {
  if (shared_gate.empty()) return 1.0f;
  double sums[4] = {};
  const auto count = static_cast<std::int64_t>(shared_gate.size());
  for (std::int64_t i = 0; i < count; ++i) {
    sums[i % 4] += double{shared_gate[static_cast<std::size_t>(i)]} *
                   load_float(hidden.data, hidden.dtype, token * count + i);
  }
  return static_cast<float>(1.0 / (1.0 + std::exp(-(sums[0] + sums[1] + sums[2] + sums[3]))));
}

}  // namespace sluice
