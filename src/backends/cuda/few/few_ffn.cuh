// The feed-forward kernel of few tokens: that of ffn_kernel.cuh, with a plan of its own.
#pragma once

#include "backends/cuda/few/dense_plan.cuh"
#include "backends/cuda/few/sorted_plan.cuh"
#include "backends/cuda/ffn/ffn_kernel.cuh"

namespace sluice::cuda {

// While there is no plan, the ring's memory is the warps' scratch.
template <typename Shape, typename OwnPlan, int kPlanners = 0>
struct FewShared {
  FfnShared<Shape> ffn;
  OwnPlan plan;

  // A warp's group_scratch() with as many groups as experts.
  static constexpr int kMostScratch = (kChoiceFloats + 2 * kFewExperts) * 4;
  static_assert(kMostScratch * ((Shape::kThreads + kPlanners) / 32) <= sizeof ffn.stages);
  __device__ float* scratch() { return reinterpret_cast<float*>(ffn.stages); }
};

// The kernel that stages the tokens lets these start when all before it was done: logits and count
// are there.

template <typename Shape, typename Act, int kPerLane, int... kTokens>
__global__ void __launch_bounds__(Shape::kThreads, 1)
    dense_ffn_kernel(const __grid_constant__ Ffn ffn, const __grid_constant__ Routing routing) {
  extern __shared__ std::uint8_t memory[];
  auto& shared = aligned_shared<FewShared<Shape, DensePlan>>(memory);
  if (threadIdx.x == 0) shared.ffn.init();
  start_next();
  shared.plan.clear(ffn.plan.local_experts);
  __syncthreads();
  shared.plan.template mark<kPerLane>(routing, ffn.plan.live_tokens(), shared.scratch());
  int claimed = 0;
  if (threadIdx.x == kClaimer) {  // the answer is under way meanwhile
    wait_for_earlier();           // … until what is counted up is cleared
    claimed = claim_tile(ffn);
  }
  proxy_fence();  // what was scratch is about to be written by the copy engine
  __syncthreads();
  shared.plan.list(ffn.plan.local_experts);
  __syncthreads();
  wait_for_earlier();
  const DenseSegments segments(shared.plan, ffn.plan);
  work<Shape, Act, kTokens...>(ffn, Schedule<Shape::kRowTiles, DenseSegments>(ffn, segments),
                               claimed, shared.ffn);
}

// Threads that only plan, beside those of the FFN, since a warp routes its tokens one after the
// other. (With sixteen tokens a larger CTA would start later than it is done sooner.)
inline constexpr int kPlanners = 256;

// Here what is counted up was cleared a kernel earlier: weights come before the tokens are staged.
template <typename Shape, typename Act, int kPerLane, int... kTokens>
__global__ void __launch_bounds__(Shape::kThreads + kPlanners, 1)
    sorted_ffn_kernel(const __grid_constant__ Ffn ffn, const __grid_constant__ Routing routing) {
  extern __shared__ std::uint8_t memory[];
  auto& shared = aligned_shared<FewShared<Shape, SortedPlan, kPlanners>>(memory);
  SortedPlan& plan = shared.plan;
  if (threadIdx.x == 0) shared.ffn.init();
  const int claimed = threadIdx.x == kClaimer ? claim_tile(ffn) : 0;
  plan.clear();
  __syncthreads();
  choose_few<kPerLane>(routing, ffn.plan.live_tokens(), shared.scratch(),
                       [&](int token, int, std::int32_t local) { plan.mark(token, local); });
  proxy_fence();  // what was scratch is about to be written by the copy engine
  __syncthreads();
  plan.list();
  __syncthreads();
  if (threadIdx.x >= Shape::kThreads) return;
  if (threadIdx.x == kTokenProducer) {
    wait_for_earlier();
    start_next();  // whose plan is that of the kernel that stages
  }
  work<Shape, Act, kTokens...>(ffn, Schedule<Shape::kRowTiles, SortedSegments>(ffn, {plan}),
                               claimed, shared.ffn);
}

// Rings no deeper than memory needs: who claims far ahead keeps others from the last tiles.
using Dense = FfnShape<1, false, 1, kDenseTokens, 8>;
using Sorted = FfnShape<2, true, 1, kFewTokens, 8>;

template <typename Act, int kPerLane>
void launch_dense_ffn(const Ffn& ffn, const Routing& routing, cudaStream_t stream) {
  constexpr std::size_t kBytes = kAlignedBytes<FewShared<Dense, DensePlan>>;
  const auto kernel = dense_ffn_kernel<Dense, Act, kPerLane, 8, 16>;
  allow_shared_memory(kernel, kBytes);
  launch("dense_ffn", kernel, multiprocessors(), Dense::kThreads, kBytes, stream, ffn, routing);
}

template <typename Shape, typename Act, int kPerLane, int... kTokens>
void launch_sorted_ffn(const Ffn& ffn, const Routing& routing, cudaStream_t stream) {
  constexpr std::size_t kBytes = kAlignedBytes<FewShared<Shape, SortedPlan, kPlanners>>;
  const auto kernel = sorted_ffn_kernel<Shape, Act, kPerLane, kTokens...>;
  allow_shared_memory(kernel, kBytes);
  launch("sorted_ffn", kernel, multiprocessors(), Shape::kThreads + kPlanners, kBytes, stream, ffn,
         routing);
}

template <typename Act>
void dense_ffn(const Ffn& ffn, const Routing& routing, cudaStream_t stream) {
  with_experts_per_lane<kFewExperts>(routing.router.num_experts, [&]<int kPerLane>() {
    launch_dense_ffn<Act, kPerLane>(ffn, routing, stream);
  });
}

template <typename Act>
void sorted_ffn(const Ffn& ffn, const Routing& routing, cudaStream_t stream) {
  with_experts_per_lane<kFewExperts>(routing.router.num_experts, [&]<int kPerLane>() {
    launch_sorted_ffn<Sorted, Act, kPerLane, 8, 16, 32, 64>(ffn, routing, stream);
  });
}

}  // namespace sluice::cuda
