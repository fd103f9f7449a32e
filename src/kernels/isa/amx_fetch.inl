// Weights wanted next, fetched while these are multiplied.
//
// One block of tokens: its own weights come from memory, and are fetched 4 KiB ahead (DRAM latency,
// 100 ns, at a core's share of the bandwidth, and past the page ends at which hardware prefetching
// stops); towards its end, the heads of the next panels.
//
// More blocks: the next panels, spread evenly over all steps of all blocks, in two streams per
// panel of neighbouring lines. Hardware prefetching runs ahead of such streams without holding any
// of the core's 16 fill buffers, which tile loads need; of lines picked from every tile it made
// nothing.
#include "kernels/isa/amx_tiles.inl"

struct Fetch {
  static constexpr long kSteps = 4;                       // ahead
  static constexpr long kLines = kTileBytes / kRowBytes;  // of a tile

  const char* next;
  long next_stride;
  long own;           // steps for which the block alone fetches its own panels; -1: more blocks
  long half;          // bytes between the streams of a panel
  long lines, steps;  // of a stream; of all blocks
  long credit;        // less than a line's worth of steps
  bool nothing;

  template <int panels>
  SLUICE_INLINE void step(const char* w, long w_stride) {
    if (nothing) return;
    if (own < 0) return spread<panels>();
    if (own > 0) {
      --own;
      return tile<panels>(w + kSteps * kTileBytes, w_stride);
    }
    tile<panels>(next, next_stride);
    next += kTileBytes;
  }

 private:
  template <int panels>
  SLUICE_INLINE void tile(const char* from, long stride) {
    for (int line = 0; line < kLines; ++line) {
      for (int p = 0; p < panels; ++p) {
        __builtin_prefetch(from + p * stride + line * kRowBytes, 0, 2);
      }
    }
  }

  template <int panels>
  SLUICE_INLINE void spread() {
    for (credit += lines; credit >= steps; credit -= steps) {
      for (int p = 0; p < panels; ++p) {
        __builtin_prefetch(next + p * next_stride, 0, 2);
        __builtin_prefetch(next + p * next_stride + half, 0, 2);
      }
      next += kRowBytes;
    }
  }
};
