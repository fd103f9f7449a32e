// Activations, from the sums of GEMM 1 to the inputs of GEMM 2. Included by
// elementwise.inl, inside its anonymous namespace.

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
