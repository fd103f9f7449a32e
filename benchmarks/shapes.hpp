// The layers that are measured, and how their tokens are spread over experts.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <sluice/spec.hpp>

namespace sluice::bench {

struct Shape {
  std::string name;
  std::int64_t hidden, intermediate, experts, top_k;
  // Weights of one expert, bf16.
  std::int64_t expert_bytes() const { return 3 * hidden * intermediate * 2; }
};

std::span<const Shape> shapes();
// A known name, or four numbers "H,I,E,K". Throws Error(user) with the nearest known name.
Shape shape(std::string_view name);

// uniform: every expert alike. zipf: expert of rank r with probability ~ 1/r. hot: one expert gets
// every token, the others share the remaining choices.
enum class Draw : std::uint8_t { uniform, zipf, hot };
Draw parse_draw(std::string_view name);  // throws Error(user)
std::string_view to_string(Draw draw);

// Router logits [tokens, experts] whose top-k follows the draw.
std::vector<float> draw_logits(const Shape& shape, Draw draw, std::int64_t tokens,
                               std::uint32_t seed);

// Softmax, renormalised, times a factor.
MoeSpec bench_spec(const Shape& shape);

}  // namespace sluice::bench
