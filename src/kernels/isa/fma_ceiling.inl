// The rate at which fused multiply-adds can be, for benchmarks. Included by
// panel_fma.inl, inside its anonymous namespace.

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
