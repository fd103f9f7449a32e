// AVX2, FMA and F16C. Compiled with their flags: intrinsics and internal linkage only.
#include <immintrin.h>

#include "kernels/isa/isa_files.hpp"

namespace sluice {
namespace {

constexpr int kVectorBytes = 32;
typedef float Vector __attribute__((vector_size(kVectorBytes)));

inline Vector multiply_add(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }

__m256 load_f16(const void* from) {
  return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(from)));
}

void widen_f16(const unsigned short* from, float* to) {
  _mm256_storeu_ps(to, load_f16(from));
  _mm256_storeu_ps(to + 8, load_f16(from + 8));
}

void narrow_f16(const float* from, unsigned short* to) {
  for (int i = 0; i < 16; i += 8) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i),
                     _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT));
  }
}

struct Avx2 {
  struct Panel {
    __m256 low, high;
  };
  using Weights = Panel;
  using Scalar = __m256;
  // 6 tokens x 2 registers of sums, 2 of weights, 1 broadcast, 1 mask: all 16.
  static constexpr int kTokens = 6;
  static constexpr int kPair = 0;
  static constexpr int kFour = 1;
  // Shifting and masking weights takes a seventh of the ports that multiply.
  static constexpr int kUnroll = 4;
  static constexpr bool kWiden = true;

  static Panel load(const float* from) {
    return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)};
  }
  static Panel zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static Scalar broadcast(float x) { return _mm256_set1_ps(x); }
  // Not the intrinsic: GCC then lets products overwrite x or weights, moves sums about, and with
  // all 16 registers in use keeps some of them in memory.
  static Panel fma(Panel sum, Scalar x, Panel w) {
    __asm__("vfmadd231ps %1, %2, %0" : "+x"(sum.low) : "x"(w.low), "x"(x));
    __asm__("vfmadd231ps %1, %2, %0" : "+x"(sum.high) : "x"(w.high), "x"(x));
    return sum;
  }
  static void store(float* to, Panel panel) {
    _mm256_storeu_ps(to, panel.low);
    _mm256_storeu_ps(to + 8, panel.high);
  }
  static Panel f32(const char* w) {
    const auto* from = reinterpret_cast<const float*>(w);
    return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)};
  }
  static Panel f16(const char* w) { return {load_f16(w), load_f16(w + 16)}; }
  static __m256i pairs(const char* w) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w));
  }
  static Panel even(const char* w) {
    return {_mm256_castsi256_ps(_mm256_slli_epi32(pairs(w), 16)),
            _mm256_castsi256_ps(_mm256_slli_epi32(pairs(w + 32), 16))};
  }
  static Panel odd(const char* w) {
    const __m256i upper = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
    return {_mm256_castsi256_ps(_mm256_and_si256(pairs(w), upper)),
            _mm256_castsi256_ps(_mm256_and_si256(pairs(w + 32), upper))};
  }
};

struct Avx2Double {
  struct Panel {
    __m256d quarter[4];
  };
  using Weights = Panel;
  using Scalar = __m256d;
  // 2 tokens x 4 registers of sums, 4 of weights, 1 broadcast: a third token would spill.
  static constexpr int kTokens = 2;
  static constexpr int kPair = 0;
  static constexpr int kFour = 1;
  static constexpr int kUnroll = 1;
  static constexpr bool kWiden = false;

  static Panel zero() { return {}; }
  static Scalar broadcast(float x) { return _mm256_set1_pd(x); }
  static Panel fma(Panel sum, Scalar x, Weights w) {
    for (int i = 0; i < 4; ++i) {
      sum.quarter[i] = _mm256_fmadd_pd(x, w.quarter[i], sum.quarter[i]);
    }
    return sum;
  }
  static void store(float* to, Panel panel) {
    for (int i = 0; i < 4; ++i) _mm_storeu_ps(to + 4 * i, _mm256_cvtpd_ps(panel.quarter[i]));
  }
  static Weights f32(const char* w) {
    const auto* from = reinterpret_cast<const float*>(w);
    Panel panel;
    for (int i = 0; i < 4; ++i) panel.quarter[i] = _mm256_cvtps_pd(_mm_loadu_ps(from + 4 * i));
    return panel;
  }
};

#include "kernels/isa/elementwise.inl"
#include "kernels/isa/panel_fma.inl"

}  // namespace

extern const Isa kAvx2Isa{"avx2",
                          make_panels<Avx2, XFloat, WFloat>(),
                          make_panels<Avx2Double, XFloat, WFloat>(),
                          make_panels<Avx2, XFloat, WBf16>(),
                          make_panels<Avx2, XFloat, WHalf>(),
                          {nullptr, {}},
                          pack,
                          activate,
                          convert,
                          accumulate,
                          make_loop<Avx2, WFloat>(),
                          make_loop<Avx2, WFloat>()};

}  // namespace sluice
