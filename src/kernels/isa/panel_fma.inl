// Panel products by fp32 fused multiply-add, over any vector type. Included inside an anonymous
// namespace by files compiled for one instruction set: everything here has internal linkage.
//
// V gives: Panel (16 fp32 sums in one or more registers), Weights (what one step eats of a panel),
// Scalar (a broadcast value), zero(), load() (kWiden), fma(sum, scalar, weights), store();
// broadcast(x); whichever of f32(w), f16(w), even(w), odd(w) (of each bf16 pair) and pair(w) its
// formats use; kTokens: the tallest tile whose sums of one panel stay in registers beside the
// weights; kPair and kFour: the tallest for two panels and for four; kUnroll: columns of a turn;
// kWiden: whether to widen weights of many tokens beforehand.

#if defined(__clang__)
#define SLUICE_UNROLL _Pragma("clang loop unroll(full)")
#else
#define SLUICE_UNROLL _Pragma("GCC unroll 32")
#endif

// Weights wanted soon when a single tile streams them: DRAM latency (100 ns, twice that under load)
// times a core's share of bandwidth (10 to 20 GB/s) is 1 to 4 KiB in flight.
constexpr long kPrefetchBytes = 4096;

#include "kernels/isa/fma_operands.inl"

// Bytes of x that one token has in a word of the layout: a float or a pair of bf16.
constexpr long kWord = 4;

// What one tile reads and writes. Fetching: weights `ahead` bytes on while k < k_stream, then the
// panels at `next`, from their beginning.
struct TileJob {
  const char* x;
  const char* w;
  long w_stride;
  float* c;
  long c_stride;
  long cols;
  long k_stream;
  long ahead;
  const char* next;
  long next_stride;
  long next_step;  // bytes of `next` that a step fetches on
};

template <typename V, typename X, typename W, int T, int P>
struct FmaTile {
  typename V::Panel sum[T][P];

  template <int step, bool tail>
  SLUICE_INLINE void add(const char* x, const char* w, long w_stride) {
    typename V::Weights weights[P];
    SLUICE_UNROLL
    for (int p = 0; p < P; ++p) weights[p] = W::template get<V, step>(w + p * w_stride);
    SLUICE_UNROLL
    for (int t = 0; t < T; ++t) {
      const auto value = X::template get<V, tail>(x + (step * T + t) * kWord);
      SLUICE_UNROLL
      for (int p = 0; p < P; ++p) sum[t][p] = V::fma(sum[t][p], value, weights[p]);
    }
  }

  // One group of columns, all pointers moved on.
  SLUICE_INLINE void step(const char*& x, const char*& w, long w_stride, const char*& fetch,
                          long fetch_stride, long fetch_step) {
    SLUICE_UNROLL
    for (int p = 0; p < P; ++p) {
      // Into the first cache where tokens are so few that it is wanted at once.
      __builtin_prefetch(fetch + p * fetch_stride, 0, T <= V::kFour ? 3 : 2);
    }
    add<0, false>(x, w, w_stride);
    if constexpr (W::kSteps == 2) add<1, false>(x, w, w_stride);
    x += W::kColumns / X::kColumns * T * kWord;
    w += W::kBytes;
    fetch += fetch_step;
  }

  // `more`: on top of what c holds.
  template <bool more>
  SLUICE_INLINE void run(const TileJob& job) {
    SLUICE_UNROLL
    for (int t = 0; t < T; ++t) {
      SLUICE_UNROLL
      for (int p = 0; p < P; ++p) {
        if constexpr (more) {
          sum[t][p] = V::load(job.c + t * job.c_stride + p * 16);
        } else {
          sum[t][p] = V::zero();
        }
      }
    }
    const char* x = job.x;
    const char* w = job.w;
    const char* fetch = w + job.ahead;
    long fetch_stride = job.w_stride;
    long fetch_step = W::kBytes;
    long end = job.k_stream;
    long k = 0;
    constexpr int kUnroll = V::kUnroll / W::kSteps > 0 ? V::kUnroll / W::kSteps : 1;
    for (int part = 0; part < 2; ++part) {
      for (; k + kUnroll * W::kColumns <= end; k += kUnroll * W::kColumns) {
        SLUICE_UNROLL
        for (int u = 0; u < kUnroll; ++u) step(x, w, job.w_stride, fetch, fetch_stride, fetch_step);
      }
      for (; k + W::kColumns <= end; k += W::kColumns) {
        step(x, w, job.w_stride, fetch, fetch_stride, fetch_step);
      }
      fetch = job.next;
      fetch_stride = job.next_stride;
      fetch_step = job.next_step;
      end = job.cols;
    }
    if (k < job.cols) add<0, true>(x, w, job.w_stride);
    SLUICE_UNROLL
    for (int t = 0; t < T; ++t) {
      SLUICE_UNROLL
      for (int p = 0; p < P; ++p) V::store(job.c + t * job.c_stride + p * 16, sum[t][p]);
    }
  }
};

template <typename V, typename X, typename W, int T, int P, bool more>
__attribute__((noinline)) void fma_tile(const TileJob& job) {
  FmaTile<V, X, W, T, P> tile;
  tile.template run<more>(job);
}

template <typename V, typename X, typename W, int P, int T, bool more>
void fma_tokens(const TileJob& job, long tokens) {
  if (tokens == T) return fma_tile<V, X, W, T, P, more>(job);
  if constexpr (T > 1) fma_tokens<V, X, W, P, T - 1, more>(job, tokens);
}

