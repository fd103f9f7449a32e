// What an instruction set gives: a few primitives on one worker's tile of work. Formats are in
// packed_matrix.hpp, schedules in linear.cpp and backends/cpu.
//
// This header is included by files compiled for one instruction set. It must stay free of functions
// with bodies: an inline function compiled with AVX-512 could replace the generic one at link time.
#pragma once

#include <cstdint>

namespace sluice {

// c[t, r] = sum over k of x[t, k] * w[r, k] for `panels` consecutive panels.
struct PanelJob {
  const void* x;          // [tokens, cols] f32 or bf16, by the kernel
  std::int64_t x_stride;  // bytes between tokens
  const void* w;          // first panel
  std::int64_t w_stride;  // bytes between panels
  float* c;               // [tokens, panels * 16]
  std::int64_t c_stride;  // floats between tokens
  std::int64_t tokens;    // >= 1
  std::int64_t panels;    // >= 1
  std::int64_t cols;      // >= 1
  const void* prefetch;   // start of the weights wanted next, or null
};

enum class ActivationCode : std::int32_t { swiglu, geglu, geglu_tanh, relu2, silu, gelu, identity };
// What a row of 16-bit or 32-bit elements holds; f32_bf16 and f32_f16 are fp32 memory holding
// values rounded to the narrow format, for instruction sets that multiply in fp32.
enum class RowFormat : std::int32_t { f32, bf16, f16, f32_bf16, f32_f16 };

// One row of `count` pre-activations to one row of GEMM 2's input.
struct ActivationJob {
  const float* c;     // gated: [count/16][2][16] gate panel, up panel; else [count]
  const float* bias;  // same layout as c, or null
  void* out;          // [count] in out_format
  std::int64_t count;
  ActivationCode activation;
  RowFormat out_format;
  float alpha, beta, limit;  // swiglu only; limit +inf: none
};

// One row converted; scaled by `scale` in fp32 before rounding.
struct ConvertJob {
  const void* from;       // possibly unaligned
  RowFormat from_format;  // f32|bf16|f16
  void* to;
  RowFormat to_format;
  std::int64_t count;
  float scale;
};

// out[i] += weight * in[i] (after bias is added to in)
struct AccumulateJob {
  float* sum;         // [count]
  const float* row;   // [count]
  const float* bias;  // [count] or null
  float weight;
  std::int64_t count;
};

using PanelKernel = void (*)(const PanelJob&);

struct Isa {
  const char* name;     // "avx512_bf16": the value of SLUICE_ISA
  PanelKernel f32_f32;  // x f32, weights f32
  PanelKernel f32_bf16;
  PanelKernel f32_f16;
  PanelKernel bf16_bf16;  // null: widen x and use f32_bf16
  void (*activate)(const ActivationJob&);
  void (*convert)(const ConvertJob&);
  void (*accumulate)(const AccumulateJob&);
  int token_block;  // tokens that reuse a panel from cache at full speed
};

}  // namespace sluice
