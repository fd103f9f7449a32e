// Everything that is done to one element at a time, in blocks of 16 that compilers vectorise.
// Included inside an anonymous namespace by files compiled for one instruction set: everything here
// has internal linkage. The includer gives
//   float multiply_add(float a, float b, float c)                   a * b + c
//   void widen_f16(const unsigned short* from, float* to)           16 elements
//   void narrow_f16(const float* from, unsigned short* to)          16 elements, to nearest even

constexpr int kBlock = 16;

inline unsigned bits_of(float value) {
  unsigned bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline float float_of(unsigned bits) {
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

// To nearest even; NaN stays NaN. The upper half of the result is the bf16.
inline unsigned bf16_bits(float value) {
  const unsigned bits = bits_of(value);
  const unsigned rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  return value != value ? bits | 0x400000u : rounded;
}

// exp(x) within 2 ulp for -87 <= x <= 88, held at the ends beyond; NaN stays NaN.
// x = n ln 2 + r with |r| <= 0.35; the series to r^7 leaves r^8 / 8! < 6e-9.
inline float exp_f32(float x) {
  x = x > 88.0f ? 88.0f : x;
  x = x < -87.0f ? -87.0f : x;
  constexpr float kRound = 0x1.8p23f;  // adding it leaves the nearest integer in the low bits
  const float shifted = multiply_add(x, 0x1.715476p+0f, kRound);
  const float n = shifted - kRound;
  // ln 2 in two parts; the first has few enough bits that n times it is exact.
  float r = multiply_add(n, -0x1.62e400p-1f, x);
  r = multiply_add(n, -0x1.7f7d1cp-20f, r);
  float p = 1.0f / 5040;
  p = multiply_add(p, r, 1.0f / 720);
  p = multiply_add(p, r, 1.0f / 120);
  p = multiply_add(p, r, 1.0f / 24);
  p = multiply_add(p, r, 1.0f / 6);
  p = multiply_add(p, r, 0.5f);
  p = multiply_add(p, r, 1.0f);
  p = multiply_add(p, r, 1.0f);
  return p * float_of((bits_of(shifted) - bits_of(kRound) + 127u) << 23);
}

inline float sigmoid(float x) { return 1.0f / (1.0f + exp_f32(-x)); }

inline float gelu_erf(float x) { return 0.5f * x * __builtin_erfcf(-x * 0x1.6a09e6p-1f); }

// 0.5 (1 + tanh u) is sigmoid(2 u): no cancellation for negative x.
inline float gelu_tanh(float x) {
  const float u = 0x1.988454p-1f * multiply_add(0.044715f * x * x, x, x);  // sqrt(2 / pi)
  return x * sigmoid(2.0f * u);
}

struct SwiGlu {
  float alpha, beta, limit;
  float operator()(float gate, float up) const {
    gate = gate > limit ? limit : gate;
    up = up > limit ? limit : up;
    up = up < -limit ? -limit : up;
    return gate * sigmoid(alpha * gate) * (up + beta);
  }
};
struct GeGlu {
  float operator()(float gate, float up) const { return gelu_erf(gate) * up; }
};
struct GeGluTanh {
  float operator()(float gate, float up) const { return gelu_tanh(gate) * up; }
};
struct Relu2 {
  float operator()(float x) const {
    x = x < 0.0f ? 0.0f : x;
    return x * x;
  }
};
struct Silu {
  float operator()(float x) const { return x * sigmoid(x); }
};
struct Gelu {
  float operator()(float x) const { return gelu_erf(x); }
};
struct Identity {
  float operator()(float x) const { return x; }
};

// Whole blocks, nearly all there are, move in one instruction; a length that is not known is a
// call.
template <int bytes>
inline void copy_block(void* to, const void* from, long count) {
  if (count == kBlock) {
    __builtin_memcpy(to, from, kBlock * bytes);
  } else {
    __builtin_memcpy(to, from, static_cast<unsigned long>(count) * bytes);
  }
}

// Stores `count` <= 16 elements of a block.
inline void store_block(const float* block, RowFormat format, void* out, long index, long count) {
  alignas(64) unsigned wide[kBlock];
  alignas(64) unsigned short narrow[kBlock];
  char* to = static_cast<char*>(out);
  switch (format) {
    case RowFormat::f32:
      copy_block<4>(to + index * 4, block, count);
      return;
    case RowFormat::bf16:
      for (int i = 0; i < kBlock; ++i) {
        narrow[i] = static_cast<unsigned short>(bf16_bits(block[i]) >> 16);
      }
      copy_block<2>(to + index * 2, narrow, count);
      return;
    case RowFormat::f16:
      narrow_f16(block, narrow);
      copy_block<2>(to + index * 2, narrow, count);
      return;
    case RowFormat::f32_bf16:
      for (int i = 0; i < kBlock; ++i) wide[i] = bf16_bits(block[i]) & 0xffff0000u;
      copy_block<4>(to + index * 4, wide, count);
      return;
    case RowFormat::f32_f16:
      narrow_f16(block, narrow);
      widen_f16(narrow, reinterpret_cast<float*>(wide));
      copy_block<4>(to + index * 4, wide, count);
      return;
  }
}

// Loads `count` <= 16 elements; the rest of the block is zero.
inline void load_block(const void* from, RowFormat format, long index, long count, float* block) {
  alignas(64) unsigned short narrow[kBlock] = {};
  const char* source = static_cast<const char*>(from);
  if (format == RowFormat::bf16 || format == RowFormat::f16) {
    copy_block<2>(narrow, source + index * 2, count);
    if (format == RowFormat::f16) return widen_f16(narrow, block);
    for (int i = 0; i < kBlock; ++i) block[i] = float_of(static_cast<unsigned>(narrow[i]) << 16);
    return;
  }
  for (int i = 0; i < kBlock; ++i) block[i] = 0.0f;
  copy_block<4>(block, source + index * 4, count);
}

template <typename F>
void activate_gated(const ActivationJob& job, F function) {
  alignas(64) float out[kBlock];
  alignas(64) float c[2 * kBlock];
  for (long i = 0; i < job.count; i += kBlock) {
    const float* source = job.c + 2 * i;
    if (job.bias != nullptr) {
      for (int j = 0; j < 2 * kBlock; ++j) c[j] = source[j] + job.bias[2 * i + j];
      source = c;
    }
    for (int j = 0; j < kBlock; ++j) out[j] = function(source[j], source[kBlock + j]);
    const long left = job.count - i;
    store_block(out, job.out_format, job.out, i, left < kBlock ? left : kBlock);
  }
}

template <typename F>
void activate_plain(const ActivationJob& job, F function) {
  alignas(64) float out[kBlock];
  for (long i = 0; i < job.count; i += kBlock) {
    for (int j = 0; j < kBlock; ++j) {
      out[j] = function(job.bias != nullptr ? job.c[i + j] + job.bias[i + j] : job.c[i + j]);
    }
    const long left = job.count - i;
    store_block(out, job.out_format, job.out, i, left < kBlock ? left : kBlock);
  }
}

void activate(const ActivationJob& job) {
  switch (job.activation) {
    case ActivationCode::swiglu:
      return activate_gated(job, SwiGlu{job.alpha, job.beta, job.limit});
    case ActivationCode::geglu:
      return activate_gated(job, GeGlu{});
    case ActivationCode::geglu_tanh:
      return activate_gated(job, GeGluTanh{});
    case ActivationCode::relu2:
      return activate_plain(job, Relu2{});
    case ActivationCode::silu:
      return activate_plain(job, Silu{});
    case ActivationCode::gelu:
      return activate_plain(job, Gelu{});
    case ActivationCode::identity:
      return activate_plain(job, Identity{});
  }
}

void convert(const ConvertJob& job) {
  alignas(64) float block[kBlock];
  for (long i = 0; i < job.count; i += kBlock) {
    const long left = job.count - i;
    const long count = left < kBlock ? left : kBlock;
    load_block(job.from, job.from_format, i, count, block);
    for (int j = 0; j < kBlock; ++j) block[j] *= job.scale;
    store_block(block, job.to_format, job.to, i, count);
  }
}

void accumulate(const AccumulateJob& job) {
  for (long i = 0; i < job.count; ++i) {
    job.sum[i] = multiply_add(job.weight, job.row[i], job.sum[i]);
  }
  if (job.bias == nullptr) return;
  for (long i = 0; i < job.count; ++i) {
    job.sum[i] = multiply_add(job.bias_weight, job.bias[i], job.sum[i]);
  }
}
