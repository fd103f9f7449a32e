#include "shapes.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <optional>
#include <random>

#include "base/fail.hpp"
#include "base/nearest_name.hpp"

namespace sluice::bench {
namespace {

// "2048,768,128,8"; nothing where that is not four numbers.
std::optional<Shape> custom_shape(std::string_view text) {
  std::array<std::int64_t, 4> numbers{};
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), numbers[i]);
    if (error != std::errc() || numbers[i] < 1) return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    if (i + 1 == numbers.size()) break;
    if (!text.starts_with(',')) return std::nullopt;
    text.remove_prefix(1);
  }
  if (!text.empty()) return std::nullopt;
  return Shape{"custom", numbers[0], numbers[1], numbers[2], numbers[3]};
}

constexpr std::array<std::string_view, 3> kDraws{"uniform", "zipf", "hot"};

}  // namespace

std::span<const Shape> shapes() {
  static const std::array list{
      Shape{"kimi-linear", 2304, 1024, 256, 8}, Shape{"trinity-mini", 2048, 1024, 128, 8},
      Shape{"qwen3-30b", 2048, 768, 128, 8},    Shape{"deepseek-v3", 7168, 2048, 256, 8},
      Shape{"mixtral-8x7b", 4096, 14336, 8, 2},
  };
  return list;
}

Shape shape(std::string_view name) {
  std::vector<std::string_view> known;
  for (const Shape& candidate : shapes()) {
    if (candidate.name == name) return candidate;
    known.push_back(candidate.name);
  }
  if (const auto custom = custom_shape(name)) {
    validate(bench_spec(*custom));
    return *custom;
  }
  fail(ErrorKind::user, "no shape is named \"{}\"; there are {}, or H,I,E,K as numbers{}", name,
       fmt::join(known, ", "), did_you_mean(name, known));
}

Draw parse_draw(std::string_view name) {
  for (std::size_t i = 0; i < kDraws.size(); ++i) {
    if (kDraws[i] == name) return static_cast<Draw>(i);
  }
  fail(ErrorKind::user, "no draw is named \"{}\"; there are {}{}", name, fmt::join(kDraws, ", "),
       did_you_mean(name, kDraws));
}

std::string_view to_string(Draw draw) { return kDraws[static_cast<std::size_t>(draw)]; }

// Gumbel noise on log-probabilities: the top k of a row are k draws without replacement.
std::vector<float> draw_logits(const Shape& shape, Draw draw, std::int64_t tokens,
                               std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::uniform_real_distribution<double> uniform(1e-9, 1.0);
  std::vector<float> logits(static_cast<std::size_t>(tokens * shape.experts));
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const auto expert = static_cast<std::int64_t>(i) % shape.experts;
    double level = 0.0;
    if (draw == Draw::zipf) level = -std::log(static_cast<double>(expert + 1));
    // Always chosen, and the others' scores stay apart in fp32.
    if (draw == Draw::hot && expert == 0) level = 25.0;
    logits[i] = static_cast<float>(level - std::log(-std::log(uniform(generator))));
  }
  return logits;
}

MoeSpec bench_spec(const Shape& shape) {
  MoeSpec spec;
  spec.router.num_experts = shape.experts;
  spec.router.top_k = shape.top_k;
  spec.router.norm_topk_prob = true;
  spec.router.routed_scaling_factor = 2.5;
  spec.experts.hidden_size = shape.hidden;
  spec.experts.intermediate_size = shape.intermediate;
  return spec;
}

}  // namespace sluice::bench
