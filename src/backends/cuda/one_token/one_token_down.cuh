// GEMM 2 of one token and the sum over its slots, to the output.
#pragma once

#include "backends/cuda/device/device_elements.cuh"
#include "backends/cuda/device/launch.cuh"
#include "backends/cuda/one_token/one_token_walk.cuh"
#include "backends/cuda/routing/staging.cuh"

namespace sluice::cuda {

using DownParts = Parts<kDownWarps, kDownParts>;

__device__ inline void stream_down(const DownSteps& of, float shared_factor, const Ring& ring,
                                   DownParts& parts) {
  const int lane = threadIdx.x % 32;
  const Share own = of.of_warp(threadIdx.x / 32);
  if (own.size() == 0) {
    parts.close(0, 0);
    return wait_for_earlier();
  }
  const auto step_of = [&](int step) {
    return DownStep(of, shared_factor, min(step, own.end - 1));
  };
  const auto fetch = [&](const DownStep& step) {
    barrier_arrive_expecting(ring.full[lane], kStreamStepBytes);
    bulk_load(ring.slot(lane), step.weights, kStreamStepBytes, ring.full[lane], evict_first());
  };
  DownStep current = step_of(own.begin + lane);
  if (lane < min(kDownStages, own.size())) fetch(current);
  DownStep next = step_of(own.begin + kDownStages + lane);
  const int first = __shfl_sync(kAllLanes, current.sum, 0);
  wait_for_earlier();
  TokenBlock token[kDownStages];
#pragma unroll
  for (int place = 0; place < kDownStages; ++place) {
    token[place].load_global(current.h_of(place));
  }
  int sum = first;
  StripSums sums;
  std::uint32_t round = 0;
  for (int base = own.begin; base < own.end; base += kDownStages, round ^= 1) {
#pragma unroll
    for (int place = 0; place < kDownStages; ++place) {
      if (base + place >= own.end) break;
      const float factor = __shfl_sync(kAllLanes, current.factor, place);
      const int now = __shfl_sync(kAllLanes, current.sum, place);
      if (now != sum) {
        parts.put(sum - first, sums);
        sums = {};
        while (++sum < now) parts.put(sum - first, sums);  // slots' where no slot is ours
      }
      barrier_wait(ring.full[place], round);
      const StripSums product = multiply_strip(shared_address(ring.slot(place)), token[place]);
      __syncwarp();
      if (lane == place && base + kDownStages + place < own.end) fetch(next);
      token[place].load_global(next.h_of(place));
      sums.low = fmaf(factor, product.low, sums.low);
      sums.high = fmaf(factor, product.high, sums.high);
    }
    current = next;
    next = step_of(base + 2 * kDownStages + lane);
  }
  parts.put(sum - first, sums);
  parts.close(first, sum - first + 1);
}

template <int kPerLane>
__global__ void __maxnreg__(kDownRegisters) down_kernel(const __grid_constant__ OneToken args) {
  extern __shared__ __align__(128) std::uint8_t memory[];
  __shared__ Barrier full[kDownWarps * kDownStages];
  __shared__ DownParts parts;
  __shared__ Hits hits;
  __shared__ float shared_factor;
  const int thread = threadIdx.x;
  if (thread < kDownWarps * kDownStages) barrier_init(full[thread], 1);
  barrier_init_fence();
  start_next();
  // Logits, token and count were there before the kernel that computes h let this one start.
  if (args.plan.live_tokens() == 0) return wait_for_earlier();
  if (thread / 32 == kDownWarps) {
    const Routing& routing = args.routing;
    const RoutedSlot slot = route_token<kPerLane>(routing, 0, reinterpret_cast<float*>(memory));
    list_hits(routing, slot, hits);
    proxy_fence();
    const int lane = thread % 32;
    if (blockIdx.x == 0 && lane < routing.router.top_k) {
      if (routing.ids_out != nullptr) routing.ids_out[lane] = slot.id;
      if (routing.weights_out != nullptr) routing.weights_out[lane] = slot.weight;
    }
  } else if (thread < 32) {
    const bool gated = args.staging.shared_gate != nullptr;
    const float weight = gated ? gate_of(args.staging, 0) : 1.0f;
    if (thread == 0) shared_factor = weight;
  }
  __syncthreads();
  const DownSteps steps(args, hits);
  if (thread < kDownWarps * 32) {
    stream_down(steps, shared_factor, {memory, full, kDownStages, kDownStages}, parts);
  } else {
    wait_for_earlier();
  }
  __syncthreads();
  const Combine& last = args.last;
  for (int row = thread; row < steps.strips.size() * kStripRows; row += kDownThreads) {
    const int column = steps.strips.begin * kStripRows + row;
    if (column >= last.hidden) continue;
    const int strip = row / kStripRows * steps.sums();
    float sum = parts.sum(strip, row % kStripRows);
    const float shared = steps.sums() > 1 ? parts.sum(strip + 1, row % kStripRows) : 0.0f;
    if (last.down_bias != nullptr) {
      for (int slot = 0; slot < hits.count; ++slot) {
        const std::int64_t bias = static_cast<std::int64_t>(hits.expert[slot]) * last.hidden;
        sum = fmaf(hits.weight[slot], last.down_bias[bias + column], sum);
      }
    }
    store_element(last.output, last.dtype, column, last.output_factor * sum + shared);
  }
}

}  // namespace sluice::cuda
