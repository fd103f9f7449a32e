// logits = hidden_states router_weight^T, summed in fp32, for callers who enter with hidden states
// alone.
#include "backends/cuda/device/device_elements.cuh"
#include "backends/cuda/device/launch.cuh"
#include "backends/cuda/device/ptx.cuh"
#include "backends/cuda/params.hpp"
#include "backends/cuda/routing/routing_weights.cuh"

namespace sluice::cuda {
namespace {

constexpr int kWarps = 4;

// ---- Any dtypes: a warp per expert, up to eight tokens past one reading of its row ------------

constexpr int kTokens = 8;

__global__ void __launch_bounds__(kWarps * 32) dot_kernel(RouterLogits args) {
  begin();
  const int lane = threadIdx.x % 32;
  const int expert = blockIdx.x * kWarps + threadIdx.x / 32;
  if (expert >= args.experts) return;
  const int first = blockIdx.y * kTokens;
  const int tokens = min(kTokens, args.tokens - first);
  float sums[kTokens] = {};
#pragma unroll 4
  for (int column = lane * 8; column < args.hidden; column += 256) {
    float w[8];
    load_chunk(args.weight, args.weight_dtype,
               static_cast<std::int64_t>(expert) * args.hidden + column, w);
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      if (t >= tokens) break;
      float x[8];
      load_chunk(args.hidden_states, args.dtype,
                 static_cast<std::int64_t>(first + t) * args.hidden + column, x);
#pragma unroll
      for (int i = 0; i < 8; ++i) sums[t] = fmaf(w[i], x[i], sums[t]);
    }
  }
#pragma unroll
  for (int t = 0; t < kTokens; ++t) {
    const float sum = warp_sum(sums[t]);
    if (lane == 0 && t < tokens) {
      args.logits[static_cast<std::int64_t>(first + t) * args.experts + expert] = sum;
    }
  }
}

// ---- bf16 by bf16: tensor cores, 16 tokens and 64 experts per warp -----------------------------

constexpr int kTileTokens = 16;
constexpr int kTileExperts = 64;
constexpr int kStepColumns = 32;
// Tensor cores cut where fp32 would round: after so many columns their sums move to sums that
// round.
constexpr int kRunColumns = 256;

// Eight bf16 of a row; zero beyond H.
__device__ uint4 load_eight(const void* base, std::int64_t row, int column, int hidden) {
  if (column >= hidden) return {};
  return *reinterpret_cast<const uint4*>(static_cast<const std::uint16_t*>(base) + row * hidden +
                                         column);
}

__global__ void __launch_bounds__(kWarps * 32) tile_kernel(RouterLogits args) {
  begin();
  const int lane = threadIdx.x % 32;
  const int token = (blockIdx.x * kWarps + threadIdx.x / 32) * kTileTokens + lane / 4;
  const int expert = blockIdx.y * kTileExperts;
  if (token - lane / 4 >= args.tokens) return;
  // Rows beyond the last are read as the last, and not stored.
  const std::int64_t low = min(token, args.tokens - 1);
  const std::int64_t high = min(token + 8, args.tokens - 1);
  constexpr int kPieces = kTileExperts / 8;
  float sums[kPieces][4] = {};
  for (int run = 0; run < args.hidden; run += kRunColumns) {
    float part[kPieces][4] = {};
    const int end = min(run + kRunColumns, args.hidden);
    for (int step = run; step < end; step += kStepColumns) {
      // Which columns a lane holds is free as long as both sides agree: eight neighbours, 16 bytes,
      // serve as the columns of two products.
      const int column = step + lane % 4 * 8;
      const uint4 a = load_eight(args.hidden_states, low, column, args.hidden);
      const uint4 b = load_eight(args.hidden_states, high, column, args.hidden);
#pragma unroll
      for (int piece = 0; piece < kPieces; ++piece) {
        const int row = min(expert + piece * 8 + lane / 4, args.experts - 1);
        const uint4 w = load_eight(args.weight, row, column, args.hidden);
        mma_bf16(part[piece], a.x, b.x, a.y, b.y, w.x, w.y);
        mma_bf16(part[piece], a.z, b.z, a.w, b.w, w.z, w.w);
      }
    }
#pragma unroll
    for (int piece = 0; piece < kPieces; ++piece) {
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[piece][i] += part[piece][i];
    }
  }
#pragma unroll
  for (int piece = 0; piece < kPieces; ++piece) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = token + i / 2 * 8;
      const int column = expert + piece * 8 + lane % 4 * 2 + i % 2;
      if (row < args.tokens && column < args.experts) {
        args.logits[static_cast<std::int64_t>(row) * args.experts + column] = sums[piece][i];
      }
    }
  }
}

}  // namespace

void router_logits(const RouterLogits& args, cudaStream_t stream) {
  const auto blocks = [](std::int64_t count, std::int64_t each) {
    return static_cast<unsigned>(ceil_div(count, each));
  };
  const bool bf16 = args.dtype == DType::bf16 && args.weight_dtype == DType::bf16;
  if (bf16 && args.tokens > kTokens) {
    launch("router_logits", tile_kernel,
           dim3(blocks(args.tokens, kWarps * kTileTokens), blocks(args.experts, kTileExperts)),
           kWarps * 32, 0, stream, args);
  } else {
    launch("router_logits", dot_kernel,
           dim3(blocks(args.experts, kWarps), blocks(args.tokens, kTokens)), kWarps * 32, 0, stream,
           args);
  }
}

}  // namespace sluice::cuda
