// A backend in C++ and its audit: softmax routing over bf16 experts, one token at a time.
//
// Prints the report and returns 0 if no parameter is lost. docs/audit-your-backend.md is the guide.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <iostream>
#include <numeric>
#include <vector>

#include <sluice/audit.hpp>

namespace {

float to_float(std::uint16_t bf16) {
  const std::uint32_t bits = static_cast<std::uint32_t>(bf16) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

std::uint16_t to_bf16(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if (std::isnan(value)) return static_cast<std::uint16_t>(bits >> 16) | 0x40u;
  return static_cast<std::uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

// Element `index` of a BF16 or F32 tensor; tensors may be unaligned.
float load(const sluice::TensorView& tensor, std::int64_t index) {
  const auto* bytes = static_cast<const char*>(tensor.data);
  if (tensor.dtype == sluice::DType::f32) {
    float value;
    std::memcpy(&value, bytes + index * 4, sizeof value);
    return value;
  }
  std::uint16_t half;
  std::memcpy(&half, bytes + index * 2, sizeof half);
  return to_float(half);
}

std::int64_t load_id(const sluice::TensorView& tensor, std::int64_t index) {
  std::int64_t wide = 0;
  std::int32_t narrow = 0;
  const auto* bytes = static_cast<const char*>(tensor.data);
  if (tensor.dtype == sluice::DType::i64) {
    std::memcpy(&wide, bytes + index * 8, sizeof wide);
    return wide;
  }
  std::memcpy(&narrow, bytes + index * 4, sizeof narrow);
  return narrow;
}

std::vector<float> copy(const sluice::TensorView& tensor) {
  std::vector<float> values(static_cast<std::size_t>(tensor.shape.elements()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = load(tensor, static_cast<std::int64_t>(i));
  }
  return values;
}

class MyExperts final : public sluice::Experts {
 public:
  MyExperts(const sluice::MoeSpec& spec, const sluice::MoeWeights& weights) : spec_(spec) {
    for (const auto& matrix : weights.gate_up_proj) gate_up_.push_back(copy(matrix));
    for (std::size_t e = 0; e < weights.gate_proj.size(); ++e) {  // or gate and up apart
      gate_up_.push_back(copy(weights.gate_proj[e]));
      const std::vector<float> up = copy(weights.up_proj[e]);
      gate_up_.back().insert(gate_up_.back().end(), up.begin(), up.end());
    }
    for (const auto& matrix : weights.down_proj) down_.push_back(copy(matrix));
  }

  std::size_t workspace_bytes(std::int64_t) const override { return bytes_needed(); }
  std::size_t weight_bytes() const override {
    return gate_up_.size() * (gate_up_[0].size() + down_[0].size()) * sizeof(float);
  }

  void forward(const sluice::ForwardInput& input, const sluice::ForwardOutput& output,
               std::span<std::byte> workspace, void*) const override {
    auto* scores = reinterpret_cast<float*>(workspace.data());                     // [E]
    float* weights = scores + spec_.router.num_experts;                            // [K]
    float* inner = weights + spec_.router.top_k;                                   // [I]
    float* out = inner + spec_.experts.intermediate_size;                          // [H]
    auto* ids = reinterpret_cast<std::int32_t*>(out + spec_.experts.hidden_size);  // [K]
    for (std::int64_t token = 0; token < input.hidden_states.shape[0]; ++token) {
      if (input.router_logits) {
        route(input.router_logits, token, scores, ids, weights);
      } else {
        for (std::int64_t slot = 0; slot < spec_.router.top_k; ++slot) {
          const std::int64_t at = token * spec_.router.top_k + slot;
          ids[slot] = static_cast<std::int32_t>(load_id(input.topk_ids, at));
          weights[slot] = load(input.topk_weights, at);
        }
      }
      std::fill_n(out, spec_.experts.hidden_size, 0.0f);
      for (std::int64_t slot = 0; slot < spec_.router.top_k; ++slot) {
        add_expert(ids[slot], weights[slot], input.hidden_states, token, inner, out);
      }
      write(output, token, ids, weights, out);
    }
  }

 private:
  std::size_t bytes_needed() const {
    return static_cast<std::size_t>(spec_.router.num_experts + 2 * spec_.router.top_k +
                                    spec_.experts.intermediate_size + spec_.experts.hidden_size) *
           sizeof(float);
  }

  // Higher score first, then lower id; NaN last. Scores that are not finite weigh nothing.
  void route(const sluice::TensorView& logits, std::int64_t token, float* scores, std::int32_t* ids,
             float* weights) const {
    const std::int64_t experts = spec_.router.num_experts;
    float largest = -INFINITY;
    float sum = 0.0f;
    for (std::int64_t e = 0; e < experts; ++e) {
      scores[e] = load(logits, token * experts + e);
      largest = std::fmax(largest, scores[e]);
    }
    for (std::int64_t e = 0; e < experts; ++e) sum += scores[e] = std::exp(scores[e] - largest);
    for (std::int64_t e = 0; e < experts; ++e) scores[e] /= sum;
    for (std::int64_t slot = 0; slot < spec_.router.top_k; ++slot) {
      std::int64_t best = -1;
      for (std::int64_t e = 0; e < experts; ++e) {
        if (std::find(ids, ids + slot, e) != ids + slot) continue;
        const bool better = best < 0 || scores[e] > scores[best] ||
                            (std::isnan(scores[best]) && !std::isnan(scores[e]));
        if (better) best = e;
      }
      ids[slot] = static_cast<std::int32_t>(best);
      weights[slot] = std::isfinite(scores[best]) ? scores[best] : 0.0f;
      weights[slot] *= static_cast<float>(spec_.router.routed_scaling_factor);
    }
  }

  // out += weight * down(silu(gate x) * up x)
  void add_expert(std::int32_t id, float weight, const sluice::TensorView& hidden,
                  std::int64_t token, float* inner, float* out) const {
    const std::int64_t width = spec_.experts.intermediate_size;
    const std::int64_t columns = spec_.experts.hidden_size;
    const float* gate_up = gate_up_[static_cast<std::size_t>(id)].data();
    const float* down = down_[static_cast<std::size_t>(id)].data();
    for (std::int64_t i = 0; i < width; ++i) {
      float gate = 0.0f;
      float up = 0.0f;
      for (std::int64_t j = 0; j < columns; ++j) {
        const float x = load(hidden, token * columns + j);
        gate += gate_up[i * columns + j] * x;
        up += gate_up[(width + i) * columns + j] * x;
      }
      inner[i] = to_float(to_bf16(gate / (1.0f + std::exp(-gate)) * up));
    }
    for (std::int64_t j = 0; j < columns; ++j) {
      out[j] += weight * std::inner_product(inner, inner + width, down + j * width, 0.0f);
    }
  }

  void write(const sluice::ForwardOutput& output, std::int64_t token, const std::int32_t* ids,
             const float* weights, const float* out) const {
    const std::int64_t columns = spec_.experts.hidden_size;
    auto* row = static_cast<std::uint16_t*>(output.output.data) + token * columns;
    for (std::int64_t j = 0; j < columns; ++j) row[j] = to_bf16(out[j]);
    const std::int64_t at = token * spec_.router.top_k;
    const auto count = static_cast<std::size_t>(spec_.router.top_k);
    if (output.topk_ids) {
      std::memcpy(static_cast<std::int32_t*>(output.topk_ids.data) + at, ids, count * 4);
    }
    if (output.topk_weights) {
      std::memcpy(static_cast<float*>(output.topk_weights.data) + at, weights, count * 4);
    }
  }

  sluice::MoeSpec spec_;
  std::vector<std::vector<float>> gate_up_;  // per expert [2I, H]
  std::vector<std::vector<float>> down_;     // per expert [H, I]
};

class MyBackend final : public sluice::Backend {
 public:
  std::string_view name() const override { return "mine"; }
  std::optional<std::string> unavailable() const override { return std::nullopt; }
  sluice::FieldSet claims() const override {
    return {"router.num_experts", "router.top_k", "experts.hidden_size",
            "experts.intermediate_size", "router.routed_scaling_factor"};
  }
  sluice::Support supports(const sluice::MoeSpec&) const override { return {"plain C++", {}}; }
  std::unique_ptr<sluice::Experts> load(const sluice::MoeSpec& spec,
                                        const sluice::MoeWeights& weights,
                                        const sluice::LoadOptions&) const override {
    return std::make_unique<MyExperts>(spec, weights);
  }
  bool batch_invariant() const override { return true; }
};

}  // namespace

int main() {
  sluice::AuditOptions options;
  options.allowances.bf16_tokens = true;  // it takes no others
  const sluice::AuditReport report = sluice::audit(MyBackend{}, options);
  std::cout << sluice::audit_text(report);
  return report.ok() ? 0 : 1;
}
