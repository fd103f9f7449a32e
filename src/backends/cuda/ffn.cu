// Both GEMMs, one thread per output element.
#include "backends/cuda/activation.cuh"
#include "backends/cuda/device_elements.cuh"
#include "backends/cuda/launch.cuh"

namespace sluice::cuda {
namespace {

constexpr int kThreads = 256;

__device__ float bf16_at(const std::uint8_t* base, std::int64_t offset) {
  return __bfloat162float(*reinterpret_cast<const __nv_bfloat16*>(base + offset));
}

__device__ Segment segment_at(const Ffn& ffn, int index) {
  if (index < ffn.shared_segments) {
    const int first = index * ffn.plan.segment_groups;
    return {-1, ffn.shared_x_group + first, ffn.shared.h_group0 + first,
            min(ffn.plan.segment_groups, ffn.shared_groups - first)};
  }
  return ffn.plan.segments[index - ffn.shared_segments];
}

__device__ float dot(const std::uint8_t* w, std::int64_t row, const std::uint8_t* x,
                     std::int64_t x_row, std::int64_t blocks, std::int64_t groups) {
  float sum = 0.0f;
  for (std::int64_t c = 0; c < blocks * kBlockColumns; ++c) {
    sum = fmaf(bf16_at(w, weight_offset(row, c, blocks)),
               bf16_at(x, token_offset(x_row, c, groups)), sum);
  }
  return sum;
}

__global__ void gemm1_kernel(Ffn ffn) {
  begin();
  const int segments = ffn.shared_segments + *ffn.plan.segment_count;
  const std::int64_t first = blockIdx.x * kThreads + threadIdx.x;
  for (int s = 0; s < segments; ++s) {
    const Segment segment = segment_at(ffn, s);
    const FfnBlocks& blocks = segment.expert < 0 ? ffn.shared : ffn.routed;
    const std::int64_t expert = max(segment.expert, 0);
    const std::uint8_t* w = blocks.weights1 + expert * blocks.tiles1 * blocks.columns1 * kTileBytes;
    const std::int64_t units = blocks.columns2 * kBlockColumns;
    for (std::int64_t i = first; i < segment.groups * kGroupRows * units;
         i += gridDim.x * kThreads) {
      const std::int64_t row = i / units;
      const std::int64_t unit = i % units;
      const std::int64_t x_row = segment.x_group * kGroupRows + row;
      const std::int64_t packed = ffn.gated ? gate_row(unit) : unit;
      float gate = dot(w, packed, ffn.x, x_row, blocks.columns1, ffn.x_groups);
      float up = ffn.gated ? dot(w, packed + 8, ffn.x, x_row, blocks.columns1, ffn.x_groups) : 0.0f;
      if (blocks.bias1 != nullptr) {
        gate += blocks.bias1[expert * 2 * units + unit];
        up += blocks.bias1[(expert * 2 + 1) * units + unit];
      }
      const std::int64_t h_row = (segment.group - blocks.h_group0) * kGroupRows + row;
      *reinterpret_cast<__nv_bfloat16*>(blocks.h + token_offset(h_row, unit, blocks.h_groups)) =
          __float2bfloat16_rn(activate(blocks.activation, gate, up));
    }
  }
}

__global__ void gemm2_kernel(Ffn ffn) {
  begin();
  const int segments = ffn.shared_segments + *ffn.plan.segment_count;
  const std::int64_t first = blockIdx.x * kThreads + threadIdx.x;
  for (int s = 0; s < segments; ++s) {
    const Segment segment = segment_at(ffn, s);
    const FfnBlocks& blocks = segment.expert < 0 ? ffn.shared : ffn.routed;
    const std::int64_t expert = max(segment.expert, 0);
    const std::uint8_t* w = blocks.weights2 + expert * ffn.tiles2 * blocks.columns2 * kTileBytes;
    for (std::int64_t i = first; i < segment.groups * kGroupRows * ffn.hidden;
         i += gridDim.x * kThreads) {
      const std::int64_t row = i / ffn.hidden;
      const std::int64_t h_row = (segment.group - blocks.h_group0) * kGroupRows + row;
      ffn.y[(segment.group * kGroupRows + row) * ffn.hidden + i % ffn.hidden] =
          dot(w, i % ffn.hidden, blocks.h, h_row, blocks.columns2, blocks.h_groups);
      for (int part = 1; part < ffn.split; ++part) {
        ffn.y[(part * ffn.y_rows + segment.group * kGroupRows + row) * ffn.hidden +
              i % ffn.hidden] = 0.0f;
      }
    }
  }
}

}  // namespace

void run_ffn(const Ffn& ffn, cudaStream_t stream) {
  launch("gemm1", gemm1_kernel, 528, kThreads, 0, stream, ffn);
  launch("gemm2", gemm2_kernel, 528, kThreads, 0, stream, ffn);
}

}  // namespace sluice::cuda
