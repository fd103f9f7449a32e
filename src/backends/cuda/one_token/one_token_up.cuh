// GEMM 1 and the activation of one token, to h.
#pragma once

#include "backends/cuda/device/device_elements.cuh"
#include "backends/cuda/device/launch.cuh"
#include "backends/cuda/ffn/activation.cuh"
#include "backends/cuda/one_token/one_token_choice.cuh"
#include "backends/cuda/one_token/one_token_walk.cuh"

namespace sluice::cuda {

// The token as bf16, columns beyond H zero: a thread's first two chunks are under way together.
__device__ inline void stage_token(const Staging& staging, std::uint8_t* x, int thread,
                                   int threads) {
  const int columns = staging.column_blocks * static_cast<int>(kBlockColumns);
  for (int first = thread * 8; first < columns; first += 2 * threads * 8) {
    float values[2][8] = {};
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int column = first + i * threads * 8;
      if (column < staging.hidden) {
        load_chunk(staging.hidden_states, staging.dtype, column, values[i]);
      }
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int column = first + i * threads * 8;
      if (column >= columns) break;
      std::uint8_t* block = x + column / kBlockColumns * kTokenBlockBytes;
#pragma unroll
      for (int c = 0; c < 8; c += 2) {
        *reinterpret_cast<std::uint32_t*>(block + TokenBlock::offset(column % kBlockColumns + c)) =
            pack_bf16(values[i][c], values[i][c + 1]);
      }
    }
  }
}

using UpParts = Parts<kUpWarps, kUpParts>;

// What routing reads first comes into the second-level cache while earlier kernels end. It may be
// written until then: nothing is read yet.
__device__ inline void prefetch_inputs(const OneToken& args) {
  const Routing& routing = args.routing;
  const auto line = [](const void* base, std::int64_t bytes) {
    const std::int64_t at = static_cast<std::int64_t>(threadIdx.x) * 128;
    if (base != nullptr && at < bytes) prefetch_line(static_cast<const std::uint8_t*>(base) + at);
  };
  line(routing.logits, routing.router.num_experts * (routing.logits_dtype == DType::f32 ? 4 : 2));
  line(routing.correction_bias, routing.router.num_experts * 4);
  line(args.staging.hidden_states,
       static_cast<std::int64_t>(args.staging.hidden) * (args.staging.dtype == DType::f32 ? 4 : 2));
}

// Of the weights of GEMM 2 that its rings have no place for, up to 17 MB come into the second-level
// cache while this kernel ends and memory would be idle. A warp asks for those of two warps.
__device__ inline void prefetch_down(const OneToken& args, const Hits& hits) {
  static_assert(kDownWarps == 2 * kUpWarps);
  constexpr int kSteps = 4;  // of each warp
  const DownSteps steps(args, hits);
  const int lane = threadIdx.x % 32;
  const Share own = steps.of_warp(threadIdx.x / 32 + lane % 2 * kUpWarps);
  const int step = own.begin + kDownStages + lane / 2;
  if (lane >= 2 * kSteps || step >= own.end) return;
  bulk_prefetch(DownStep(steps, 0.0f, step).weights, kStreamStepBytes);
}

