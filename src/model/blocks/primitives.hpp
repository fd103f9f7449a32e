// The inner loops of attention, KDA and the elementwise parts, for the best instruction set here.
//
// Small dense products on strided fp32 matrices that are not weights (those are packed, see
// linear.hpp). Each element of a result is summed in an order that depends on k alone, never on
// where the element lies in its tile: a row's bits do not depend on the other rows.
#pragma once

#include <cstdint>

namespace sluice {

// Positions whose scores softmax takes at a time.
inline constexpr std::int64_t kSoftmaxPage = 64;

// What a row of softmax attention remembers of the pages before.
struct RunningSoftmax {
  float maximum;  // in the units of whoever keeps it
  float sum;      // of exp(score - maximum)
};

// Neighbouring columns of a row of weights in what multiplies them.
inline constexpr std::int64_t kSoftmaxGroup = 32;

// A row's scores against `count` positions, whole groups, of which it sees those in [first, last),
// and where their weights go. Scores that it does not see may be overwritten.
struct SoftmaxSpan {
  float* scores;
  std::int64_t first, last, count;
  float scale;  // multiplies scores, > 0
  std::uint16_t* weights;
  std::int64_t group_stride;  // elements from one group's weights to the next one's
};

struct Primitives {
  // c[m, n] = a[m, k] · b[k, n], or += with accumulate.
  void (*matmul)(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, std::int64_t lda,
                 const float* b, std::int64_t ldb, float* c, std::int64_t ldc, bool accumulate);
  // c[m, n] = a[k, m]ᵀ · b[k, n], or += with accumulate.
  void (*matmul_tn)(std::int64_t m, std::int64_t n, std::int64_t k, const float* a,
                    std::int64_t lda, const float* b, std::int64_t ldb, float* c, std::int64_t ldc,
                    bool accumulate);
  // c[m, n] = a[m, k] · b[n, k]ᵀ, or += with accumulate.
  void (*matmul_nt)(std::int64_t m, std::int64_t n, std::int64_t k, const float* a,
                    std::int64_t lda, const float* b, std::int64_t ldb, float* c, std::int64_t ldc,
                    bool accumulate);
  float (*sum_squares)(const float* x, std::int64_t n);
  // out = weight · x / sqrt(mean(x²) + eps); out may be x.
  void (*rms_norm)(const float* x, const float* weight, float eps, float* out, std::int64_t n);
  // x += y
  void (*add)(float* x, const float* y, std::int64_t n);
  // x = x · factor + y
  void (*scale_add)(float* x, float factor, const float* y, std::int64_t n);
  // Turns element i of x [2 · half] with element i + half.
  void (*rotate)(float* x, const float* cosines, const float* sines, std::int64_t half);
  // One row's next page of scores, of which it sees those in [first, last), times `scale`: weights
  // exp(score - the new maximum), 0 where it does not see, and what the sums over earlier pages
  // must be multiplied by. `weights` may be `scores`. The factor is stored, not returned: GCC 12
  // keeps a float to be returned in a register that vzeroupper spares and moves it after that as
  // 512 bits, and the caller's next SSE instruction then waits 300 cycles.
  void (*softmax_page)(const float* scores, std::int64_t first, std::int64_t last, float scale,
                       RunningSoftmax* row, float* weights, float* factor);
  // The same for one span of each of `count` rows, with weights in bf16, to 3e-6 before they are
  // rounded; sums take them unrounded, and maxima are in units of ln 2. A row's bits depend on what
  // it sees, not on where its span ends.
  void (*softmax_spans)(const SoftmaxSpan* spans, std::int64_t count, RunningSoftmax* rows,
                        float* factors);
  // x = exp(x - shift) for x <= shift; returns the sum. -inf gives 0.
  float (*exp_shifted)(float* x, std::int64_t n, float shift);
  // x_out = exp(min(a - b, 0)) · x, and y_out likewise of y unless it is null. a and b are sums of
  // two floats, [n] high parts and [n] low ones.
  void (*decay_product)(const float* a, const float* b, const float* x, float* x_out,
                        const float* y, float* y_out, std::int64_t n);
  // out = silu(gate) · up
  void (*silu_product)(const float* gate, const float* up, float* out, std::int64_t n);
  // x = x · sigmoid(gate)
  void (*sigmoid_product)(float* x, const float* gate, std::int64_t n);
  // out[c] = silu(sum over j of weights[j · n + c] · inputs[j][c])
  void (*conv_silu)(const float* const* inputs, std::int64_t taps, const float* weights, float* out,
                    std::int64_t n);
  // out = -rate · softplus(x + bias); softplus(x) = x for x > 20
  void (*log_decay)(const float* x, const float* bias, float rate, float* out, std::int64_t n);
  // One step of the delta rule on state [key_dim, value_dim], values [value_dim] at a time:
  // state = diag(decay) state; out = stateᵀ q after state += k (beta (v - stateᵀ k))ᵀ.
  void (*delta_step)(std::int64_t key_dim, std::int64_t value_dim, const float* decay,
                     const float* q, const float* k, const float* v, float beta, float* state,
                     float* out);
};

// Of the instruction set that the weights' kernels use (SLUICE_ISA), chosen once per process.
const Primitives& primitives();

extern const Primitives kPrimitivesGeneric;
#ifdef SLUICE_X86_PRIMITIVES
extern const Primitives kPrimitivesAvx2;
extern const Primitives kPrimitivesAvx512;
#endif

}  // namespace sluice
