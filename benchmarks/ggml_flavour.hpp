// What differs between upstream's ggml and the ggml inside ik_llama.cpp. A build has one of them,
// and one of the two implementations of this.
#pragma once

#include <ggml.h>
#if __has_include(<ggml-cpu.h>)  // upstream's; in the other, ggml.h declares this too
#include <ggml-cpu.h>
#endif

#include <string>

namespace sluice::bench {

std::string ggml_flavour_name();

// Rearranges the weights where they lie as the library's products like them best; changes the type.
void ggml_flavour_pack(ggml_tensor* weights);

struct GgmlLayer {
  ggml_tensor *gate, *up, *down;  // [H, I, E], [H, I, E], [I, H, E], in ggml's order: columns first
  ggml_tensor* hidden;            // [H, 1, T] bf16
  ggml_tensor* ids;               // [K, T] i32
  ggml_tensor* weights;           // [1, K, T] f32
};

// The graph that the library's own engine builds for a layer's routed experts: [H, T] f32.
ggml_tensor* ggml_flavour_experts(ggml_context* context, const GgmlLayer& layer);

// As many threads at every call of a process.
ggml_cplan ggml_flavour_plan(ggml_cgraph* graph, int threads, std::int64_t tokens);

}  // namespace sluice::bench
