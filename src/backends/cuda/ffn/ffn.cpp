#include "backends/cuda/ffn/ffn.hpp"

namespace sluice::cuda {

void run_ffn(const Ffn& ffn, cudaStream_t stream) {
  if (ffn.plain) return run_plain_ffn(ffn, stream);
  if (ffn.gated) return run_gated_ffn(ffn, stream);
  run_ungated_ffn(ffn, stream);
}

}  // namespace sluice::cuda
