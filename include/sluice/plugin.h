/* The C ABI of a backend in a shared object: write your kernel in anything that exports C, and
 * `sluice audit --plugin ./libmine.so` says whether it loses a parameter.
 *
 * A plugin exports one function, sluice_plugin_entry, and fills a sluice_plugin. Rules:
 *
 *   - Every struct starts with its size in bytes as the side that made it knew it. Later versions
 *     append members; a reader ignores what lies beyond the size it was given. Members are never
 *     reordered or removed within one SLUICE_PLUGIN_ABI.
 *   - claims() names the fields that the plugin honours ("router.routed_scaling_factor"; the list
 *     is docs/fields.md). A field that is not neutral and not claimed is refused by the host, by
 *     name, before load() is called. Claim what you apply; the audit tests it.
 *   - Functions that can fail return a sluice_status and may leave text in a sluice_message; they
 *     must not throw through the boundary, print, or exit.
 *   - Tensors are dense, row-major, in host memory, and may be unaligned. They live until the call
 *     returns: load() copies or packs what it keeps.
 *   - Formulas and decisions: docs/semantics.md. A complete example: examples/plugin_c/.
 */
#ifndef SLUICE_PLUGIN_H
#define SLUICE_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Changes only when an old plugin could misread a new host, or the other way round. */
#define SLUICE_PLUGIN_ABI 1u

/* ---- Enumerations of the spec, by name in docs/semantics.md ---------------------------------- */

enum { SLUICE_SCORE_SOFTMAX, SLUICE_SCORE_SIGMOID, SLUICE_SCORE_SQRT_SOFTPLUS, SLUICE_SCORE_NONE };
enum { SLUICE_BEFORE_TOPK, SLUICE_AFTER_TOPK };
enum { SLUICE_GROUP_SUM_OF_TOP2, SLUICE_GROUP_MAX };
enum { SLUICE_NORM_ADD, SLUICE_NORM_CLAMP };
enum { SLUICE_LOGITS_F32, SLUICE_LOGITS_BF16 };
enum {
  SLUICE_SWIGLU,
  SLUICE_GEGLU,
  SLUICE_GEGLU_TANH,
  SLUICE_RELU2,
  SLUICE_SILU,
  SLUICE_GELU,
  SLUICE_IDENTITY
};
enum { SLUICE_GATE_UP, SLUICE_UP_GATE, SLUICE_INTERLEAVED };
enum {
  SLUICE_WEIGHT_BF16,
  SLUICE_WEIGHT_F32,
  SLUICE_WEIGHT_F16,
  SLUICE_WEIGHT_FP8_E4M3_TENSOR,
  SLUICE_WEIGHT_FP8_E4M3_CHANNEL,
  SLUICE_WEIGHT_FP8_E4M3_BLOCK128,
  SLUICE_WEIGHT_NVFP4,
  SLUICE_WEIGHT_MXFP4,
  SLUICE_WEIGHT_INT4
};
enum {
  SLUICE_ACTIVATION_BF16,
  SLUICE_ACTIVATION_F32,
  SLUICE_ACTIVATION_F16,
  SLUICE_ACTIVATION_FP8_E4M3
};
enum { SLUICE_OUTPUT_AS_INPUT, SLUICE_OUTPUT_F32, SLUICE_OUTPUT_BF16, SLUICE_OUTPUT_F16 };

/* Element types of tensors. */
enum {
  SLUICE_F64,
  SLUICE_F32,
  SLUICE_F16,
  SLUICE_BF16,
  SLUICE_F8_E4M3,
  SLUICE_F8_E5M2,
  SLUICE_F8_E8M0,
  SLUICE_F4,
  SLUICE_I64,
  SLUICE_I32,
  SLUICE_I16,
  SLUICE_I8,
  SLUICE_U64,
  SLUICE_U32,
  SLUICE_U16,
  SLUICE_U8,
  SLUICE_BOOL
};

/* ---- The spec: every field of the registry, under its own name ------------------------------- */

typedef struct sluice_spec {
  uint64_t struct_size;

  /* router */
  int64_t num_experts;
  int64_t top_k;
  int32_t score_func;
  int32_t score_order;
  int32_t router_bias;             /* 1: sluice_weights.router_bias is given */
  int32_t e_score_correction_bias; /* 1: likewise */
  int32_t weights_from_biased_scores;
  int32_t group_score;
  int64_t n_group;
  int64_t topk_group;
  double norm_eps;
  double routed_scaling_factor;
  int32_t norm_topk_prob;
  int32_t norm_rule;
  int32_t apply_routed_scale_to_output;
  int32_t apply_router_weight_on_input;
  int32_t router_logits_dtype;

  /* experts */
  int32_t activation;
  int64_t hidden_size;
  int64_t intermediate_size;
  double swiglu_alpha;
  double swiglu_beta;
  double swiglu_limit; /* +infinity: no limit */
  int32_t gate_up_bias;
  int32_t down_bias;
  int32_t gate_up_order;
  int32_t weight_format;
  int32_t activation_format;

  /* layer */
  int32_t shared_expert_gate;
  int64_t num_shared_experts;
  int64_t shared_intermediate_size; /* over all shared experts; resolved, 0 only without any */
  int64_t local_expert_offset;
  int64_t num_local_experts; /* resolved: the number of experts whose weights are given */
  const int32_t* expert_map; /* [num_experts] global -> local or -1; null: offset and count */
  int64_t tp_rank;
  int64_t tp_size;
  int32_t output_dtype;

  int32_t norm_single_expert; /* router's; members are appended, not sorted in */
} sluice_spec;

/* ---- Tensors --------------------------------------------------------------------------------- */

