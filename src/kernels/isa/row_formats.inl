// Blocks of 16 elements as they lie in memory, in each RowFormat (isa.hpp). Included by
// elementwise.inl, inside its anonymous namespace.

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
