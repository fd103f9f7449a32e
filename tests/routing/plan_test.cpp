#include "routing/plan.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

namespace sluice {
namespace {

struct Built {
  std::vector<std::byte> memory;
  ExpertPlan plan;
};

Built build(const PlanInput& input) {
  Workspace counted;
  EXPECT_EQ(build_plan(input, counted).rows(), 0);
  Built built;
  built.memory.assign(counted.used() + 64, std::byte{0xff});
  auto* base = built.memory.data();
  base += 64 - reinterpret_cast<std::uintptr_t>(base) % 64;
  Workspace workspace(base);
  built.plan = build_plan(input, workspace);
  EXPECT_EQ(workspace.used(), counted.used());
  return built;
}

TEST(Plan, SortsByExpertThenTokenThenSlotAndSkipsStrangers) {
  // Experts 0..4; 3 lives elsewhere, the map is no identity.
  const std::vector<std::int32_t> local{2, 0, 3, -1, 1};
  const std::vector<std::int32_t> ids{4, 3, 1,  //
                                      0, 1, -1, 2, 4, 0};
  const std::vector<float> weights{.1f, .2f, .3f, .4f, .5f, .6f, .7f, .8f, .9f};
  const Built built = build({3, 3, ids, weights, local, 4});
  const ExpertPlan& plan = built.plan;
  const auto list = [](auto span) { return std::vector(span.begin(), span.end()); };
  EXPECT_EQ(list(plan.expert_offsets), (std::vector<std::int64_t>{0, 2, 4, 6, 7}));
  EXPECT_EQ(list(plan.row_token), (std::vector<std::int64_t>{0, 1, 0, 2, 1, 2, 2}));
  EXPECT_EQ(list(plan.row_weight), (std::vector<float>{.3f, .5f, .1f, .8f, .4f, .9f, .7f}));
  EXPECT_EQ(list(plan.slot_row), (std::vector<std::int64_t>{2, -1, 0, 4, 1, -1, 6, 3, 5}));
  EXPECT_EQ(plan.rows(), 7);
}

TEST(Plan, EveryLocalSlotHasItsRowAndNoOther) {
  std::mt19937 generator(1);
  std::vector<std::int32_t> local(64);
  for (std::size_t e = 0; e < 64; ++e)
    local[e] = e % 3 == 0 ? -1 : static_cast<int>(e / 3 * 2 + e % 3 - 1);
  std::vector<std::int32_t> ids(500 * 4);
  std::vector<float> weights(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    ids[i] = static_cast<std::int32_t>(generator() % 64);
    weights[i] = static_cast<float>(i);
  }
  const Built built = build({500, 4, ids, weights, local, 43});
  std::vector<int> uses(static_cast<std::size_t>(built.plan.rows()));
  for (std::size_t slot = 0; slot < ids.size(); ++slot) {
    const std::int64_t row = built.plan.slot_row[slot];
    const std::int32_t expert = local[static_cast<std::size_t>(ids[slot])];
    ASSERT_EQ(row >= 0, expert >= 0);
    if (row < 0) continue;
    const auto at = static_cast<std::size_t>(row);
    ++uses[at];
    EXPECT_EQ(built.plan.row_token[at], static_cast<std::int64_t>(slot / 4));
    EXPECT_EQ(built.plan.row_weight[at], static_cast<float>(slot));
    EXPECT_GE(row, built.plan.expert_offsets[static_cast<std::size_t>(expert)]);
    EXPECT_LT(row, built.plan.expert_offsets[static_cast<std::size_t>(expert) + 1]);
  }
  for (int use : uses) EXPECT_EQ(use, 1);
}

TEST(Plan, NoTokensAndNoExperts) {
  const std::vector<std::int32_t> nobody{-1, -1};
  EXPECT_EQ(build({0, 3, {}, {}, nobody, 2}).plan.rows(), 0);
  const std::vector<std::int32_t> ids{0, 1};
  const std::vector<float> weights{1, 1};
  EXPECT_EQ(build({1, 2, ids, weights, nobody, 0}).plan.rows(), 0);
}

TEST(GivenRouting, DropsWhatNamesNobodyTwiceOrNothing) {
  const std::vector<std::int64_t> given{3, 3, 8, -1, 0, 2};
  const std::vector<float> weights{.5f, .5f, .5f, .5f, INFINITY, .25f};
  std::vector<std::int32_t> ids(6);
  std::vector<float> out(6);
  read_given_routing({given.data(), DType::i64, {2, 3}, {}},
                     {weights.data(), DType::f32, {2, 3}, {}}, 8, ids, out);
  EXPECT_EQ(ids, (std::vector<std::int32_t>{3, -1, -1, -1, -1, 2}));
  EXPECT_EQ(out, (std::vector<float>{.5f, 0, 0, 0, 0, .25f}));
}

}  // namespace
}  // namespace sluice
