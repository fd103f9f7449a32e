// Everything that is done to one element at a time, in blocks of 16.
// Included inside an anonymous namespace by files compiled for one instruction set: everything here
// has internal linkage. The includer gives
//   constexpr int kVectorBytes                                      of one register, at most 64
//   Vector multiply_add(Vector a, Vector b, Vector c)               a * b + c, see below
//   void widen_f16(const unsigned short* from, float* to)           16 elements
//   void narrow_f16(const float* from, unsigned short* to)          16 elements, to nearest even
//
// Vectors are the compilers' own: loops over 16 floats are unrolled by GCC before it could
// vectorise them, and ran ten times slower.

constexpr int kBlock = 16;
constexpr int kLanes = kVectorBytes / 4;
constexpr int kParts = kBlock / kLanes;

typedef unsigned Bits __attribute__((vector_size(kVectorBytes)));
typedef unsigned short Halves __attribute__((vector_size(kVectorBytes / 2)));

#define SLUICE_INLINE inline __attribute__((always_inline))

SLUICE_INLINE Vector all(float value) { return value - Vector{}; }
SLUICE_INLINE Bits bits_of(Vector value) { return reinterpret_cast<Bits>(value); }
SLUICE_INLINE Vector float_of(Bits bits) { return reinterpret_cast<Vector>(bits); }

struct Block {
  Vector part[kParts];
};

// Register by register: GCC copies a whole block in halves of AVX2's registers, which are then read
// whole while the halves are still on their way.
SLUICE_INLINE Block load(const void* from) {
  Block block;
  for (int i = 0; i < kParts; ++i) {
    __builtin_memcpy(&block.part[i], static_cast<const char*>(from) + i * kVectorBytes,
                     kVectorBytes);
  }
  return block;
}

SLUICE_INLINE void store(void* to, const Block& block) {
  for (int i = 0; i < kParts; ++i) {
    __builtin_memcpy(static_cast<char*>(to) + i * kVectorBytes, &block.part[i], kVectorBytes);
  }
}

// To nearest even; NaN stays NaN. The upper half of the result is the bf16.
SLUICE_INLINE Bits bf16_bits(Vector value) {
  const Bits bits = bits_of(value);
  const Bits rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  return value != value ? bits | 0x400000u : rounded;
}

// exp(x) within 2 ulp for -87 <= x <= 88, held at the ends beyond; NaN stays NaN.
// x = n ln 2 + r with |r| <= 0.35; the series to r^7 leaves r^8 / 8! < 6e-9.
SLUICE_INLINE Vector exp_f32(Vector x) {
  x = x > 88.0f ? all(88.0f) : x;
  x = x < -87.0f ? all(-87.0f) : x;
  const Vector round = all(0x1.8p23f);  // adding it leaves the nearest integer in the low bits
  const Vector shifted = multiply_add(x, all(0x1.715476p+0f), round);
  const Vector n = shifted - round;
  // ln 2 in two parts; the first has few enough bits that n times it is exact.
  Vector r = multiply_add(n, all(-0x1.62e400p-1f), x);
  r = multiply_add(n, all(-0x1.7f7d1cp-20f), r);
  Vector p = all(1.0f / 5040);
  p = multiply_add(p, r, all(1.0f / 720));
  p = multiply_add(p, r, all(1.0f / 120));
  p = multiply_add(p, r, all(1.0f / 24));
  p = multiply_add(p, r, all(1.0f / 6));
  p = multiply_add(p, r, all(0.5f));
  p = multiply_add(p, r, all(1.0f));
  p = multiply_add(p, r, all(1.0f));
  return p * float_of((bits_of(shifted) - bits_of(round) + 127u) << 23);
}

// Zero where exp_f32 is held: times a gate that is as large as it is negative it would not be
// small.
SLUICE_INLINE Vector sigmoid(Vector x) {
  const Vector held = 1.0f / (1.0f + exp_f32(-x));
  return x < -88.0f ? Vector{} : held;
}

