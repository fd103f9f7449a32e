#include <memory>

#include "ggml_flavour.hpp"

namespace sluice::bench {

std::string ggml_flavour_name() { return std::string("ggml ") + ggml_version(); }

// No other layout of bf16.
void ggml_flavour_pack(ggml_tensor*) {}

ggml_tensor* ggml_flavour_experts(ggml_context* context, const GgmlLayer& layer) {
  ggml_tensor* gate = ggml_mul_mat_id(context, layer.gate, layer.hidden, layer.ids);
  ggml_tensor* up = ggml_mul_mat_id(context, layer.up, layer.hidden, layer.ids);
  ggml_tensor* act = ggml_swiglu_split(context, gate, up);
  ggml_tensor* slots = ggml_mul_mat_id(context, layer.down, act, layer.ids);
  slots = ggml_mul(context, slots, layer.weights);
  ggml_tensor* sum = nullptr;
  for (std::int64_t slot = 0; slot < slots->ne[1]; ++slot) {
    ggml_tensor* one = ggml_view_2d(context, slots, slots->ne[0], slots->ne[2], slots->nb[2],
                                    static_cast<std::size_t>(slot) * slots->nb[1]);
    sum = sum == nullptr ? one : ggml_add(context, sum, one);
  }
  return sum;
}

// Without OpenMP, plans without a pool would start threads at every call.
ggml_cplan ggml_flavour_plan(ggml_cgraph* graph, int threads, std::int64_t) {
  static const std::unique_ptr<ggml_threadpool, decltype(&ggml_threadpool_free)> pool = [threads] {
    ggml_threadpool_params params = ggml_threadpool_params_default(threads);
    return std::unique_ptr<ggml_threadpool, decltype(&ggml_threadpool_free)>(
        ggml_threadpool_new(&params), &ggml_threadpool_free);
  }();
  return ggml_graph_plan(graph, threads, pool.get());
}

}  // namespace sluice::bench
