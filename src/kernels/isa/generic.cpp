// Plain C++ for any processor. Compiled like the rest of the library.
#include "base/float_types.hpp"
#include "kernels/isa/isa_files.hpp"

namespace sluice {
namespace {

constexpr int kVectorBytes = 16;
typedef float Vector __attribute__((vector_size(kVectorBytes)));

inline Vector multiply_add(Vector a, Vector b, Vector c) { return a * b + c; }

void widen_f16(const unsigned short* from, float* to) {
  for (int i = 0; i < 16; ++i) to[i] = f16_to_float(from[i]);
}

void narrow_f16(const float* from, unsigned short* to) {
  for (int i = 0; i < 16; ++i) to[i] = float_to_f16(from[i]);
}

struct Lanes {
  struct Panel {
    float lane[16];
  };
  using Weights = Panel;
  using Scalar = float;
  static constexpr int kTokens = 1;
  static constexpr int kPair = 0;
  static constexpr int kFour = 1;
  static constexpr int kUnroll = 1;
  static constexpr bool kWiden = false;

  static Panel zero() { return {}; }
  static Scalar broadcast(float x) { return x; }
  static Panel fma(Panel sum, Scalar x, Panel w) {
    for (int i = 0; i < 16; ++i) sum.lane[i] += x * w.lane[i];
    return sum;
  }
  static void store(float* to, Panel panel) { __builtin_memcpy(to, panel.lane, sizeof panel.lane); }
  static Panel f32(const char* w) {
    Panel panel;
    __builtin_memcpy(panel.lane, w, sizeof panel.lane);
    return panel;
  }
  static Panel f16(const char* w) {
    unsigned short halves[16];
    __builtin_memcpy(halves, w, sizeof halves);
    Panel panel;
    widen_f16(halves, panel.lane);
    return panel;
  }
  static Panel pairs(const char* w, int shift) {
    unsigned bits[16];
    __builtin_memcpy(bits, w, sizeof bits);
    for (unsigned& pair : bits) pair = (pair >> (16 - shift)) << 16;
    Panel panel;
    __builtin_memcpy(panel.lane, bits, sizeof bits);
    return panel;
  }
  static Panel even(const char* w) { return pairs(w, 16); }
  static Panel odd(const char* w) { return pairs(w, 0); }
};

struct DoubleLanes {
  struct Panel {
    double lane[16];
  };
  using Weights = Lanes::Panel;
  using Scalar = double;
  static constexpr int kTokens = 1;
  static constexpr int kPair = 0;
  static constexpr int kFour = 1;
  static constexpr int kUnroll = 1;
  static constexpr bool kWiden = false;

  static Panel zero() { return {}; }
  static Scalar broadcast(float x) { return x; }
  static Panel fma(Panel sum, Scalar x, Weights w) {
    for (int i = 0; i < 16; ++i) sum.lane[i] += x * w.lane[i];
    return sum;
  }
  static void store(float* to, Panel panel) {
    for (int i = 0; i < 16; ++i) to[i] = static_cast<float>(panel.lane[i]);
  }
  static Weights f32(const char* w) { return Lanes::f32(w); }
};

#include "kernels/isa/elementwise.inl"
#include "kernels/isa/panel_fma.inl"

}  // namespace

extern const Isa kGenericIsa{"generic",
                             make_panels<Lanes, XFloat, WFloat>(),
                             make_panels<DoubleLanes, XFloat, WFloat>(),
                             make_panels<Lanes, XFloat, WBf16>(),
                             make_panels<Lanes, XFloat, WHalf>(),
                             {nullptr, {}},
                             pack,
                             activate,
                             convert,
                             accumulate,
                             make_loop<Lanes, WFloat>(),
                             make_loop<Lanes, WFloat>()};

}  // namespace sluice
