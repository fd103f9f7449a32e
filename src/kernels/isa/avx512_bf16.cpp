// vdpbf16ps: two bf16 products per fp32 lane. Compiled with its flags: intrinsics and internal
// linkage only. x and weights are taken as pairs of columns, which is how panels are packed.
#include <immintrin.h>

#include "kernels/isa/isa_files.hpp"

namespace sluice {
namespace {

struct Avx512Bf16 {
  using Panel = __m512;
  using Weights = __m512i;
  using Scalar = __m512i;
  // 28 sums and the weights; the broadcast is part of the instruction.
  static constexpr int kTokens = 28;
  static constexpr int kPair = 12;
  static constexpr int kFour = 3;
  static constexpr int kUnroll = 1;
  static constexpr bool kWiden = false;

  static Panel zero() { return _mm512_setzero_ps(); }
  static Scalar broadcast(int pair) { return _mm512_set1_epi32(pair); }
  static Weights pair(const char* w) { return _mm512_loadu_si512(w); }
  static Panel fma(Panel sum, Scalar x, Weights w) {
    return _mm512_dpbf16_ps(sum, (__m512bh)x, (__m512bh)w);
  }
  static void store(float* to, Panel panel) { _mm512_storeu_ps(to, panel); }
};

#define SLUICE_INLINE inline __attribute__((always_inline))
#include "kernels/isa/panel_fma.inl"

}  // namespace

extern const Bf16Panels kAvx512Bf16Panels{make_panels<Avx512Bf16, XPair, WPair>(),
                                          make_loop<Avx512Bf16, WPair>()};

}  // namespace sluice
