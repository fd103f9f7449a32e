// Slots' outputs summed, where every warp routes its token for itself, while the FFN runs.
#include "backends/cuda/combine/combine_rows.cuh"
#include "backends/cuda/device/launch.cuh"
#include "backends/cuda/few/few.hpp"
#include "backends/cuda/routing/route_choice.hpp"
#include "backends/cuda/routing/routing.cuh"

namespace sluice::cuda {
namespace {

template <typename Rows, int kPerLane>
__global__ void __launch_bounds__(kCombineBlock * 32)
    combine_dense_kernel(const __grid_constant__ Combine args, const __grid_constant__ Plan plan,
                         const __grid_constant__ Routing routing, int parts) {
  extern __shared__ __align__(16) float scratch[];
  __shared__ OutputSlot slots[kCombineBlock][kMaxTopK];
  start_next();
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  const int task = blockIdx.x * kCombineBlock + warp;
  const int token = task / parts;
  const int part = task % parts;
  const bool live = token < plan.live_tokens();
  RoutedSlot routed;
  if (live) {
    // As in the FFN's kernel, which lets this one start: logits and count are there.
    routed = route_token<kPerLane>(routing, token, scratch + warp * group_scratch(routing.router));
  }
  const std::int32_t local = local_expert(routing, routed);
  slots[warp][lane] = {local < 0 ? -1 : token * plan.top_k + lane, routed.weight, local};
  __syncwarp();
  wait_for_earlier();
  if (!live) return;
  if (part == 0 && lane < plan.top_k) {
    const int slot = token * plan.top_k + lane;
    if (routing.ids_out != nullptr) routing.ids_out[slot] = routed.id;
    if (routing.weights_out != nullptr) routing.weights_out[slot] = routed.weight;
  }
  combine_part<Rows>(args, slots[warp], plan.top_k, token, part, parts);
}

template <typename Rows, int kPerLane>
void run(const Combine& args, const Plan& plan, const Routing& routing, cudaStream_t stream) {
  const std::int64_t parts = combine_parts(plan.tokens, args.y_chunks);
  const std::size_t bytes = kCombineBlock * group_scratch(routing.router) * sizeof(float);
  const auto kernel = combine_dense_kernel<Rows, kPerLane>;
  allow_shared_memory(kernel, bytes);
  launch("combine_dense", kernel,
         static_cast<unsigned>(ceil_div(plan.tokens * parts, kCombineBlock)), kCombineBlock * 32,
         bytes, stream, args, plan, routing, static_cast<int>(parts));
}

template <typename Rows>
void run(const Combine& args, const Plan& plan, const Routing& routing, cudaStream_t stream) {
  with_experts_per_lane<kFewExperts>(routing.router.num_experts, [&]<int kPerLane>() {
    run<Rows, kPerLane>(args, plan, routing, stream);
  });
}

}  // namespace

void combine_dense(const Combine& args, const Plan& plan, const Routing& routing,
                   cudaStream_t stream) {
  if (args.y_rounded) return run<RoundedRows>(args, plan, routing, stream);
  run<ExactRows>(args, plan, routing, stream);
}

}  // namespace sluice::cuda
