#include "backends/cuda/ffn/ffn.hpp"
#include "backends/cuda/ffn/ffn_kernel.cuh"

namespace sluice::cuda {

void run_ungated_ffn(const Ffn& ffn, cudaStream_t stream) {
  using Act = AnyActivation<false>;
  if (ffn.tile == FfnTile::rows64_tokens32) {
    return launch_ffn<Rows64Tokens32, Act, 8, 32>(ffn, stream);
  }
  if (ffn.tile == FfnTile::rows128_tokens64) {
    return launch_ffn<Rows128Tokens64, Act, 32, 64>(ffn, stream);
  }
  launch_ffn<Rows128Tokens192, Act, 96, 128, 160, 192>(ffn, stream);
}

}  // namespace sluice::cuda
