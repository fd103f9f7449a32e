// Which kernel a layer's products run on, and what their inputs look like in memory.
#pragma once

#include <string>

#include <sluice/dtype.hpp>
#include <sluice/spec.hpp>

#include "kernels/isa.hpp"

namespace sluice {

struct CpuKernel {
  const Isa* isa;
  PanelKernel panels;        // and the layout of both products' inputs
  RowFormat stage;           // of both products' inputs: activation_format, as this kernel reads it
  std::int64_t stage_bytes;  // of one element
};

// bf16 x bf16 where the instruction set multiplies bf16; else fp32 products of widened operands.
CpuKernel choose_kernel(const Isa& isa, const ExpertSpec& experts);

// Of tensors that a caller gives: f32, bf16 or f16.
RowFormat row_format(DType dtype);

// "gemm_<weights>_<activations>_<instruction set>"
std::string variant_name(const Isa& isa, const ExpertSpec& experts);

}  // namespace sluice
