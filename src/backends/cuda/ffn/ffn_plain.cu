#include "backends/cuda/ffn/ffn.hpp"
#include "backends/cuda/ffn/ffn_kernel.cuh"

namespace sluice::cuda {

void run_plain_ffn(const Ffn& ffn, cudaStream_t stream) {
  switch (ffn.tile) {
    case FfnTile::rows64_tokens32:
      return launch_ffn<FewTokens, PlainSwiglu, 8, 16, 32>(ffn, stream);
    case FfnTile::rows128_tokens64:
      return launch_ffn<SomeTokens, PlainSwiglu, 16, 32, 48, 64>(ffn, stream);
    case FfnTile::rows128_tokens160:
      return launch_ffn<MoreTokens, PlainSwiglu, 32, 64, 96, 112, 128, 144, 160>(ffn, stream);
    case FfnTile::rows128_tokens256:
      return launch_ffn<ManyTokens, PlainSwiglu, 32, 64, 96, 128, 144, 160, 176, 192, 208, 224, 240,
                        256>(ffn, stream);
    case FfnTile::rows256_tokens192:
      return launch_ffn<MostTokens, PlainSwiglu, 64, 96, 112, 120, 128, 136, 144, 152, 160, 168,
                        176, 184, 192>(ffn, stream);
  }
}

}  // namespace sluice::cuda
