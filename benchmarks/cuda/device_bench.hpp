// `sluice bench moe` on a GPU.
//
// Time is the device's own, of replays of a graph that holds eight calls with a routing each, so
// that decode sizes do not live in cache; a row's time is an eighth of it. Read bandwidth, a dense
// product and replays follow each other in every round. Before anything is timed a few tokens are
// compared with the definition, and a replay with plain calls, bit by bit.
#pragma once

#include "moe_bench.hpp"

namespace sluice::bench {

MoeBenchReport run_device_bench(const MoeBenchOptions& options,
                                const std::function<void(const MoeBenchReport&)>& progress);

}  // namespace sluice::bench
