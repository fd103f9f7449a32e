// What the processor offers and the operating system lets us use.
#pragma once

namespace sluice {

struct CpuFeatures {
  bool avx2 = false;    // with FMA and F16C
  bool avx512 = false;  // F, BW, DQ, VL
  bool avx512_bf16 = false;
  bool amx_bf16 = false;  // and permission to use tiles, asked of Linux once
  bool intel = false;     // who made it, which says how long instructions take
};

// Found at the first call.
const CpuFeatures& cpu_features();

}  // namespace sluice
