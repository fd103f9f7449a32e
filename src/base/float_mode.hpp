// How the calling thread rounds, and what it does with subnormal numbers.
#pragma once

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace sluice {

// To nearest, subnormals kept, no traps, until it goes out of scope. Applications set FTZ and DAZ,
// or another rounding, on their own thread only: results would depend on which thread computes
// what. Elsewhere than on x86 it does nothing.
class DefaultFloatMode {
 public:
  DefaultFloatMode() : before_(mode()) { set_mode(kMxcsrAtReset); }
  ~DefaultFloatMode() { set_mode(before_); }
  DefaultFloatMode(const DefaultFloatMode&) = delete;
  DefaultFloatMode& operator=(const DefaultFloatMode&) = delete;

 private:
  static constexpr unsigned kMxcsrAtReset = 0x1f80;
#if defined(__x86_64__)
  static unsigned mode() { return _mm_getcsr(); }
  static void set_mode(unsigned mode) { _mm_setcsr(mode); }
#else
  static unsigned mode() { return 0; }
  static void set_mode(unsigned) {}
#endif

  const unsigned before_;
};

}  // namespace sluice
