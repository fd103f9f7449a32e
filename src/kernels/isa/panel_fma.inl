// Panel products by fp32 fused multiply-add, over any vector type. Included inside an anonymous
// namespace by files compiled for one instruction set: everything here has internal linkage.
//
// V gives: Panel (16 fp32 sums in one or more registers), Weights (what one step eats of a panel),
// Scalar (a broadcast value), zero(), fma(sum, scalar, weights), store(); broadcast(x); whichever
// of f32(w), f16(w), even(w), odd(w) (of each bf16 pair) and pair(w) its formats use; kTokens
// and kPanels: the tallest and widest tile whose sums stay in registers beside the weights.

#if defined(__clang__)
#define SLUICE_UNROLL _Pragma("clang loop unroll(full)")
#else
#define SLUICE_UNROLL _Pragma("GCC unroll 32")
#endif

// Weights one tile ahead of use: DRAM latency (about 100 ns) times a core's share of bandwidth
// (10 to 20 GB/s) is 1 to 2 KiB in flight.
constexpr long kPrefetchBytes = 2048;

struct XFloat {
  static constexpr long kBytes = 4;
  template <typename V, bool tail>
  static typename V::Scalar get(const char* x) {
    float value;
    __builtin_memcpy(&value, x, sizeof value);
    return V::broadcast(value);
  }
};

struct XBf16 {
  static constexpr long kBytes = 2;
  template <typename V, bool tail>
  static typename V::Scalar get(const char* x) {
    unsigned short half;
    __builtin_memcpy(&half, x, sizeof half);
    const unsigned bits = static_cast<unsigned>(half) << 16;
    float value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return V::broadcast(value);
  }
};

// Two columns at once; the tail is an odd last column, paired with zero as in the weights.
struct XPair {
  static constexpr long kBytes = 2;
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

template <typename V, typename X, typename W, int T, int P>
struct FmaTile {
  typename V::Panel sum[T][P];

  template <int step, bool tail>
  inline __attribute__((always_inline)) void add(const char* x, long x_stride, const char* w,
                                                 long w_stride) {
    typename V::Weights weights[P];
    SLUICE_UNROLL
    for (int p = 0; p < P; ++p) weights[p] = W::template get<V, step>(w + p * w_stride);
    SLUICE_UNROLL
    for (int t = 0; t < T; ++t) {
      const auto value = X::template get<V, tail>(x + t * x_stride + step * X::kBytes);
      SLUICE_UNROLL
      for (int p = 0; p < P; ++p) sum[t][p] = V::fma(sum[t][p], value, weights[p]);
    }
  }

  inline __attribute__((always_inline)) void run(const PanelJob& job, long token, long panel) {
    const char* x = static_cast<const char*>(job.x) + token * job.x_stride;
    const char* w = static_cast<const char*>(job.w) + panel * job.w_stride;
    SLUICE_UNROLL
    for (int t = 0; t < T; ++t) {
      SLUICE_UNROLL
      for (int p = 0; p < P; ++p) sum[t][p] = V::zero();
    }
    long k = 0;
    for (; k + W::kColumns <= job.cols; k += W::kColumns) {
      if constexpr (T <= 4) {
        SLUICE_UNROLL
        for (int p = 0; p < P; ++p) __builtin_prefetch(w + p * job.w_stride + kPrefetchBytes);
      }
      add<0, false>(x, job.x_stride, w, job.w_stride);
      if constexpr (W::kSteps == 2) add<1, false>(x, job.x_stride, w, job.w_stride);
      x += W::kColumns * X::kBytes;
      w += W::kBytes;
    }
    if (k < job.cols) add<0, true>(x, job.x_stride, w, job.w_stride);
    float* c = job.c + token * job.c_stride + panel * 16;
    SLUICE_UNROLL
    for (int t = 0; t < T; ++t) {
      SLUICE_UNROLL
      for (int p = 0; p < P; ++p) V::store(c + t * job.c_stride + p * 16, sum[t][p]);
    }
  }
};

template <typename V, typename X, typename W, int T, int P>
__attribute__((noinline)) void fma_tile(const PanelJob& job, long token, long panel) {
  FmaTile<V, X, W, T, P> tile;
  tile.run(job, token, panel);
}

template <typename V, typename X, typename W, int P, int T>
void fma_tokens(const PanelJob& job, long token, long tokens, long panel) {
  if (tokens == T) return fma_tile<V, X, W, T, P>(job, token, panel);
  if constexpr (T > 1) fma_tokens<V, X, W, P, T - 1>(job, token, tokens, panel);
}

// All tokens against P panels, in tiles of nearly equal height: 13 tokens are 7 + 6, not 12 + 1.
template <typename V, typename X, typename W, int P, int T>
void fma_strip(const PanelJob& job, long panel) {
  const long tiles = (job.tokens + T - 1) / T;
  long token = 0;
  for (long tile = 0; tile < tiles; ++tile) {
    const long end = job.tokens * (tile + 1) / tiles;
    fma_tokens<V, X, W, P, T>(job, token, end - token, panel);
    token = end;
  }
}

// Few tokens: more panels at once, so that enough sums are in flight to hide the latency of fma.
template <typename V, typename X, typename W>
void fma_panels(const PanelJob& job) {
  constexpr int kFew = V::kTokens / 4 > 0 ? V::kTokens / 4 : 1;
  long panel = 0;
  if (job.tokens <= kFew) {
    for (; panel + 4 <= job.panels; panel += 4) fma_strip<V, X, W, 4, kFew>(job, panel);
  }
  if constexpr (V::kPanels == 2) {
    for (; panel + 2 <= job.panels; panel += 2) fma_strip<V, X, W, 2, V::kTokens>(job, panel);
  }
  for (; panel < job.panels; ++panel) fma_strip<V, X, W, 1, V::kTokens>(job, panel);
}

// Enough sums that none waits for its own last result.
template <typename V>
constexpr int kLoopSums = V::kTokens > 4 ? V::kTokens : 4;

template <typename V, typename W>
void arithmetic_loop(long rounds) {
  // Zeros that the compiler does not know to be zeros: it would compute equal lanes and equal sums
  // once.
  alignas(64) char zeros[64] = {};
  int start = 1;
  __asm__ volatile("" : "+r"(start), "+m"(zeros));
  const auto w = W::template get<V, 0>(zeros);
  const auto x = V::broadcast(start);
  typename V::Panel sum[kLoopSums<V>];
  SLUICE_UNROLL
  for (int i = 0; i < kLoopSums<V>; ++i) {
    sum[i] = V::fma(V::zero(), V::broadcast(start + i), w);
  }
  for (long round = 0; round < rounds; ++round) {
    SLUICE_UNROLL
    for (int i = 0; i < kLoopSums<V>; ++i) sum[i] = V::fma(sum[i], x, w);
  }
  float last[16];
  for (int i = 0; i < kLoopSums<V>; ++i) {
    V::store(last, sum[i]);
    __asm__ volatile("" ::"r"(last) : "memory");  // the sums are used
  }
}

// Each sum takes, for each of 16 rows, the columns of one step: two operations each.
template <typename V, typename W>
constexpr ArithmeticLoop make_loop() {
  return {arithmetic_loop<V, W>, kLoopSums<V> * 16 * (W::kColumns / W::kSteps) * 2};
}
