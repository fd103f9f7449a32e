// Twenty lines that use an installed Sluice: a layer whose factor must arrive.
#include <cstdio>
#include <sluice/sluice.hpp>
#include <vector>

int main() {
  int only_wall_minds;  // -Wall asks about it; the consumer did not ask for -Wall
  const sluice::MoeSpec spec = sluice::parse_spec(R"({
    "router": {"num_experts": 2, "top_k": 1, "score_func": "none", "routed_scaling_factor": 3.0},
    "experts": {"hidden_size": 8, "intermediate_size": 8, "activation": "identity",
                "weight_format": "f32", "activation_format": "f32"}})");
  std::vector<float> ones(2 * 8 * 8, 1.0f), x(8, 1.0f), logits{0.5f, 2.0f}, y(8);
  sluice::MoeWeights weights;
  const auto f32 = sluice::DType::f32;
  weights.gate_up_proj = weights.down_proj =
      sluice::split_experts({ones.data(), f32, {2, 8, 8}, {}});
  sluice::MoeLayer layer(spec, weights);
  layer.forward({{x.data(), f32, {1, 8}, {}}, {logits.data(), f32, {1, 2}, {}}, {}, {}},
                {{y.data(), f32, {1, 8}, {}}, {}, {}});
  std::printf("%s: %g\n", std::string(layer.backend().name()).c_str(), static_cast<double>(y[0]));
  return y[0] == 3.0f * 2.0f * 8.0f * 8.0f ? 0 : 1;  // factor * weight * sums of ones
}
