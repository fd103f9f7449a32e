#include "shapes.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <sluice/error.hpp>

namespace sluice::bench {
namespace {

TEST(Shapes, AreNamesOrFourNumbers) {
  EXPECT_EQ(shape("deepseek-v3").hidden, 7168);
  const Shape custom = shape("4096,1536,64,6");
  EXPECT_EQ(custom.hidden, 4096);
  EXPECT_EQ(custom.intermediate, 1536);
  EXPECT_EQ(custom.experts, 64);
  EXPECT_EQ(custom.top_k, 6);
  EXPECT_EQ(custom.expert_bytes(), 6 * 4096 * 1536);
  for (const char* wrong : {"4096,1536,64", "4096,1536,64,6,1", "4096,1536,64,6x", "4096,0,64,6",
                            "4096,1536,4,6", "", "deepseek-v4"}) {
    EXPECT_THROW(shape(wrong), Error) << wrong;
  }
}

std::set<std::int64_t> hit_by(const Shape& shape, Draw draw, std::int64_t tokens,
                              std::int64_t* of_first) {
  const std::vector<float> logits = draw_logits(shape, draw, tokens, 7);
  std::set<std::int64_t> hit;
  *of_first = 0;
  for (std::int64_t token = 0; token < tokens; ++token) {
    const float* row = logits.data() + token * shape.experts;
    std::vector<std::int64_t> order(static_cast<std::size_t>(shape.experts));
    for (std::int64_t e = 0; e < shape.experts; ++e) order[static_cast<std::size_t>(e)] = e;
    std::partial_sort(order.begin(), order.begin() + shape.top_k, order.end(),
                      [&](auto a, auto b) { return row[a] > row[b]; });
    for (std::int64_t k = 0; k < shape.top_k; ++k) {
      hit.insert(order[static_cast<std::size_t>(k)]);
      *of_first += order[static_cast<std::size_t>(k)] == 0;
    }
  }
  return hit;
}

TEST(Draws, SpreadTokensAsTheySay) {
  const Shape layer = shape("256,128,64,4");
  std::int64_t uniform = 0, zipf = 0, hot = 0;
  EXPECT_EQ(hit_by(layer, Draw::uniform, 400, &uniform).size(), 64u);
  hit_by(layer, Draw::zipf, 400, &zipf);
  hit_by(layer, Draw::hot, 400, &hot);
  EXPECT_EQ(hot, 400);
  EXPECT_GT(zipf, 3 * uniform);
  EXPECT_LT(uniform, 60);
}

TEST(BenchSpec, IsNotNeutral) {
  const MoeSpec spec = bench_spec(shape("qwen3-30b"));
  EXPECT_TRUE(spec.router.norm_topk_prob);
  EXPECT_NE(spec.router.routed_scaling_factor, 1.0);
}

}  // namespace
}  // namespace sluice::bench
