#include "backends/cuda/few/few_ffn.cuh"

namespace sluice::cuda {

void run_dense_ffn(const Ffn& ffn, const Routing& routing, cudaStream_t stream) {
  if (ffn.plain) return dense_ffn<PlainSwiglu>(ffn, routing, stream);
  if (ffn.gated) return dense_ffn<AnyActivation<true>>(ffn, routing, stream);
  dense_ffn<AnyActivation<false>>(ffn, routing, stream);
}

void run_sorted_ffn(const Ffn& ffn, const Routing& routing, cudaStream_t stream) {
  if (ffn.plain) return sorted_ffn<PlainSwiglu>(ffn, routing, stream);
  if (ffn.gated) return sorted_ffn<AnyActivation<true>>(ffn, routing, stream);
  sorted_ffn<AnyActivation<false>>(ffn, routing, stream);
}

}  // namespace sluice::cuda
