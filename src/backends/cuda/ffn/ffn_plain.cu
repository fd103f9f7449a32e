#include "backends/cuda/ffn/ffn.hpp"
#include "backends/cuda/ffn/ffn_kernel.cuh"

namespace sluice::cuda {

void run_plain_ffn(const Ffn& ffn, cudaStream_t stream) {
  switch (ffn.tile) {
    case FfnTile::rows64_tokens32:
      return launch_ffn<Rows64Tokens32, PlainSwiglu, 8, 16, 32>(ffn, stream);
    case FfnTile::rows128_tokens64:
      return launch_ffn<Rows128Tokens64, PlainSwiglu, 16, 32, 48, 64>(ffn, stream);
    case FfnTile::rows128_tokens128:
      return launch_ffn<Rows128Tokens128, PlainSwiglu, 48, 64, 80, 96, 112, 128>(ffn, stream);
    case FfnTile::rows128_tokens160:
      return launch_ffn<Rows128Tokens160, PlainSwiglu, 64, 80, 96, 112, 128, 144, 160>(ffn, stream);
    case FfnTile::rows128_tokens192:
      return launch_ffn<Rows128Tokens192, PlainSwiglu, 64, 96, 112, 120, 128, 136, 144, 152, 160,
                        168, 176, 184, 192>(ffn, stream);
    case FfnTile::rows256_tokens192:
      return launch_ffn<Rows256Tokens192, PlainSwiglu, 64, 96, 112, 120, 128, 136, 144, 152, 160,
                        168, 176, 184, 192>(ffn, stream);
  }
}

}  // namespace sluice::cuda
