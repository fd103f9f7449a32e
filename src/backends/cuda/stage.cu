// Staging of many tokens: a block of threads per group of eight rows.
#include "backends/cuda/launch.cuh"
#include "backends/cuda/staging.cuh"

namespace sluice::cuda {
namespace {

constexpr int kWarps = 8;

__global__ void __launch_bounds__(kWarps * 32) stage_kernel(Plan plan, Staging staging) {
  begin();
  const int warp = threadIdx.x / 32;
  const int row = threadIdx.x % 32 / 4;
  const int group = blockIdx.x;
  if (group >= staging.routed_groups) {  // the shared block's rows are the tokens
    const int token = (group - staging.routed_groups) * static_cast<int>(kGroupRows) + row;
    return stage_group(staging, group, token < plan.live_tokens() ? token : -1, 1.0f, warp, kWarps);
  }
  if (group >= *plan.group_count) return;
  const int token = plan.row_token[group * static_cast<int>(kGroupRows) + row];
  const float factor = staging.weight_on_input && token >= 0 ? plan.slot_weight[token] : 1.0f;
  stage_group(staging, group, token, factor, warp, kWarps);
}

}  // namespace

void stage(const Plan& plan, const Staging& staging, cudaStream_t stream) {
  launch("stage", stage_kernel, static_cast<unsigned>(staging.groups), kWarps * 32, 0, stream, plan,
         staging);
}

}  // namespace sluice::cuda