SLUICE_INLINE Vector gelu_erf(Vector x) {
  Vector result;
  for (int i = 0; i < kLanes; ++i)
    result[i] = 0.5f * x[i] * __builtin_erfcf(-x[i] * 0x1.6a09e6p-1f);
  return result;
}

// 0.5 (1 + tanh u) is sigmoid(2 u): no cancellation for negative x.
SLUICE_INLINE Vector gelu_tanh(Vector x) {
  const Vector u = 0x1.988454p-1f * multiply_add(0.044715f * x * x, x, x);  // sqrt(2 / pi)
  return x * sigmoid(2.0f * u);
}

struct SwiGlu {
  float alpha, beta, limit;
  SLUICE_INLINE Vector operator()(Vector gate, Vector up) const {
    gate = gate > limit ? all(limit) : gate;
    up = up > limit ? all(limit) : up;
    up = up < -limit ? all(-limit) : up;
    return gate * sigmoid(alpha * gate) * (up + beta);
  }
};
struct GeGlu {
  SLUICE_INLINE Vector operator()(Vector gate, Vector up) const { return gelu_erf(gate) * up; }
};
struct GeGluTanh {
  SLUICE_INLINE Vector operator()(Vector gate, Vector up) const { return gelu_tanh(gate) * up; }
};
struct Relu2 {
  SLUICE_INLINE Vector operator()(Vector x) const {
    x = x < 0.0f ? Vector{} : x;
    return x * x;
  }
};
struct Silu {
  SLUICE_INLINE Vector operator()(Vector x) const { return x * sigmoid(x); }
};
struct Gelu {
  SLUICE_INLINE Vector operator()(Vector x) const { return gelu_erf(x); }
};
struct Identity {
  SLUICE_INLINE Vector operator()(Vector x) const { return x; }
};

SLUICE_INLINE void narrow_bf16(const Block& block, unsigned short* to) {
  for (int i = 0; i < kParts; ++i) {
    const Halves upper = __builtin_convertvector(bf16_bits(block.part[i]) >> 16, Halves);
    __builtin_memcpy(to + i * kLanes, &upper, sizeof upper);
  }
}

SLUICE_INLINE long element_bytes(RowFormat format) {
  return format == RowFormat::bf16 || format == RowFormat::f16 ? 2 : 4;
}

// The elements of a block as they lie in memory.
struct alignas(64) Stored {
  char bytes[kBlock * 4];
};

SLUICE_INLINE void encode(const Block& block, RowFormat format, Stored& stored) {
  auto* narrow = reinterpret_cast<unsigned short*>(stored.bytes);
  switch (format) {
    case RowFormat::f32:
      return store(stored.bytes, block);
    case RowFormat::bf16:
      narrow_bf16(block, narrow);
      return;
    case RowFormat::f16:
      narrow_f16(reinterpret_cast<const float*>(&block), narrow);
      return;
    case RowFormat::f32_bf16:
      for (int i = 0; i < kParts; ++i) {
        const Bits rounded = bf16_bits(block.part[i]) & 0xffff0000u;
        __builtin_memcpy(stored.bytes + i * kVectorBytes, &rounded, sizeof rounded);
      }
      return;
    case RowFormat::f32_f16: {
      alignas(64) unsigned short rounded[kBlock];
      narrow_f16(reinterpret_cast<const float*>(&block), rounded);
      widen_f16(rounded, reinterpret_cast<float*>(stored.bytes));
      return;
    }
  }
}

#include "kernels/isa/tile_layout.inl"

SLUICE_INLINE Block decode(const void* from, RowFormat format) {
  Block block;
  if (format == RowFormat::bf16) {
    for (int i = 0; i < kParts; ++i) {
      Halves upper;
      __builtin_memcpy(&upper, static_cast<const char*>(from) + i * sizeof upper, sizeof upper);
      block.part[i] = float_of(__builtin_convertvector(upper, Bits) << 16);
    }
  } else if (format == RowFormat::f16) {
    alignas(64) unsigned short narrow[kBlock];
    __builtin_memcpy(narrow, from, sizeof narrow);
    widen_f16(narrow, reinterpret_cast<float*>(&block));
  } else {
    block = load(from);
  }
  return block;
}

