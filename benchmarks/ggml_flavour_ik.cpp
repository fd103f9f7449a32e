#include "ggml_flavour.hpp"

// Exported, but declared in a header that is not installed: what its engine calls on every tensor
// with --run-time-repack.
extern "C" void iqk_repack_tensor(ggml_tensor* tensor);

namespace sluice::bench {

std::string ggml_flavour_name() { return "ik_llama.cpp"; }

// Without AVX-512 BF16, or with rows that are no multiple of 16, they stay as they are.
void ggml_flavour_pack(ggml_tensor* weights) { iqk_repack_tensor(weights); }

ggml_tensor* ggml_flavour_experts(ggml_context* context, const GgmlLayer& layer) {
  ggml_tensor* act =
      ggml_moe_up_gate(context, layer.up, layer.gate, layer.hidden, layer.ids, GGML_UNARY_OP_SILU);
  ggml_tensor* slots = ggml_mul_mat_id(context, layer.down, act, layer.ids);
  return ggml_mul_multi_add(context, slots, layer.weights);
}

ggml_cplan ggml_flavour_plan(ggml_cgraph* graph, int threads, std::int64_t tokens) {
  graph->n_batch = static_cast<int>(tokens);  // as its engine does: it chooses the barrier
  return ggml_graph_plan(graph, threads);
}

}  // namespace sluice::bench
