// Few tokens. The FFN's CTAs do not wait for a plan: each finds out for itself who is hit, while
// the tokens are staged. With the fewest, every expert that is hit computes all of them ("dense"),
// so that nothing is sorted, and the last kernel weighs its tokens' slots for itself, too.
#pragma once

#include "backends/cuda/flow_choice.hpp"
#include "backends/cuda/params.hpp"

namespace sluice::cuda {

// One launch each, in the order of the stream. Dense: `staging` has one group of x for every eight
// tokens, and slot outputs are rows token * K + slot of FfnBlocks::y.
void stage_dense(const Routing& routing, const Plan& plan, const Staging& staging,
                 cudaStream_t stream);
void run_dense_ffn(const Ffn& ffn, const Routing& routing, cudaStream_t stream);
void combine_dense(const Combine& args, const Plan& plan, const Routing& routing,
                   cudaStream_t stream);

// Sorted by experts, for combine().
void clear_counters(const Plan& plan, cudaStream_t stream);
void stage_sorted(const Routing& routing, const Plan& plan, const Staging& staging,
                  cudaStream_t stream);
void run_sorted_ffn(const Ffn& ffn, const Routing& routing, cudaStream_t stream);

}  // namespace sluice::cuda
