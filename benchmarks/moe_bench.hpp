// `sluice bench moe`: whole layers, from logits to output, against what the machine could do.
//
// One row per number of tokens. Rounds interleave: read bandwidth, arithmetic rate, this backend
// and the peer follow each other on the same routing, so that whatever else the machine is doing
// falls on all of them; ratios are taken per round. Every round has another routing, so that decode
// sizes do not live in cache.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <sluice/backend.hpp>

#include "shapes.hpp"
#include "spread.hpp"

namespace sluice::bench {

inline constexpr std::size_t kRoutings = 8;  // of each number of tokens

struct MoeBenchOptions {
  Shape shape;
  Draw draw = Draw::uniform;
  std::vector<std::int64_t> tokens{1, 8, 32, 128, 512, 2048};
  std::string backend = "cpu";
  int threads = 0;                      // as make_executor
  std::string peer;                     // find_peer's name; only with backends on the CPU
  bool may_round_slot_outputs = false;  // LoadOptions
  double seconds_per_row = 2.0;
  int least_rounds = 5;
  std::uint32_t seed = 1;  // of the routing
  // Read in every round for the bandwidth, on the CPU: several times the last cache.
  std::size_t ceiling_bytes = std::size_t{512} << 20;
};

struct MoeBenchRow {
  std::int64_t tokens = 0;
  std::int64_t experts_hit = 0;  // of the median round
  int rounds = 0;
  Spread milliseconds;        // this backend, routing included
  Spread floor_milliseconds;  // the larger of bytes / bandwidth and operations / rate
  Spread percent_of_floor;
  Spread bandwidth;   // bytes per second, read
  Spread arithmetic;  // operations per second
  // Peer, and this backend's time over the peer's: below 1 is faster. Zeros without a peer.
  Spread peer_milliseconds;
  Spread ratio;
  double bytes = 0.0;       // of the experts that were hit
  double operations = 0.0;  // of their products
  std::size_t workspace_bytes = 0;
  std::int64_t checked_tokens = 0;  // compared with the reference before timing
};

struct MoeBenchReport {
  Shape shape;
  Draw draw = Draw::uniform;
  int threads = 0;
  std::string variant;
  bool may_round_slot_outputs = false;
  std::string peer;  // empty: none
  std::string machine;
  std::string arithmetic_source;  // what the arithmetic rate is of
  std::size_t weight_bytes = 0;   // packed
  std::vector<MoeBenchRow> rows;
};

// `progress` is called after every row, with what was measured so far. Throws Error(user) when the
// layer, what its peer keeps and what the comparison takes do not fit in the memory that is free.
MoeBenchReport run_moe_bench(const MoeBenchOptions& options,
                             const std::function<void(const MoeBenchReport&)>& progress = {});

std::string to_json(const MoeBenchReport& report);
// A table for people, one line per row.
std::string to_text(const MoeBenchReport& report);

}  // namespace sluice::bench
