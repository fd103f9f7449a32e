// Where blocks of 16 elements go in a kernel's layout (XLayout in isa.hpp). Included by
// elementwise.inl, inside its anonymous namespace.

// Where a row's blocks go: one after another, or in groups `stride` bytes apart, of one word (a
// float, a pair of bf16) or of whole blocks.
struct Destination {
  char* to;
  long group;   // columns; 0: all
  long stride;  // bytes
};

// The next block's place there. Divisions are made once, not per block: they took most of the time
// of copying one.
struct Cursor {
  char* to;
  long group, stride;
  long left = 0;  // columns left of a group of blocks
  long step;      // bytes between blocks of a group, or between those of words

  // `index`: of the first column, a multiple of 16.
  SLUICE_INLINE Cursor(const Destination& destination, long index, long bytes)
      : group(destination.group), stride(destination.stride) {
    if (group > 0 && group < kBlock) {
      to = destination.to + index / group * stride;
      step = kBlock / group * stride;
      return;
    }
    const long within = group == 0 ? index : index % group;
    to = destination.to + within * bytes;
    if (within != index) to += index / group * stride;
    left = group == 0 ? __LONG_MAX__ : group - within;
    step = kBlock * bytes;
  }

  SLUICE_INLINE bool of_words() const { return group > 0 && group < kBlock; }

  SLUICE_INLINE void advance(long bytes) {
    to += step;
    if (of_words()) return;
    left -= kBlock;
    if (left > 0) return;
    to += stride - group * bytes;
    left = group;
  }
};

// Whole blocks, nearly all there are, move in one instruction; a length that is not known is a
// call.
template <int bytes>
SLUICE_INLINE void copy_elements(void* to, const void* from, long count) {
  if (count == kBlock) {
    __builtin_memcpy(to, from, kBlock * bytes);
  } else {
    __builtin_memcpy(to, from, static_cast<unsigned long>(count) * bytes);
  }
}

template <int words>
SLUICE_INLINE void put_words(char* to, const char* from, long stride) {
  for (int i = 0; i < words; ++i) __builtin_memcpy(to + i * stride, from + i * 4, 4);
}

// The first `count` elements of a block, and on to the next. Words are stored whole: a row that
// ends inside a pair fills its padding.
SLUICE_INLINE void put(const Stored& stored, long bytes, Cursor& at, long count) {
  if (!at.of_words()) {
    if (bytes == 4) {
      copy_elements<4>(at.to, stored.bytes, count);
    } else {
      copy_elements<2>(at.to, stored.bytes, count);
    }
  } else if (count == kBlock && at.group == 1) {
    put_words<kBlock>(at.to, stored.bytes, at.stride);
  } else if (count == kBlock && at.group == 2) {
    put_words<kBlock / 2>(at.to, stored.bytes, at.stride);
  } else {
    for (long i = 0; i * at.group < count; ++i) {
      __builtin_memcpy(at.to + i * at.stride, stored.bytes + i * 4, 4);
    }
  }
  at.advance(bytes);
}

// Rows of words (floats, pairs of bf16) into a tile, [word][tokens]: four words of four tokens at a
// time, turned in registers. Stored one by one, as put() does, a word takes four cycles.

constexpr long kTurned = 4;

typedef unsigned Words __attribute__((vector_size(4 * kTurned)));

SLUICE_INLINE Words load_words(const char* from) {
  Words words;
  __builtin_memcpy(&words, from, sizeof words);
  return words;
}

SLUICE_INLINE void turn_words(const char* from, long from_stride, char* to, long to_stride) {
  const Words a = load_words(from), b = load_words(from + from_stride);
  const Words c = load_words(from + 2 * from_stride), d = load_words(from + 3 * from_stride);
  const Words ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
  const Words ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const Words cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5);
  const Words cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  const Words turned[kTurned] = {__builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5),
                                 __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7),
                                 __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5),
                                 __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7)};
  for (int i = 0; i < kTurned; ++i) __builtin_memcpy(to + i * to_stride, &turned[i], sizeof(Words));
}

// At least four tokens. The last four of each direction overlap those before them.
SLUICE_INLINE void interleave_words(const char* from, long from_stride, long words, long tokens,
                                    char* to, long to_stride) {
  if (words < kTurned) {
    for (long t = 0; t < tokens; ++t) {
      for (long i = 0; i < words; ++i) {
        __builtin_memcpy(to + i * to_stride + t * 4, from + t * from_stride + i * 4, 4);
      }
    }
    return;
  }
  for (long i = 0; i < words; i += kTurned) {
    const long word = i < words - kTurned ? i : words - kTurned;
    for (long t = 0; t < tokens; t += kTurned) {
      const long token = t < tokens - kTurned ? t : tokens - kTurned;
      turn_words(from + token * from_stride + word * 4, from_stride,
                 to + word * to_stride + token * 4, to_stride);
    }
  }
}
