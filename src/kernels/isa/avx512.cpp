// AVX-512 F, BW, DQ and VL. Compiled with their flags: intrinsics and internal linkage only.
#include <immintrin.h>

#include "kernels/isa/isa_files.hpp"

namespace sluice {
namespace {

constexpr int kVectorBytes = 64;
typedef float Vector __attribute__((vector_size(kVectorBytes)));

inline Vector multiply_add(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }

void widen_f16(const unsigned short* from, float* to) {
  _mm512_storeu_ps(to, _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))));
}

void narrow_f16(const float* from, unsigned short* to) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to),
                      _mm512_cvtps_ph(_mm512_loadu_ps(from), _MM_FROUND_TO_NEAREST_INT));
}

struct Avx512 {
  using Panel = __m512;
  using Weights = Panel;
  using Scalar = __m512;
  // 28 sums, the weights, the mask. One panel at a time: the broadcast is then part of the
  // instruction, and weights are widened half as often as for 12 x 2.
  static constexpr int kTokens = 28;
  static constexpr int kPair = 12;
  static constexpr int kFour = 3;
  static constexpr int kUnroll = 1;
  static constexpr bool kWiden = false;

  static Panel zero() { return _mm512_setzero_ps(); }
  static Scalar broadcast(float x) { return _mm512_set1_ps(x); }
  static Panel fma(Panel sum, Scalar x, Panel w) { return _mm512_fmadd_ps(x, w, sum); }
  static void store(float* to, Panel panel) { _mm512_storeu_ps(to, panel); }
  static Panel f32(const char* w) { return _mm512_loadu_ps(w); }
  static Panel f16(const char* w) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(w)));
  }
  static Panel even(const char* w) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(w), 16));
  }
  static Panel odd(const char* w) {
    const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(w), upper));
  }
};

struct Avx512Double {
  struct Panel {
    __m512d low, high;
  };
  using Weights = Panel;
  using Scalar = __m512d;
  // 6 tokens x 2 panels of 2 sums and 4 registers of weights leave 4 of the 32 for broadcasts.
  static constexpr int kTokens = 6;
  static constexpr int kPair = 6;
  static constexpr int kFour = 1;
  static constexpr int kUnroll = 1;
  static constexpr bool kWiden = false;

  static Panel zero() { return {_mm512_setzero_pd(), _mm512_setzero_pd()}; }
  // Of eight equal floats, not of a scalar: one instruction with the load.
  static Scalar broadcast(float x) { return _mm512_cvtps_pd(_mm256_set1_ps(x)); }
  static Panel fma(Panel sum, Scalar x, Weights w) {
    return {_mm512_fmadd_pd(x, w.low, sum.low), _mm512_fmadd_pd(x, w.high, sum.high)};
  }
  static void store(float* to, Panel panel) {
    _mm256_storeu_ps(to, _mm512_cvtpd_ps(panel.low));
    _mm256_storeu_ps(to + 8, _mm512_cvtpd_ps(panel.high));
  }
  static Weights f32(const char* w) {
    const auto* from = reinterpret_cast<const float*>(w);
    return {_mm512_cvtps_pd(_mm256_loadu_ps(from)), _mm512_cvtps_pd(_mm256_loadu_ps(from + 8))};
  }
};

#include "kernels/isa/elementwise.inl"
#include "kernels/isa/panel_fma.inl"

}  // namespace

extern const Isa kAvx512Isa{"avx512",
                            make_panels<Avx512, XFloat, WFloat>(),
                            make_panels<Avx512Double, XFloat, WFloat>(),
                            make_panels<Avx512, XFloat, WBf16>(),
                            make_panels<Avx512, XFloat, WHalf>(),
                            {nullptr, {}},
                            pack,
                            activate,
                            convert,
                            accumulate,
                            make_loop<Avx512, WFloat>(),
                            make_loop<Avx512, WFloat>()};

}  // namespace sluice
