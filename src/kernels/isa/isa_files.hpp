// The one symbol that each file of this folder exports. The files are compiled for their own
// instruction set and contain, besides this symbol, only code with internal linkage.
#pragma once

#include "kernels/isa.hpp"

namespace sluice {

extern const Isa kGenericIsa;
#if defined(__x86_64__)
extern const Isa kAvx2Isa;
extern const Isa kAvx512Isa;
// The products alone: everything else is as in kAvx512Isa.
struct Bf16Panels {
  PanelKernel panels;
  ArithmeticLoop loop;
};
extern const Bf16Panels kAvx512Bf16Panels;
extern const Bf16Panels kAmxBf16Panels;
#endif

}  // namespace sluice
