// The feed-forward kernels, by what they can compute.
#pragma once

#include "backends/cuda/params.hpp"

namespace sluice::cuda {

void run_plain_ffn(const Ffn& ffn, cudaStream_t stream);    // Ffn::plain
void run_gated_ffn(const Ffn& ffn, cudaStream_t stream);    // any gated activation, biases
void run_ungated_ffn(const Ffn& ffn, cudaStream_t stream);  // any other

}  // namespace sluice::cuda
