// The benchmark's own kernels: reading memory as fast as it goes, and filling it with data.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace sluice::bench {

// Reads `bytes` (a multiple of 16) once, all multiprocessors together. `sink` [1] is written by
// threads whose words happen to combine to one value, so that the reads cannot be left out.
void launch_read(const void* data, std::size_t bytes, std::uint32_t* sink, cudaStream_t stream);

// data[i] = random_bf16(tensor, i, spread).
void launch_fill(std::uint16_t* data, std::int64_t count, std::uint64_t tensor, float spread,
                 cudaStream_t stream);

}  // namespace sluice::bench
