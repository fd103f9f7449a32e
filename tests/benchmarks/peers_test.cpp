// Somebody else's experts beside ours: are they the same experts, and is it said when they are not
// in this build?
#include <gtest/gtest.h>

#include <sluice/error.hpp>
#include <string>
#include <string_view>

#include "moe_bench.hpp"
#include "peer.hpp"

namespace sluice::bench {
namespace {

TEST(Peers, AreFoundByName) {
  EXPECT_EQ(find_peer("none"), nullptr);
  for (const PeerEntry& entry : peers()) {
    if (entry.make != nullptr) {
      EXPECT_EQ(find_peer(entry.name), &entry);
      continue;
    }
    try {
      find_peer(entry.name);
      ADD_FAILURE() << entry.name;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::user);
      EXPECT_NE(std::string(error.what()).find(entry.how_to_build), std::string::npos);
    }
  }
  EXPECT_THROW(find_peer("oneDnn"), Error);
}

TEST(BenchWeights, DifferBetweenExperts) {
  const Shape layer = shape("64,32,6,2");
  const BenchWeights weights(layer);
  const MoeWeights views = weights.views();
  ASSERT_EQ(views.gate_up_proj.size(), 6u);
  for (std::int64_t e = 1; e < layer.experts; ++e) {
    ASSERT_EQ(weights.gate_up(e).size(), std::size_t{2 * 32 * 64});
    ASSERT_EQ(weights.down(e).size(), std::size_t{32 * 64});
    EXPECT_NE(weights.gate_up(e)[5], weights.gate_up(e - 1)[5]);
    EXPECT_EQ(views.down_proj[static_cast<std::size_t>(e)].data, weights.down(e).data());
  }
}

// A run compares a few tokens of everybody with the reference, and throws when one is wrong.
// Figures do not matter here: little memory is read for the bandwidth, or most of the time would go
// there.
MoeBenchReport small_run(std::string_view peer) {
  MoeBenchOptions options;
  options.shape = shape("192,88,6,3");
  options.tokens = {1, 33, 2};
  options.peer = peer;
  options.threads = 2;
  options.seconds_per_row = 1e-3;
  options.least_rounds = 1;
  options.ceiling_bytes = std::size_t{4} << 20;
  return run_moe_bench(options);
}

TEST(MoeBench, ComparesEveryRowWithTheReference) {
  const MoeBenchReport report = small_run("none");
  EXPECT_TRUE(report.peer.empty());
  ASSERT_EQ(report.rows.size(), 3u);
  const std::int64_t checked[] = {1, 3, 2};
  for (std::size_t i = 0; i < report.rows.size(); ++i) {
    EXPECT_EQ(report.rows[i].checked_tokens, checked[i]);
    EXPECT_GT(report.rows[i].milliseconds.median, 0.0);
    EXPECT_EQ(report.rows[i].peer_milliseconds.median, 0.0);
  }
}

TEST(Peers, ComputeTheSameExperts) {
  int computed = 0;
  for (const PeerEntry& entry : peers()) {
    if (entry.make == nullptr) continue;
    try {
      const MoeBenchReport report = small_run(entry.name);
      EXPECT_FALSE(report.peer.empty());
      for (const MoeBenchRow& row : report.rows) EXPECT_GT(row.peer_milliseconds.median, 0.0);
      ++computed;
    } catch (const Error& error) {
      // oneDNN without AVX-512.
      EXPECT_EQ(error.kind(), ErrorKind::unsupported) << error.what();
    }
  }
  if (computed == 0) GTEST_SKIP() << "this build has no peer, or none for this machine";
}

}  // namespace
}  // namespace sluice::bench
