#include "backends/cuda/one_token/one_token.hpp"

#include <algorithm>

#include "backends/cuda/one_token/one_token_down.cuh"
#include "backends/cuda/one_token/one_token_up.cuh"
#include "backends/cuda/routing/route_choice.hpp"

namespace sluice::cuda {
namespace {

// All of a multiprocessor's memory that can be shared shall be: the driver would keep just as much
// as one kernel needs, and the other's blocks would have to wait for it to end.
template <typename Kernel>
void allow_both(Kernel kernel, std::int64_t bytes) {
  allow_shared_memory(kernel, static_cast<std::size_t>(bytes));
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                             cudaSharedmemCarveoutMaxShared),
        "cudaFuncSetAttribute(PreferredSharedMemoryCarveout)");
}

template <int kPerLane>
void run(const OneToken& args, const OneTokenSizes& sizes, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(sizes.multiprocessors);
  allow_both(up_kernel<kPerLane>, kUpBytes);
  launch("one_token_up", up_kernel<kPerLane>, blocks, kUpThreads, kUpBytes, stream, args,
         up_stages(sizes));
  allow_both(down_kernel<kPerLane>, kDownBytes);
  launch("one_token_down", down_kernel<kPerLane>, blocks, kDownThreads, kDownBytes, stream, args);
}

template <typename Kernel>
int blocks_beside(Kernel kernel, int threads, std::int64_t bytes) {
  allow_both(kernel, bytes);
  int blocks = 0;
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, threads,
                                                      static_cast<std::size_t>(bytes)),
        "cudaOccupancyMaxActiveBlocksPerMultiprocessor");
  return blocks;
}

template <int kPerLane>
int most_blocks() {
  return std::max(blocks_beside(up_kernel<kPerLane>, kUpThreads, kUpBytes),
                  blocks_beside(down_kernel<kPerLane>, kDownThreads, kDownBytes));
}

}  // namespace

int one_token_blocks() {
  return std::max({most_blocks<4>(), most_blocks<8>(), most_blocks<16>(), most_blocks<32>()});
}

void run_one_token(const OneToken& args, const OneTokenSizes& sizes, cudaStream_t stream) {
  with_experts_per_lane<kMaxExperts>(args.routing.router.num_experts,
                                     [&]<int kPerLane>() { run<kPerLane>(args, sizes, stream); });
}

}  // namespace sluice::cuda
