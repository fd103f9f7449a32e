#include "audit/oracle/activation.hpp"

#include <numbers>

#include "base/fail.hpp"
#include "base/float_types.hpp"

namespace sluice::auditing {
namespace {

double logistic(double x) { return 1.0 / (1.0 + std::exp(-x)); }

// Error of sigmoid(z) in fp32 for an exactly known z: exp(-z) is wrong by (kElementary + |z|) unit
// roundoffs, of which 1 - s reach the quotient; sum and quotient add their own.
double sigmoid_evaluation(double z) {
  const double s = logistic(z);
  return s * ((1.0 - s) * (kElementary + std::fabs(z)) + 4.0) * kUnit + kSmallest;
}

// x * sigmoid(alpha x).
Approx silu(const Approx& x, double alpha) {
  const double z = alpha * x.value;
  const double s = logistic(z);
  const double value = x.value * s;
  // First derivative, and a bound 0.7 |alpha| of the second (|2 s' + z s''| <= 0.7).
  const double slope = std::fabs(s + z * s * (1.0 - s));
  const double inherited = slope * x.error + 0.35 * std::fabs(alpha) * x.error * x.error;
  // alpha itself is rounded, and so is the product: 2 |z| unit roundoffs of argument.
  const double argument = alpha == 1.0 ? 0.0 : 2.0 * std::fabs(z) * s * (1.0 - s) * kUnit;
  const double evaluation =
      std::fabs(x.value) * (sigmoid_evaluation(z) + argument) + 2.0 * kUnit * std::fabs(value);
  return {value, inherited + evaluation + kSmallest};
}

// 1 + erf cancels for negative x: the error is relative to x, not to the value.
Approx gelu(const Approx& x) {
  const double value = 0.5 * x.value * std::erfc(-x.value / std::numbers::sqrt2);
  return {value, 1.13 * x.error + 8.0 * kUnit * std::fabs(x.value) + kSmallest};
}

Approx gelu_tanh(const Approx& x) {
  const double cubic = 0.044715 * x.value * x.value * x.value;
  const double inner = std::sqrt(2.0 / std::numbers::pi) * (x.value + cubic);
  const double t = std::tanh(inner);
  const double value = 0.5 * x.value * (1.0 + t);
  // The argument carries about six roundings; tanh' = 1 - t².
  const double argument = (1.0 - t * t) * (6.0 + kElementary) * std::fabs(inner);
  return {value, 1.13 * x.error +
                     0.5 * std::fabs(x.value) * (argument + 2.0 * kElementary + 4.0) * kUnit +
                     kSmallest};
}

Approx relu2(const Approx& x) {
  if (x.value + x.error <= 0.0) return {};
  const double positive = std::max(x.value, 0.0);
  return rounded(positive * positive, (2.0 * positive + x.error) * x.error);
}

// min(x, limit) for a limit that fp32 code holds rounded. Lipschitz with constant 1 in both.
Approx at_most(const Approx& x, const Approx& limit) {
  if (x.value + x.error < limit.value - limit.error) return x;
  if (x.value - x.error > limit.value + limit.error) return limit;
  return {std::fmin(x.value, limit.value), std::max(x.error, limit.error)};
}

Approx negative(const Approx& x) { return {-x.value, x.error}; }

Approx swiglu(const ExpertSpec& experts, Approx gate, Approx up) {
  if (std::isfinite(experts.swiglu_limit)) {
    const Approx limit = constant(experts.swiglu_limit);
    gate = at_most(gate, limit);
    up = at_most(up, limit);
    up = negative(at_most(negative(up), limit));
  }
  if (experts.swiglu_beta != 0.0) up = add(up, constant(experts.swiglu_beta));
  return mul(silu(gate, experts.swiglu_alpha), up);
}

}  // namespace

Approx sigmoid(const Approx& x) {
  const double s = logistic(x.value);
  if (!std::isfinite(x.value)) return {s, 0.0};
  // The slope is at most 1/4 and, near x, at most e^error times its value at x.
  const double slope = std::min(0.25, s * (1.0 - s) * std::exp(std::min(x.error, 1.0)));
  return {s, slope * x.error + sigmoid_evaluation(x.value)};
}

Approx activation(const ExpertSpec& given, bool plain, const Approx& gate, const Approx& up) {
  ExpertSpec experts = given;
  if (plain) {
    const ExpertSpec neutral;
    experts.swiglu_alpha = neutral.swiglu_alpha;
    experts.swiglu_beta = neutral.swiglu_beta;
    experts.swiglu_limit = neutral.swiglu_limit;
  }
  switch (experts.activation) {
    case Activation::swiglu:
      return swiglu(experts, gate, up);
    case Activation::geglu:
      return mul(gelu(gate), up);
    case Activation::geglu_tanh:
      return mul(gelu_tanh(gate), up);
    case Activation::relu2:
      return relu2(gate);
    case Activation::silu:
      return silu(gate, 1.0);
    case Activation::gelu:
      return gelu(gate);
    case Activation::identity:
      return gate;
  }
  fail(ErrorKind::internal, "activation {}", static_cast<int>(experts.activation));
}

Approx round_to_format(ActivationFormat format, const Approx& x) {
  const auto nearest = [format](double v) -> double {
    const auto single = static_cast<float>(v);
    return format == ActivationFormat::bf16 ? round_to_bf16(single) : round_to_f16(single);
  };
  switch (format) {
    case ActivationFormat::f32:
      return rounded(x.value, x.error);
    case ActivationFormat::bf16:
    case ActivationFormat::f16: {
      const double middle = nearest(x.value);
      if (x.error == 0.0) return {middle, 0.0};
      // Rounding is monotone: every correct result lies between the two ends.
      const double low = nearest(x.value - x.error);
      const double high = nearest(x.value + x.error);
      return {middle, std::max(high - middle, middle - low)};
    }
    case ActivationFormat::fp8_e4m3:
      break;
  }
  fail(ErrorKind::unsupported, "the oracle does not model activation_format fp8_e4m3");
}

Approx perhaps_rounded(ActivationFormat format, const Approx& x) {
  if (format == ActivationFormat::f32) return x;
  const auto nearest = [format](double v) { return round_to_format(format, {v, 0.0}).value; };
  return {x.value, std::max({x.error, std::fabs(nearest(x.value - x.error) - x.value),
                             std::fabs(nearest(x.value + x.error) - x.value)})};
}

}  // namespace sluice::auditing
