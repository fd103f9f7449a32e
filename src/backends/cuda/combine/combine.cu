// Slots' outputs summed where a plan says where they are.
#include "backends/cuda/combine/combine_rows.cuh"
#include "backends/cuda/device/launch.cuh"

namespace sluice::cuda {
namespace {

// `parts` warps per token. The plan may be read before the FFN is done: it lets this kernel start
// after it has waited for the plan itself.
template <typename Rows>
__global__ void __launch_bounds__(kCombineBlock * 32)
    combine_kernel(const __grid_constant__ Combine args, const __grid_constant__ Plan plan,
                   int parts) {
  __shared__ OutputSlot slots[kCombineBlock][kMaxTopK];
  start_next();
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  const int task = blockIdx.x * kCombineBlock + warp;
  const int token = task / parts;
  const bool live = token < plan.live_tokens();
  OutputSlot own{-1, 0.0f, -1};
  if (live && lane < plan.top_k) {
    const int slot = token * plan.top_k + lane;
    own.row = __ldcg(plan.slot_row + slot);
    own.weight = __ldcg(plan.slot_weight + slot);
    if (args.down_bias != nullptr) own.expert = __ldcg(plan.slot_local + slot);
  }
  slots[warp][lane] = own;
  __syncwarp();
  wait_for_earlier();
  if (live) combine_part<Rows>(args, slots[warp], plan.top_k, token, task % parts, parts);
}

}  // namespace

void combine(const Combine& args, const Plan& plan, cudaStream_t stream) {
  const std::int64_t parts = combine_parts(plan.tokens, args.y_chunks);
  const auto kernel = args.y_rounded ? combine_kernel<RoundedRows> : combine_kernel<ExactRows>;
  launch("combine", kernel, static_cast<unsigned>(ceil_div(plan.tokens * parts, kCombineBlock)),
         kCombineBlock * 32, 0, stream, args, plan, static_cast<int>(parts));
}

}  // namespace sluice::cuda
