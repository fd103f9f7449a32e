// Everything that is done to one element at a time, in blocks of 16.
// Included inside an anonymous namespace by files compiled for one instruction set: everything here
// and in the files that it includes has internal linkage. The includer gives
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

#include "kernels/isa/row_formats.inl"
#include "kernels/isa/tile_layout.inl"
// These build on the two above.
#include "kernels/isa/activation.inl"
#include "kernels/isa/packing.inl"

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
