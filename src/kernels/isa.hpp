// What an instruction set gives: a few primitives on one worker's tile of work. Formats are in
// packed_matrix.hpp, schedules in linear.cpp and backends/cpu.
//
// This header is included by files compiled for one instruction set. It must stay free of functions
// with bodies: an inline function compiled with AVX-512 could replace the generic one at link time.
#pragma once

#include <cstdint>

namespace sluice {

// What the elements of a row are. f32_bf16 and f32_f16 are fp32 memory that holds values rounded to
// the narrow format, for kernels that multiply in fp32.
enum class RowFormat : std::int32_t { f32, bf16, f16, f32_bf16, f32_f16 };

// c[t, r] = sum over k of x[t, k] * w[r, k], for all rows r of consecutive panels.
struct PanelJob {
  const void* x;          // [tokens, cols] f32 or bf16, by the kernel
  std::int64_t x_stride;  // bytes between tokens
  const void* w;          // first panel
  std::int64_t w_stride;  // bytes between panels
  float* c;               // [tokens, panels * 16]
  std::int64_t c_stride;  // floats between tokens
  std::int64_t tokens;
  std::int64_t panels;
  std::int64_t cols;
};

using PanelKernel = void (*)(const PanelJob&);

enum class ActivationCode : std::int32_t { swiglu, geglu, geglu_tanh, relu2, silu, gelu, identity };

// One token's pre-activations to its row of GEMM 2's input.
struct ActivationJob {
  const float* c;     // gated: panels of 16 gates and 16 ups in turn; else plain. Whole panels
  const float* bias;  // laid out as c, or null
  void* out;          // [count] in out_format
  std::int64_t count;
  ActivationCode activation;
  RowFormat out_format;
  float alpha, beta, limit;  // swiglu; 1, 0, +inf: plain SiLU times up
};

// One row, each element times `scale` in fp32, then rounded.
struct ConvertJob {
  const void* from;  // f32|bf16|f16, possibly unaligned
  void* to;          // possibly unaligned
  std::int64_t count;
  RowFormat from_format;
  RowFormat to_format;
  float scale;
};

// sum[i] += weight * row[i] + bias_weight * bias[i]
struct AccumulateJob {
  float* sum;
  const float* row;
  const float* bias;  // or null
  std::int64_t count;
  float weight;
  float bias_weight;
};

// Runs `rounds` rounds of independent products in registers: the rate that no kernel can pass.
struct ArithmeticLoop {
  void (*run)(std::int64_t rounds);
  std::int64_t operations;  // multiplications and additions of one round
};

struct Isa {
  const char* name;               // the value of SLUICE_ISA
  PanelKernel f32_f32;            // x f32, weights f32; and so on
  PanelKernel f32_f32_in_double;  // the same, its sums in double
  PanelKernel f32_bf16;
  PanelKernel f32_f16;
  PanelKernel bf16_bf16;
  // bf16_bf16 multiplies pairs of bf16 at more than fp32's rate. Otherwise it widens x on the way,
  // and callers who reuse x do better to widen it once and call f32_bf16.
  bool native_bf16;
  void (*activate)(const ActivationJob&);
  void (*convert)(const ConvertJob&);
  void (*accumulate)(const AccumulateJob&);
  ArithmeticLoop fp32_loop;
  ArithmeticLoop bf16_loop;
};

}  // namespace sluice