// `count` <= 16 elements from `index` on; the rest of the block is zero.
SLUICE_INLINE Block get(const void* from, RowFormat format, long index, long count) {
  const long bytes = element_bytes(format);
  const char* source = static_cast<const char*>(from) + index * bytes;
  if (count == kBlock) return decode(source, format);
  Stored stored{};
  __builtin_memcpy(stored.bytes, source, static_cast<unsigned long>(count * bytes));
  return decode(stored.bytes, format);
}

// 16 activations of a token, from column `at` of its sums on.
template <bool gated, typename F>
SLUICE_INLINE Block activated(const float* c, const float* bias, long at, F function) {
  Block first = load(c + at);
  Block second = first;
  if constexpr (gated) second = load(c + at + kBlock);
  if (bias != nullptr) {
    const Block first_bias = load(bias + at);
    for (int p = 0; p < kParts; ++p) first.part[p] += first_bias.part[p];
    if constexpr (gated) {
      const Block second_bias = load(bias + at + kBlock);
      for (int p = 0; p < kParts; ++p) second.part[p] += second_bias.part[p];
    }
  }
  Block result;
  for (int p = 0; p < kParts; ++p) {
    if constexpr (gated) {
      result.part[p] = function(first.part[p], second.part[p]);
    } else {
      result.part[p] = function(first.part[p]);
    }
  }
  return result;
}

template <bool gated, typename F>
void activate_rows(const ActivationJob& job, F function) {
  constexpr long kStep = gated ? 2 : 1;
  const long bytes = element_bytes(job.out_format);
  auto* to = static_cast<char*>(job.out);
  if (job.tokens >= kTurned && job.group * bytes == 4) {
    Stored rows[kMostTileTokens];
    for (long i = 0; i < job.count; i += kBlock) {
      for (long t = 0; t < job.tokens; ++t) {
        const float* c = job.c + t * job.c_stride;
        encode(activated<gated>(c, job.bias, i * kStep, function), job.out_format, rows[t]);
      }
      const long count = job.count - i < kBlock ? job.count - i : kBlock;
      interleave_words(rows[0].bytes, sizeof(Stored), (count + job.group - 1) / job.group,
                       job.tokens, to + (job.first + i) / job.group * job.group_stride,
                       job.group_stride);
    }
    return;
  }
  for (long t = 0; t < job.tokens; ++t) {
    const float* c = job.c + t * job.c_stride;
    Cursor out({to + t * job.group * bytes, job.group, job.group_stride}, job.first, bytes);
    for (long i = 0; i < job.count; i += kBlock) {
      const long left = job.count - i;
      Stored stored;
      encode(activated<gated>(c, job.bias, i * kStep, function), job.out_format, stored);
      put(stored, bytes, out, left < kBlock ? left : kBlock);
    }
  }
}

void activate(const ActivationJob& job) {
  switch (job.activation) {
    case ActivationCode::swiglu:
      return activate_rows<true>(job, SwiGlu{job.alpha, job.beta, job.limit});
    case ActivationCode::geglu:
      return activate_rows<true>(job, GeGlu{});
    case ActivationCode::geglu_tanh:
      return activate_rows<true>(job, GeGluTanh{});
    case ActivationCode::relu2:
      return activate_rows<false>(job, Relu2{});
    case ActivationCode::silu:
      return activate_rows<false>(job, Silu{});
    case ActivationCode::gelu:
      return activate_rows<false>(job, Gelu{});
    case ActivationCode::identity:
      return activate_rows<false>(job, Identity{});
  }
}

// `count` elements from `from` on.
SLUICE_INLINE void convert_part(const void* from, RowFormat from_format, const Destination& to,
                                RowFormat to_format, float scale, long count) {
  const long bytes = element_bytes(to_format);
  Cursor at(to, 0, bytes);
  for (long i = 0; i < count; i += kBlock) {
    const long now = count - i < kBlock ? count - i : kBlock;
    Block block = get(from, from_format, i, now);
    for (int p = 0; p < kParts; ++p) block.part[p] *= scale;
    Stored stored;
    encode(block, to_format, stored);
    put(stored, bytes, at, now);
  }
}