// One tile of a job against P panels. The tiles that read these panels fetch the next ones, each
// its part, line by line; a tile alone also fetches what it will read itself.
template <typename V, typename X, typename W, int P, int T>
void fma_block(const PanelJob& job, long tile, long panel) {
  const XLayout layout{V::kTokens, X::kColumns};
  const long tiles = tile_count(layout, job.tokens);
  const long token = tile_begin(job.tokens, tiles, tile);
  const char* w = static_cast<const char*>(job.w) + panel * job.w_stride;
  TileJob one{static_cast<const char*>(job.x) +
                  token * padded_columns(layout, job.cols) / X::kColumns * kWord,
              w,
              job.w_stride,
              job.c + token * job.c_stride + panel * 16,
              job.c_stride,
              job.cols,
              0,
              0,
              w,
              job.w_stride,
              (W::kBytes + tiles - 1) / tiles};
  const auto* next_item = static_cast<const char*>(job.next_w);
  if (panel + P < job.panels) {
    one.next = w + P * job.w_stride;
  } else if (next_item != nullptr) {
    one.next = next_item;
    one.next_stride = job.next_stride;
  }
  one.next += job.cols / W::kColumns * one.next_step * tile;
  if (tiles == 1) {
    constexpr long kAhead = kPrefetchBytes / W::kBytes * W::kColumns;
    one.k_stream = job.cols > kAhead ? (job.cols - kAhead) / W::kColumns * W::kColumns : 0;
    one.ahead = kPrefetchBytes;
  }
  fma_tokens<V, X, W, P, T, false>(one, tile_begin(job.tokens, tiles, tile + 1) - token);
}

template <typename V, typename X, typename W, int P, int T>
void fma_strip(const PanelJob& job, long panel) {
  const long tiles = tile_count({V::kTokens, X::kColumns}, job.tokens);
  for (long tile = 0; tile < tiles; ++tile) fma_block<V, X, W, P, T>(job, tile, panel);
}

// Weights widened to fp32 once for all tiles of tokens, in pieces that stay in the first cache (24
// KiB, beside a tile's 9 of x). Sums rest in c in between: the same chain of operations as without.
template <typename V, typename W>
void fma_widened(const PanelJob& job) {
  constexpr long kColumns = 384;
  alignas(64) float wide[kColumns * 16];
  const XLayout layout{V::kTokens, 1};
  const long tiles = tile_count(layout, job.tokens);
  const long fetched = (W::kBytes / W::kColumns + tiles - 1) / tiles;  // by a tile, per column
  for (long panel = 0; panel < job.panels; ++panel) {
    const char* w = static_cast<const char*>(job.w) + panel * job.w_stride;
    for (long k = 0; k < job.cols; k += kColumns) {
      const long cols = job.cols - k < kColumns ? job.cols - k : kColumns;
      for (long i = 0; i < cols; i += W::kColumns) {
        const char* from = w + (k + i) / W::kColumns * W::kBytes;
        V::store(wide + i * 16, W::template get<V, 0>(from));
        if constexpr (W::kSteps == 2) V::store(wide + i * 16 + 16, W::template get<V, 1>(from));
      }
      // The next piece, while this one is multiplied.
      const char* next = w + (k + kColumns) / W::kColumns * W::kBytes;
      if (k + kColumns >= job.cols && panel + 1 < job.panels) next = w + job.w_stride;
      if (k + kColumns >= job.cols && panel + 1 == job.panels) {
        next = job.next_w != nullptr ? static_cast<const char*>(job.next_w) : w;
      }
      for (long tile = 0; tile < tiles; ++tile) {
        const long token = tile_begin(job.tokens, tiles, tile);
        const long tokens = tile_begin(job.tokens, tiles, tile + 1) - token;
        const TileJob one{static_cast<const char*>(job.x) + (token * job.cols + k * tokens) * kWord,
                          reinterpret_cast<const char*>(wide),
                          0,
                          job.c + token * job.c_stride + panel * 16,
                          job.c_stride,
                          cols,
                          0,
                          0,
                          next + cols * fetched * tile,
                          0,
                          fetched};
        if (k == 0) {
          fma_tokens<V, XFloat, WFloat, 1, V::kTokens, false>(one, tokens);
        } else {
          fma_tokens<V, XFloat, WFloat, 1, V::kTokens, true>(one, tokens);
        }
      }
    }
  }
}

// Few tokens: more panels at once, so that enough sums are in flight to hide the latency of fma.
template <typename V, typename X, typename W>
void fma_panels(const PanelJob& job) {
  if constexpr (V::kWiden && W::kBytes < 64 * W::kColumns) {
    if (job.tokens > 8 * V::kTokens) return fma_widened<V, W>(job);
  }
  long panel = 0;
  if (job.tokens <= V::kFour) {
    for (; panel + 4 <= job.panels; panel += 4) fma_strip<V, X, W, 4, V::kFour>(job, panel);
  }
  if constexpr (V::kPair > 0) {
    if (job.tokens <= V::kPair) {
      for (; panel + 2 <= job.panels; panel += 2) fma_strip<V, X, W, 2, V::kPair>(job, panel);
    }
  }
  for (; panel < job.panels; ++panel) fma_strip<V, X, W, 1, V::kTokens>(job, panel);
}

template <typename V, typename X, typename W>
constexpr PanelKernel make_panels() {
  return {fma_panels<V, X, W>, {V::kTokens, X::kColumns}};
}

#include "kernels/isa/fma_ceiling.inl"
