/* A plugin that breaks the rules of <sluice/plugin.h>: with top_k 1 its load leaves the layer null,
 * else its workspace_bytes gives an error as -1, from four tokens on. */
#include <sluice/plugin.h>
#include <stdlib.h>

struct sluice_layer {
  int unused;
};

static const char* const* claims(void) {
  static const char* const names[] = {"router.num_experts", "router.top_k", "experts.hidden_size",
                                      "experts.intermediate_size", NULL};
  return names;
}

static sluice_status load_layer(const sluice_spec* spec, const sluice_weights* weights,
                                int32_t threads, sluice_layer** layer, sluice_message* message) {
  (void)weights;
  (void)threads;
  (void)message;
  if (spec->top_k > 1) *layer = calloc(1, sizeof **layer);
  return SLUICE_OK;
}

static void unload(sluice_layer* layer) {
  if (layer == NULL) abort(); /* nothing was loaded */
  free(layer);
}

static uint64_t workspace_bytes(const sluice_layer* layer, int64_t tokens) {
  (void)layer;
  return tokens < 4 ? 256 : (uint64_t)-1;
}

static sluice_status forward(const sluice_layer* layer, const sluice_forward_input* input,
                             const sluice_forward_output* output, void* workspace,
                             uint64_t workspace_size, sluice_message* message) {
  (void)layer;
  (void)input;
  (void)output;
  (void)workspace_size;
  (void)message;
  return workspace == NULL ? SLUICE_FAILED : SLUICE_OK;
}

__attribute__((visibility("default"))) const sluice_plugin* sluice_plugin_entry(uint32_t host_abi) {
  static const sluice_plugin plugin = {
      .struct_size = sizeof plugin,
      .abi = SLUICE_PLUGIN_ABI,
      .name = "bad",
      .claims = claims,
      .load = load_layer,
      .unload = unload,
      .workspace_bytes = workspace_bytes,
      .forward = forward,
  };
  return host_abi == SLUICE_PLUGIN_ABI ? &plugin : NULL;
}
