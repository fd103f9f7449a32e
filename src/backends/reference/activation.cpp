#include "backends/reference/activation.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/fail.hpp"
#include "base/float_types.hpp"
#include "spec/choices.hpp"

namespace sluice::reference {
namespace {

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

double gelu(double x) { return 0.5 * x * std::erfc(-x / std::numbers::sqrt2); }

double gelu_tanh(double x) {
  const double inner = std::sqrt(2.0 / std::numbers::pi) * (x + 0.044715 * x * x * x);
  return 0.5 * x * (1.0 + std::tanh(inner));
}

double swiglu(const ExpertSpec& experts, double gate, double up) {
  // Comparisons, not std::min: NaN must pass through.
  const double limit = experts.swiglu_limit;
  if (gate > limit) gate = limit;
  if (up > limit) up = limit;
  if (up < -limit) up = -limit;
  return gate * sigmoid(experts.swiglu_alpha * gate) * (up + experts.swiglu_beta);
}

// By comparison, so that NaN passes through and -infinity, whose product with 0 is NaN, does not.
double relu2(double gate) {
  if (gate <= 0.0) return 0.0;
  return gate * gate;
}

}  // namespace

double activate(const ExpertSpec& experts, double gate, double up) {
  switch (experts.activation) {
    case Activation::swiglu:
      return swiglu(experts, gate, up);
    case Activation::geglu:
      return gelu(gate) * up;
    case Activation::geglu_tanh:
      return gelu_tanh(gate) * up;
    case Activation::relu2:
      return relu2(gate);
    case Activation::silu:
      return gate * sigmoid(gate);
    case Activation::gelu:
      return gelu(gate);
    case Activation::identity:
      return gate;
  }
  fail(ErrorKind::internal, "activation {}", static_cast<int>(experts.activation));
}

double round_activation(ActivationFormat format, double value) {
  const auto single = static_cast<float>(value);
  switch (format) {
    case ActivationFormat::bf16:
      return round_to_bf16(single);
    case ActivationFormat::f16:
      return round_to_f16(single);
    case ActivationFormat::f32:
      return single;
    case ActivationFormat::fp8_e4m3:
      break;
  }
  fail(ErrorKind::internal, "activation_format {}", choice_name(format));
}

}  // namespace sluice::reference