void convert(const ConvertJob& job) {
  convert_part(job.from, job.from_format, {static_cast<char*>(job.to), 0, 0}, job.to_format,
               job.scale, job.count);
}

// The bits themselves.
SLUICE_INLINE void copy_part(const char* from, long bytes, const Destination& to, long count) {
  Cursor at(to, 0, bytes);
  for (long i = 0; i < count; i += kBlock) {
    const long now = count - i < kBlock ? count - i : kBlock;
    Stored stored{};
    const char* source = from + i * bytes;
    if (bytes == 4) {
      copy_elements<4>(stored.bytes, source, now);
    } else {
      copy_elements<2>(stored.bytes, source, now);
    }
    put(stored, bytes, at, now);
  }
}

// Whether elements go into the tile as they are.
SLUICE_INLINE bool as_is(const PackJob& job) {
  return job.from_format == job.to_format && job.scales == nullptr;
}

SLUICE_INLINE void pack_part(const PackJob& job, long token, long first, long count,
                             const Destination& to) {
  const long bytes = element_bytes(job.to_format);
  const char* from =
      static_cast<const char*>(job.rows[token]) + first * element_bytes(job.from_format);
  if (as_is(job)) {
    copy_part(from, bytes, to, count);
  } else {
    convert_part(from, job.from_format, to, job.to_format,
                 job.scales != nullptr ? job.scales[token] : 1.0f, count);
  }
}

constexpr long kLine = 64;

// Whole lines as they are.
void pack_lines(const PackJob& job) {
  const long groups = job.cols / job.group;
  const long stride = job.tokens * kLine;
  for (long t = 0; t < job.tokens; ++t) {
    const char* from = static_cast<const char*>(job.rows[t]);
    char* to = static_cast<char*>(job.to) + t * kLine;
    for (long group = 0; group < groups; ++group) {
      __builtin_memcpy(to + group * stride, from + group * kLine, kLine);
    }
  }
}

// Few columns of all tokens at a time: they fill the same cache lines.
void pack(const PackJob& job) {
  constexpr long kColumns = 64;  // whole groups of every layout
  const long group_bytes = job.group * element_bytes(job.to_format);
  if (as_is(job) && group_bytes == kLine && job.cols % job.group == 0) return pack_lines(job);
  const long stride = job.tokens * group_bytes;
  const bool turns = job.tokens >= kTurned && group_bytes == 4;
  alignas(64) char rows[kMostTileTokens][kColumns * 4];
  if (turns && job.cols % job.group != 0) __builtin_memset(rows, 0, sizeof rows);  // the padding
  auto* to = static_cast<char*>(job.to);
  for (long first = 0; first < job.cols; first += kColumns) {
    const long count = job.cols - first < kColumns ? job.cols - first : kColumns;
    for (long t = 0; t < job.tokens; ++t) {
      const Destination in_tile{to + t * group_bytes, job.group, stride};
      pack_part(job, t, first, count, turns ? Destination{rows[t], 0, 0} : in_tile);
    }
    if (turns) {
      interleave_words(rows[0], sizeof rows[0], (count + job.group - 1) / job.group, job.tokens, to,
                       stride);
    }
    to += kColumns / job.group * stride;
  }
}

void accumulate(const AccumulateJob& job) {
  for (long i = 0; i < job.count; i += kBlock) {
    const long count = job.count - i < kBlock ? job.count - i : kBlock;
    Block total{};
    if (job.onto) total = get(job.sum, RowFormat::f32, i, count);
    for (long term = 0; term < job.terms; ++term) {
      const Block row = get(job.rows[term], RowFormat::f32, i, count);
      const Vector weight = all(job.weights[term]);
      for (int p = 0; p < kParts; ++p) {
        total.part[p] = multiply_add(weight, row.part[p], total.part[p]);
      }
    }
    if (count == kBlock) {
      store(job.sum + i, total);
    } else {
      __builtin_memcpy(job.sum + i, &total, static_cast<unsigned long>(count) * 4);
    }
  }
}
