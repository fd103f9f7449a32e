#include "backends/cuda/ffn/ffn.hpp"
#include "backends/cuda/ffn/ffn_kernel.cuh"

namespace sluice::cuda {

void run_ungated_ffn(const Ffn& ffn, cudaStream_t stream) {
  using Act = AnyActivation<false>;
  if (ffn.tile == FfnTile::rows64_tokens32) {
    return launch_ffn<FewTokens, Act, 8, 32>(ffn, stream);
  }
  launch_ffn<SomeTokens, Act, 32, 64>(ffn, stream);
}

}  // namespace sluice::cuda
