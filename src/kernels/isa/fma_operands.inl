// What a step of a panel product eats: x in each layout, weights in each format. Included by
// panel_fma.inl, inside its anonymous namespace.

struct XFloat {
  static constexpr long kColumns = 1;
  template <typename V, bool tail>
  static typename V::Scalar get(const char* x) {
    float value;
    __builtin_memcpy(&value, x, sizeof value);
    return V::broadcast(value);
  }
};

// Two columns at once; the tail is an odd last column, paired with zero as in the weights.
struct XPair {
  static constexpr long kColumns = 2;
  template <typename V, bool tail>
  static typename V::Scalar get(const char* x) {
    int pair = 0;
    __builtin_memcpy(&pair, x, tail ? 2 : 4);
    return V::broadcast(pair);
  }
};

// Weight formats: the columns stored together, the steps that take them, the weights of each step.
struct WFloat {
  static constexpr long kColumns = 1;
  static constexpr int kSteps = 1;
  static constexpr long kBytes = 64;
  template <typename V, int step>
  static typename V::Weights get(const char* w) {
    return V::f32(w);
  }
};

struct WHalf {
  static constexpr long kColumns = 1;
  static constexpr int kSteps = 1;
  static constexpr long kBytes = 32;
  template <typename V, int step>
  static typename V::Weights get(const char* w) {
    return V::f16(w);
  }
};

struct WBf16 {
  static constexpr long kColumns = 2;
  static constexpr int kSteps = 2;
  static constexpr long kBytes = 64;
  template <typename V, int step>
  static typename V::Weights get(const char* w) {
    if constexpr (step == 0)
      return V::even(w);
    else
      return V::odd(w);
  }
};

struct WPair {
  static constexpr long kColumns = 2;
  static constexpr int kSteps = 1;
  static constexpr long kBytes = 64;
  template <typename V, int step>
  static typename V::Weights get(const char* w) {
    return V::pair(w);
  }
};
