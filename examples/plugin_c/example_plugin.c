/* A complete backend in C: the Kimi-Linear and Trinity routing over bf16 experts, one token at a
 * time.
 *
 *   cc -std=c11 -O2 -shared -fPIC -Iinclude examples/plugin_c/example_plugin.c -o libexample.so -lm
 *   sluice audit --plugin ./libexample.so
 *
 * Compiled with -DLOSE_THE_FACTOR it has the bug of vllm#43769: it claims routed_scaling_factor,
 * and forgets it. The audit says so.
 */
#include <math.h>
#include <sluice/plugin.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

struct sluice_layer {
  int64_t experts, top_k, hidden, width, shared_width;
  int64_t first_local, local_experts;
  int32_t score_func, norm_topk_prob;
  double norm_eps, factor;
  float* bias;           /* [experts] or null */
  float** gate_up;       /* local_experts matrices [2 * width, hidden] */
  float** down;          /* local_experts matrices [hidden, width] */
  float* shared_gate_up; /* [2 * shared_width, hidden] or null */
  float* shared_down;    /* [hidden, shared_width] or null */
};

/* ---- Elements ---- */

static float bits_to_float(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static float round_to_bf16(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return value; /* NaN */
  return bits_to_float((bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u);
}

static float f16_to_float(uint16_t half) {
  const uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
  const uint32_t exponent = (half >> 10) & 0x1fu, fraction = half & 0x3ffu;
  if (exponent == 0) return (sign != 0 ? -1.0f : 1.0f) * ldexpf((float)fraction, -24);
  if (exponent == 31) return bits_to_float(sign | 0x7f800000u | fraction << 13);
  return bits_to_float(sign | (exponent + 112) << 23 | fraction << 13);
}

static uint16_t float_to_f16(float value) {
  const uint16_t sign = signbit(value) ? 0x8000u : 0;
  const float size = fabsf(value);
  if (isnan(value)) return sign | 0x7e00u;
  if (size >= 65520.0f) return sign | 0x7c00u;
  /* Units of the last place of size's binade; rintf rounds ties to even. */
  int exponent = size < 0x1p-14f ? -14 : ilogbf(size);
  const float units = rintf(ldexpf(size, 10 - exponent));
  const int32_t normal = size < 0x1p-14f ? 0 : (exponent + 14) * 1024;
  return sign | (uint16_t)(normal + (int32_t)units);
}

/* Elements of F32, BF16 and F16 tensors: inputs and outputs come in any of them. */
static float load(const void* data, int32_t dtype, int64_t index) {
  uint16_t half;
  float value;
  if (dtype == SLUICE_F32) {
    memcpy(&value, (const char*)data + index * 4, 4);
    return value;
  }
  memcpy(&half, (const char*)data + index * 2, 2);
  return dtype == SLUICE_F16 ? f16_to_float(half) : bits_to_float((uint32_t)half << 16);
}

static void store(void* data, int32_t dtype, int64_t index, float value) {
  uint32_t bits;
  uint16_t half;
  if (dtype == SLUICE_F32) {
    memcpy((char*)data + index * 4, &value, 4);
    return;
  }
  const float rounded = round_to_bf16(value);
  memcpy(&bits, &rounded, sizeof bits);
  half = dtype == SLUICE_F16 ? float_to_f16(value) : (uint16_t)(bits >> 16);
  memcpy((char*)data + index * 2, &half, 2);
}

static int64_t load_id(const void* data, int32_t dtype, int64_t index) {
  int64_t wide;
  int32_t narrow;
  if (dtype == SLUICE_I64) {
    memcpy(&wide, (const char*)data + index * 8, 8);
    return wide;
  }
  memcpy(&narrow, (const char*)data + index * 4, 4);
  return narrow;
}

static int64_t elements(const sluice_tensor* tensor) {
  int64_t count = 1;
  for (int32_t axis = 0; axis < tensor->rank; ++axis) count *= tensor->shape[axis];
  return count;
}

/* A copy in fp32; null when the tensor is not given or memory runs out. */
static float* copy(const sluice_tensor* tensor) {
  if (tensor->data == NULL) return NULL;
  const int64_t count = elements(tensor);
  float* values = malloc((size_t)count * sizeof *values);
  for (int64_t i = 0; values != NULL && i < count; ++i) {
    values[i] = load(tensor->data, tensor->dtype, i);
  }
  return values;
}

/* ---- Arithmetic ---- */

static float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

static float dot(const float* a, const float* b, int64_t count) {
  float sum = 0.0f;
  for (int64_t i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

/* out += weight * down(silu(gate x) * up x) */
static void add_expert(const float* gate_up, const float* down, int64_t width, int64_t hidden,
                       const float* x, float weight, float* scratch, float* out) {
  for (int64_t i = 0; i < width; ++i) {
    const float gate = dot(gate_up + i * hidden, x, hidden);
    const float up = dot(gate_up + (width + i) * hidden, x, hidden);
    scratch[i] = round_to_bf16(gate * sigmoid(gate) * up);
  }
  for (int64_t i = 0; i < hidden; ++i) out[i] += weight * dot(down + i * width, scratch, width);
}

static void score(const sluice_layer* layer, const float* logits, float* scores) {
  float largest = -INFINITY, sum = 0.0f;
  if (layer->score_func == SLUICE_SCORE_SIGMOID) {
    for (int64_t e = 0; e < layer->experts; ++e) scores[e] = sigmoid(logits[e]);
    return;
  }
  for (int64_t e = 0; e < layer->experts; ++e) largest = fmaxf(largest, logits[e]);
  for (int64_t e = 0; e < layer->experts; ++e) sum += scores[e] = expf(logits[e] - largest);
  for (int64_t e = 0; e < layer->experts; ++e) scores[e] /= sum;
}

/* Chooses by biased score (higher, then lower id; NaN last), weighs by the unbiased one. */
static void route(const sluice_layer* layer, const float* logits, float* scores, int32_t* ids,
                  float* weights) {
  float sum = 0.0f;
  score(layer, logits, scores);
  for (int64_t slot = 0; slot < layer->top_k; ++slot) {
    int64_t best = -1;
    float best_value = 0.0f;
    for (int64_t e = 0; e < layer->experts; ++e) {
      int taken = 0;
      float value = scores[e] + (layer->bias != NULL ? layer->bias[e] : 0.0f);
      if (isnan(value)) value = -INFINITY;
      for (int64_t s = 0; s < slot; ++s) taken |= ids[s] == e;
      if (!taken && (best < 0 || value > best_value)) {
        best = e;
        best_value = value;
      }
    }
    ids[slot] = (int32_t)best;
    weights[slot] = isfinite(scores[best]) ? scores[best] : 0.0f;
    sum += weights[slot];
  }
  for (int64_t slot = 0; slot < layer->top_k; ++slot) {
    if (layer->norm_topk_prob && layer->top_k > 1) {
      const float divisor = sum + (float)layer->norm_eps;
      weights[slot] = divisor > 0.0f ? weights[slot] / divisor : 0.0f;
    }
#ifndef LOSE_THE_FACTOR
    weights[slot] *= (float)layer->factor;
#endif
  }
}

/* ---- The plugin's calls ---- */

static const char* const* claims(void) {
  static const char* const names[] = {"router.num_experts",
                                      "router.top_k",
                                      "router.score_func",
                                      "router.e_score_correction_bias",
                                      "router.norm_topk_prob",
                                      "router.norm_eps",
                                      "router.routed_scaling_factor",
                                      "experts.hidden_size",
                                      "experts.intermediate_size",
                                      "layer.num_shared_experts",
                                      "layer.shared_intermediate_size",
                                      "layer.local_expert_offset",
                                      "layer.num_local_experts",
                                      "layer.output_dtype",
                                      NULL};
  return names;
}

static sluice_status supports(const sluice_spec* spec, sluice_message* message) {
  if (spec->score_func != SLUICE_SCORE_SIGMOID && spec->score_func != SLUICE_SCORE_SOFTMAX) {
    snprintf(message->text, sizeof message->text, "router.score_func: only softmax and sigmoid");
    return SLUICE_REFUSED;
  }
  return SLUICE_OK;
}

static void unload(sluice_layer* layer) {
  if (layer == NULL) return;
  for (int64_t e = 0; e < layer->local_experts; ++e) {
    if (layer->gate_up != NULL) free(layer->gate_up[e]);
    if (layer->down != NULL) free(layer->down[e]);
  }
  free(layer->gate_up);
  free(layer->down);
  free(layer->bias);
  free(layer->shared_gate_up);
  free(layer->shared_down);
  free(layer);
}

static sluice_status load_layer(const sluice_spec* spec, const sluice_weights* weights,
                                int32_t threads, sluice_layer** result, sluice_message* message) {
  (void)threads; /* one is enough for an example */
  sluice_layer* layer = calloc(1, sizeof *layer);
  int complete = layer != NULL;
  if (complete) {
    layer->experts = spec->num_experts;
    layer->top_k = spec->top_k;
    layer->hidden = spec->hidden_size;
    layer->width = spec->intermediate_size;
    layer->shared_width = spec->shared_intermediate_size;
    layer->first_local = spec->local_expert_offset;
    layer->local_experts = spec->num_local_experts;
    layer->score_func = spec->score_func;
    layer->norm_topk_prob = spec->norm_topk_prob;
    layer->norm_eps = spec->norm_eps;
    layer->factor = spec->routed_scaling_factor;
    layer->bias = copy(&weights->e_score_correction_bias);
    layer->shared_gate_up = copy(&weights->shared_gate_up_proj);
    layer->shared_down = copy(&weights->shared_down_proj);
    layer->gate_up = calloc((size_t)layer->local_experts + 1, sizeof *layer->gate_up);
    layer->down = calloc((size_t)layer->local_experts + 1, sizeof *layer->down);
    complete = layer->gate_up != NULL && layer->down != NULL;
  }
  for (int64_t e = 0; complete && e < layer->local_experts; ++e) {
    layer->gate_up[e] = copy(&weights->gate_up_proj.tensors[e]);
    layer->down[e] = copy(&weights->down_proj.tensors[e]);
    complete = layer->gate_up[e] != NULL && layer->down[e] != NULL;
  }
  if (complete) {
    *result = layer;
    return SLUICE_OK;
  }
  unload(layer);
  snprintf(message->text, sizeof message->text, "out of memory");
  return SLUICE_FAILED;
}

static int64_t widest(const sluice_layer* layer) {
  return layer->width > layer->shared_width ? layer->width : layer->shared_width;
}

static uint64_t workspace_bytes(const sluice_layer* layer, int64_t tokens) {
  (void)tokens; /* one token at a time */
  return sizeof(float) *
         (uint64_t)(2 * layer->experts + 2 * layer->top_k + 2 * layer->hidden + widest(layer));
}

static sluice_status forward(const sluice_layer* layer, const sluice_forward_input* input,
                             const sluice_forward_output* output, void* workspace,
                             uint64_t workspace_size, sluice_message* message) {
  (void)workspace_size; /* exactly workspace_bytes() */
  (void)message;        /* nothing can fail here */
  const int64_t tokens = input->hidden_states.shape[0];
  float* logits = workspace;
  float* scores = logits + layer->experts;
  float* weights = scores + layer->experts;
  int32_t* ids = (int32_t*)(weights + layer->top_k);
  float* x = (float*)(ids + layer->top_k);
  float* out = x + layer->hidden;
  float* scratch = out + layer->hidden;

  for (int64_t token = 0; token < tokens; ++token) {
    for (int64_t i = 0; i < layer->hidden; ++i) {
      x[i] = round_to_bf16(
          load(input->hidden_states.data, input->hidden_states.dtype, token * layer->hidden + i));
      out[i] = 0.0f;
    }
    if (input->router_logits.data != NULL) {
      for (int64_t e = 0; e < layer->experts; ++e) {
        logits[e] =
            load(input->router_logits.data, input->router_logits.dtype, token * layer->experts + e);
      }
      route(layer, logits, scores, ids, weights);
    } else {
      for (int64_t slot = 0; slot < layer->top_k; ++slot) {
        ids[slot] = (int32_t)load_id(input->topk_ids.data, input->topk_ids.dtype,
                                     token * layer->top_k + slot);
        weights[slot] =
            load(input->topk_weights.data, input->topk_weights.dtype, token * layer->top_k + slot);
      }
    }
    for (int64_t slot = 0; slot < layer->top_k; ++slot) {
      const int64_t local = ids[slot] - layer->first_local;
      if (local < 0 || local >= layer->local_experts) continue;
      add_expert(layer->gate_up[local], layer->down[local], layer->width, layer->hidden, x,
                 weights[slot], scratch, out);
    }
    if (layer->shared_gate_up != NULL) {
      add_expert(layer->shared_gate_up, layer->shared_down, layer->shared_width, layer->hidden, x,
                 1.0f, scratch, out);
    }
    for (int64_t i = 0; i < layer->hidden; ++i) {
      store(output->output.data, output->output.dtype, token * layer->hidden + i, out[i]);
    }
    for (int64_t slot = 0; slot < layer->top_k; ++slot) {
      const int64_t at = token * layer->top_k + slot;
      if (output->topk_ids.data != NULL) ((int32_t*)output->topk_ids.data)[at] = ids[slot];
      if (output->topk_weights.data != NULL)
        ((float*)output->topk_weights.data)[at] = weights[slot];
    }
  }
  return SLUICE_OK;
}

EXPORT const sluice_plugin* sluice_plugin_entry(uint32_t host_abi) {
  static const sluice_plugin plugin = {
      .struct_size = sizeof plugin,
      .abi = SLUICE_PLUGIN_ABI,
      .batch_invariant = 1,
      .name = "example",
      .version = "1.0",
      .claims = claims,
      .supports = supports,
      .load = load_layer,
      .unload = unload,
      .workspace_bytes = workspace_bytes,
      .forward = forward,
  };
  return host_abi == SLUICE_PLUGIN_ABI ? &plugin : NULL;
}
