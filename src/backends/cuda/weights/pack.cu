// Weights into tiles: once, at load. One thread moves one chunk of 8 columns.
#include "backends/cuda/device/error.hpp"
#include "backends/cuda/params.hpp"

namespace sluice::cuda {
namespace {

__global__ void pack_rows_kernel(PackRows job) {
  const std::int64_t chunks = job.columns / 8;
  const std::int64_t first = blockIdx.x * static_cast<std::int64_t>(blockDim.x) + threadIdx.x;
  const std::int64_t stride = gridDim.x * static_cast<std::int64_t>(blockDim.x);
  for (std::int64_t i = first; i < job.rows * chunks; i += stride) {
    const std::int64_t row = i / chunks;
    const std::int64_t column = i % chunks * 8;
    const std::int64_t from = (job.source_row + row * job.source_step) * job.columns + column;
    // Checkpoints promise no alignment: two bytes at a time.
    const auto* source = static_cast<const std::uint8_t*>(job.source) + from * 2;
    const std::int64_t to = (job.interleaved ? gate_row(row) : row) + job.offset;
    uint4 chunk;
    auto* bytes = reinterpret_cast<std::uint8_t*>(&chunk);
    if (reinterpret_cast<std::uintptr_t>(source) % 16 == 0) {
      chunk = *reinterpret_cast<const uint4*>(source);
    } else {
      for (int b = 0; b < 16; ++b) bytes[b] = source[b];
    }
    *reinterpret_cast<uint4*>(job.tiles + weight_offset(to, column, job.column_blocks)) = chunk;
  }
}

}  // namespace

void pack_rows(const PackRows& job, cudaStream_t stream) {
  if (job.rows == 0) return;
  constexpr int kThreads = 256;
  const std::int64_t blocks = ceil_div(job.rows * (job.columns / 8), kThreads);
  cudaLaunchConfig_t config{};
  config.gridDim = static_cast<unsigned>(blocks < 65536 ? blocks : 65536);
  config.blockDim = kThreads;
  config.stream = stream;
  check(cudaLaunchKernelEx(&config, pack_rows_kernel, job), "pack_rows");
}

}  // namespace sluice::cuda