// A warp's part of the CTA's strips.
__device__ inline void stream_up(const OneToken& args, const Hits& hits, const Share& strips,
                                 const std::uint8_t* x, const Ring& ring, UpParts& parts) {
  const int lane = threadIdx.x % 32;
  const unsigned blocks = args.routed.columns1;
  const Share own(strips.size() * blocks, threadIdx.x / 32, kUpWarps);
  const auto weights = [&](int step) {
    const unsigned strip = static_cast<unsigned>(step) / blocks;
    return UpStrip(args, hits, strips.begin + strip).weights() +
           static_cast<std::int64_t>(step - strip * blocks) * kTileBytes;
  };
  const auto fetch = [&](const std::uint8_t* from) {
    barrier_arrive_expecting(ring.full[lane], kStreamStepBytes);
    bulk_load(ring.slot(lane), from, kStreamStepBytes, ring.full[lane], evict_first());
  };
  if (lane < min(ring.stages, own.size())) fetch(weights(own.begin + lane));
  const int first = static_cast<unsigned>(own.begin) / blocks;
  int block = own.begin - first * blocks;
  int part = 0;
  StripSums sums;
  std::uint32_t round = 0;
  for (int base = own.begin; base < own.end; base += ring.stages, round ^= 1) {
    const int next = base + ring.stages + lane;
    const bool fetches = lane < ring.stages && next < own.end;
    const std::uint8_t* const from = weights(min(next, own.end - 1));
    const int steps = min(ring.stages, own.end - base);
    for (int place = 0; place < steps; ++place) {
      TokenBlock token;
      token.load_shared(x + block * kTokenBlockBytes);
      barrier_wait(ring.full[place], round);
      const StripSums product = multiply_strip(shared_address(ring.slot(place)), token);
      __syncwarp();
      if (lane == place && fetches) fetch(from);
      sums.low += product.low;
      sums.high += product.high;
      if (++block < blocks) continue;
      parts.put(part++, sums);
      sums = {};
      block = 0;
    }
  }
  if (block > 0 && own.size() > 0) parts.put(part++, sums);
  parts.close(first, part);
}

template <int kPerLane>
__global__ void __maxnreg__(kUpRegisters)
    up_kernel(const __grid_constant__ OneToken args, int stages) {
  extern __shared__ __align__(128) std::uint8_t memory[];
  __shared__ Barrier full[kUpWarps * kUpStages];
  __shared__ UpParts parts;
  __shared__ std::int32_t chosen[kMaxTopK];
  __shared__ Hits hits;
  const int thread = threadIdx.x;
  if (thread < kUpWarps * kUpStages) barrier_init(full[thread], 1);
  barrier_init_fence();
  prefetch_inputs(args);
  begin();
  if (args.plan.live_tokens() == 0) return;
  std::uint8_t* const x = memory + stages * kUpWarps * kStreamStepBytes;
  // Weights of slots are for GEMM 2 to know; who was chosen is all that the first copies wait for.
  const bool alone = scores_alone(args.routing, kUpThreads);
  float logit[1] = {};
  if (alone) load_logits<1>(args.routing, 0, thread, logit);
  stage_token(args.staging, x, thread, kUpThreads);
  RoutedSlot slot;
  if (alone) {
    auto& scratch = *reinterpret_cast<RankScratch<kUpThreads>*>(memory);
    choose_by_rank(args.routing, logit[0], scratch, chosen);
    if (thread < args.routing.router.top_k) slot.id = chosen[thread];
  } else if (thread < 32) {
    slot = route_token<kPerLane>(args.routing, 0, reinterpret_cast<float*>(memory));
  }
  if (thread < 32) list_hits(args.routing, slot, hits);
  proxy_fence();  // what was scratch is about to be written by the copy engine
  __syncthreads();
  const Share strips(UpStrip::count(args, hits), blockIdx.x, gridDim.x);
  __nv_bfloat16* h = nullptr;  // of this thread's unit
  if (thread < strips.size() * 8) {
    const UpStrip strip(args, hits, strips.begin + thread / 8);
    h = strip.h(thread % 8);
    if (!strip.exists()) {
      *h = __float2bfloat16_rn(0.0f);
      h = nullptr;
    }
  }
  stream_up(args, hits, strips, x, {memory, full, kUpStages, stages}, parts);
  prefetch_down(args, hits);
  __syncthreads();
  if (h == nullptr) return;
  const float gate = parts.sum(thread / 8, thread % 8);
  const float up = parts.sum(thread / 8, 8 + thread % 8);
  *h = __float2bfloat16_rn(times_sigmoid(gate, gate) * up);
}

}  // namespace sluice::cuda