typedef struct sluice_tensor {
  const void* data; /* null: not given */
  int32_t dtype;
  int32_t rank;
  int64_t shape[4];
} sluice_tensor;

typedef struct sluice_out_tensor {
  void* data; /* null: not wanted */
  int32_t dtype;
  int32_t rank;
  int64_t shape[4];
} sluice_out_tensor;

/* One tensor per local expert, in local order; count 0: not given. */
typedef struct sluice_tensor_list {
  const sluice_tensor* tensors;
  uint64_t count;
} sluice_tensor_list;

/* Shapes and dtypes as include/sluice/weights.hpp gives them, in any form of its table of weight
 * formats; I and S are those of this tp_rank. Matrices come in the dtype of weight_format, also
 * where the caller held them in F32. */
typedef struct sluice_weights {
  uint64_t struct_size;
  sluice_tensor router_bias;             /* [E] F32 or BF16, as are the other biases */
  sluice_tensor e_score_correction_bias; /* [E] */
  sluice_tensor_list gate_up_proj;       /* each [2I, H], or [I, H] without a gate */
  sluice_tensor_list down_proj;          /* each [H, I] */
  sluice_tensor gate_up_bias;            /* [local experts, 2I or I], rows in gate_up_order */
  sluice_tensor down_bias;               /* [local experts, H] */
  sluice_tensor shared_gate_up_proj; /* [2S, H]; F32, BF16 or F16 where weight_format has scales */
  sluice_tensor shared_down_proj;    /* [H, S] */
  sluice_tensor shared_expert_gate;  /* [H] or [1, H] F32, BF16 or F16 */
  sluice_tensor_list gate_up_scale;  /* quantised formats only */
  sluice_tensor_list down_scale;
  sluice_tensor gate_up_global_scale; /* nvfp4 only: [local experts] F32, multiplies */
  sluice_tensor down_global_scale;
} sluice_weights;

typedef struct sluice_forward_input {
  uint64_t struct_size;
  sluice_tensor hidden_states; /* [tokens, H] F32, BF16 or F16 */
  sluice_tensor router_logits; /* [tokens, E] F32 or BF16, without router_bias; or the next two */
  sluice_tensor topk_ids;      /* [tokens, K] I32 or I64, global ids */
  sluice_tensor topk_weights;  /* [tokens, K] F32 or BF16, final: normalised and scaled, except that
                                * apply_routed_scale_to_output still applies to the output */
} sluice_forward_input;

typedef struct sluice_forward_output {
  uint64_t struct_size;
  sluice_out_tensor output;       /* [tokens, H] F32, BF16 or F16, as output_dtype asks */
  sluice_out_tensor topk_ids;     /* optional [tokens, K] I32: what was chosen */
  sluice_out_tensor topk_weights; /* optional [tokens, K] F32: as applied */
} sluice_forward_output;

/* ---- Calls ----------------------------------------------------------------------------------- */

typedef enum sluice_status {
  SLUICE_OK = 0,
  SLUICE_REFUSED = 1, /* supports(): this spec, and the message says which field and why */
  SLUICE_FAILED = 2   /* anything else; the message says what */
} sluice_status;

/* Text from plugin to host: NUL-terminated, at most sizeof text - 1 bytes. Refusals are lines
 * "field: reason". */
typedef struct sluice_message {
  char text[4096];
} sluice_message;

typedef struct sluice_layer sluice_layer; /* the plugin's own: one loaded layer */

typedef struct sluice_plugin {
  uint64_t struct_size;
  uint32_t abi; /* SLUICE_PLUGIN_ABI as the plugin was compiled with */
  /* 1: a token's output bits never depend on the other tokens of the call. Audited. */
  uint32_t batch_invariant;
  const char* name;    /* "mine" */
  const char* version; /* free text, shown in reports */

  /* Fields that the plugin honours: null-terminated array of names. */
  const char* const* (*claims)(void);
  /* Limits beyond the claims (sizes, combinations). May be null: no limits. */
  sluice_status (*supports)(const sluice_spec* spec, sluice_message* message);
  /* threads: how many the plugin may use. With SLUICE_OK, *layer must not be null. */
  sluice_status (*load)(const sluice_spec* spec, const sluice_weights* weights, int32_t threads,
                        sluice_layer** layer, sluice_message* message);
  void (*unload)(sluice_layer* layer);
  /* Exact bytes that forward() needs for this many tokens, at most 2^62: it cannot fail. Must not
   * fall when tokens grow: one workspace serves all smaller calls. May be null: none. */
  uint64_t (*workspace_bytes)(const sluice_layer* layer, int64_t tokens);
  /* tokens >= 1. The workspace is 256-byte aligned and uninitialised. One layer may be called from
   * several threads, also at once, each with a workspace of its own. */
  sluice_status (*forward)(const sluice_layer* layer, const sluice_forward_input* input,
                           const sluice_forward_output* output, void* workspace,
                           uint64_t workspace_bytes, sluice_message* message);
} sluice_plugin;

/* The one symbol a plugin exports. host_abi is the host's SLUICE_PLUGIN_ABI; return null if the
 * plugin cannot work with it. The result lives as long as the shared object is loaded. */
typedef const sluice_plugin* (*sluice_plugin_entry_fn)(uint32_t host_abi);
#define SLUICE_PLUGIN_ENTRY "sluice_plugin_entry"
#if defined(__GNUC__)
__attribute__((visibility("default")))
#endif
const sluice_plugin*
sluice_plugin_entry(uint32_t host_abi);

#ifdef __cplusplus
}
#endif

#endif /* SLUICE_PLUGIN_H */
