// A MoE layer in double, written from docs/semantics.md and nothing else, with the largest error
// that fp32 arithmetic may make at every element.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include <sluice/backend.hpp>

#include "base/element.hpp"

namespace sluice::test {

inline double number(const TensorView& tensor, std::int64_t index) {
  return load_float(tensor.data, tensor.dtype, index);
}

struct Routed {
  std::vector<std::int64_t> ids;
  std::vector<double> weights;
};

inline double logistic(double x) { return 1 / (1 + std::exp(-x)); }

inline std::vector<double> scores_of(ScoreFunc f, std::vector<double> x) {
  double largest = -INFINITY;
  double sum = 0;
  for (double v : x) largest = std::fmax(largest, v);
  for (double v : x) sum += std::exp(v - largest);
  for (double& v : x) {
    if (f == ScoreFunc::softmax) v = std::exp(v - largest) / sum;
    if (f == ScoreFunc::sigmoid) v = logistic(v);
    if (f == ScoreFunc::sqrt_softplus)
      v = std::sqrt(std::fmax(v, 0) + std::log1p(std::exp(-std::abs(v))));
  }
  return x;
}

// Indices by falling value, then rising index; NaN last with -inf.
inline std::vector<std::int64_t> ranking(const std::vector<double>& values) {
  std::vector<std::int64_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  const auto value = [&](std::int64_t i) {
    const double v = values[static_cast<std::size_t>(i)];
    return std::isnan(v) ? -INFINITY : v;
  };
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return value(a) > value(b); });
  return order;
}

inline Routed route(const RouterSpec& router, const MoeWeights& weights,
                    std::vector<double> logits) {
  const auto experts = logits.size();
  const bool before = router.score_order == ScoreOrder::before_topk;
  for (std::size_t e = 0; e < experts; ++e) {
    if (router.router_bias) {
      logits[e] = static_cast<float>(logits[e] + number(weights.router_bias, static_cast<long>(e)));
    }
    if (router.router_logits_dtype == LogitsDType::bf16) {
      logits[e] = round_to_bf16(static_cast<float>(logits[e]));
    }
  }
  const auto scores = before ? scores_of(router.score_func, logits) : logits;
  auto biased = scores;
  for (std::size_t e = 0; e < experts && router.e_score_correction_bias; ++e) {
    biased[e] += number(weights.e_score_correction_bias, static_cast<long>(e));
  }
  auto choice = biased;
  if (router.n_group > 1) {
    const auto size = experts / static_cast<std::size_t>(router.n_group);
    std::vector<double> groups;
    for (std::size_t g = 0; g < experts; g += size) {
      std::vector<double> members(biased.begin() + static_cast<long>(g),
                                  biased.begin() + static_cast<long>(g + size));
      const auto order = ranking(members);
      const double first = members[static_cast<std::size_t>(order[0])];
      const double second = size > 1 ? members[static_cast<std::size_t>(order[1])] : 0;
      groups.push_back(router.group_score == GroupScore::max ? first : first + second);
    }
    const auto order = ranking(groups);
    for (auto g = order.begin() + router.topk_group; g != order.end(); ++g) {
      std::fill_n(choice.begin() + *g * static_cast<long>(size), size, -INFINITY);
    }
  }
  Routed routed;
  routed.ids = ranking(choice);
  routed.ids.resize(static_cast<std::size_t>(router.top_k));
  std::vector<double>& w = routed.weights;
  for (std::int64_t id : routed.ids) {
    w.push_back(
        (router.weights_from_biased_scores ? biased : scores)[static_cast<std::size_t>(id)]);
  }
  if (!before) w = scores_of(router.score_func, w);
  for (double& v : w) v = std::isfinite(v) ? v : 0;
  if (router.norm_topk_prob && (router.top_k > 1 || router.norm_single_expert)) {
    const double sum = std::accumulate(w.begin(), w.end(), 0.0);
    const double by =
        router.norm_rule == NormRule::add ? sum + router.norm_eps : std::max(sum, router.norm_eps);
    for (double& v : w) v = std::isfinite(v / by) ? v / by : 0;
  }
  for (double& v : w) {
    if (!router.apply_routed_scale_to_output) v *= router.routed_scaling_factor;
  }
  return routed;
}

// A value that arithmetic may have moved by at most `error`.
struct Value {
  double value = 0;
  double error = 0;
};

inline double round_to(DType dtype, double x) {
  const auto single = static_cast<float>(x);
  if (dtype == DType::bf16) return round_to_bf16(single);
  return dtype == DType::f16 ? round_to_f16(single) : single;
}

// Rounding is monotone: it maps [v - e, v + e] into [round(v - e), round(v + e)].
inline Value rounded(DType dtype, Value x) {
  const double low = round_to(dtype, x.value - x.error);
  const double high = round_to(dtype, x.value + x.error);
  const double value = round_to(dtype, x.value);
  return {value, std::max(high - value, value - low)};
}

inline constexpr double kUnit = 0x1p-24;
inline double gamma(double n) { return n * kUnit / (1 - n * kUnit); }

inline Value dot(const TensorView& w, std::int64_t row, const std::vector<Value>& x) {
  const auto cols = static_cast<std::int64_t>(x.size());
  Value sum;
  double magnitude = 0;
  for (std::int64_t c = 0; c < cols; ++c) {
    const Value& v = x[static_cast<std::size_t>(c)];
    const double weight = number(w, row * cols + c);
    sum.value += weight * v.value;
    sum.error += std::abs(weight) * v.error;
    magnitude += std::abs(weight) * (std::abs(v.value) + v.error);
  }
  sum.error += gamma(static_cast<double>(cols) + 2) * magnitude;
  return sum;
}

inline DType dtype_of(ActivationFormat format) {
  if (format == ActivationFormat::bf16) return DType::bf16;
  return format == ActivationFormat::f16 ? DType::f16 : DType::f32;
}

inline double clamp_gate(const ExpertSpec& e, double g) { return std::min(g, e.swiglu_limit); }
inline double clamp_up(const ExpertSpec& e, double u) {
  return std::clamp(u, -e.swiglu_limit, e.swiglu_limit);
}

inline double gate_function(const ExpertSpec& e, double x) {
  switch (e.activation) {
    case Activation::swiglu:
      return clamp_gate(e, x) * logistic(e.swiglu_alpha * clamp_gate(e, x));
    case Activation::geglu:
    case Activation::gelu:
      return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case Activation::geglu_tanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::relu2:
      return x > 0 ? x * x : 0;
    case Activation::silu:
      return x * logistic(x);
    case Activation::identity:
      return x;
  }
  return NAN;
}

// Every gate function here has a slope of at most 1.2 (relu2: 2|x|).
inline Value activate(const ExpertSpec& e, Value gate, Value up) {
  const double slope =
      e.activation == Activation::relu2 ? 2 * (std::abs(gate.value) + gate.error) : 1.2;
  const double g = gate_function(e, gate.value);
  // The function itself: a few units of its argument and its result.
  const double g_error =
      slope * gate.error + 16 * kUnit * (std::abs(gate.value) * slope + std::abs(g));
  if (!is_gated(e.activation)) return {g, g_error};
  const bool swiglu = e.activation == Activation::swiglu;
  const double u = swiglu ? clamp_up(e, up.value) + e.swiglu_beta : up.value;
  const double u_error = up.error + 2 * kUnit * (std::abs(up.value) + std::abs(u));
  return {g * u,
          g_error * (std::abs(u) + u_error) + std::abs(g) * u_error + 2 * kUnit * std::abs(g * u)};
}

// What stands where in GEMM 1 (semantics §2).
inline std::int64_t gate_row(const ExpertSpec& e, std::int64_t i, std::int64_t width) {
  if (!is_gated(e.activation) || e.gate_up_order == GateUpOrder::gate_up) return i;
  return e.gate_up_order == GateUpOrder::up_gate ? width + i : 2 * i;
}
inline std::int64_t up_row(const ExpertSpec& e, std::int64_t i, std::int64_t width) {
  if (e.gate_up_order == GateUpOrder::gate_up) return width + i;
  return e.gate_up_order == GateUpOrder::up_gate ? i : 2 * i + 1;
}

inline std::vector<Value> feed_forward(const ExpertSpec& e, const std::vector<double>& x,
                                       std::int64_t width, const TensorView& gate_up,
                                       const TensorView& bias, std::int64_t bias_row,
                                       const TensorView& down) {
  const DType format = dtype_of(e.activation_format);
  std::vector<Value> in;
  for (double v : x) in.push_back({round_to(format, v), 0});
  const auto pre = [&](std::int64_t row) {
    Value v = dot(gate_up, row, in);
    if (bias) v.value += number(bias, bias_row * bias.shape[1] + row);
    v.error += 2 * kUnit * std::abs(v.value);
    return v;
  };
  std::vector<Value> act;
  for (std::int64_t i = 0; i < width; ++i) {
    const Value gate = pre(gate_row(e, i, width));
    const Value up = is_gated(e.activation) ? pre(up_row(e, i, width)) : Value{};
    act.push_back(rounded(format, activate(e, gate, up)));
  }
  std::vector<Value> out;
  for (std::int64_t r = 0; r < e.hidden_size; ++r) out.push_back(dot(down, r, act));
  return out;
}

// One token of the layer, before the rounding to the output's dtype.
inline std::vector<Value> token_output(const MoeSpec& spec, const MoeWeights& weights,
                                       const std::vector<double>& hidden, const Routed& routed) {
  const auto size = hidden.size();
  std::vector<Value> out(size);
  std::vector<double> magnitude(size);
  const bool on_input = spec.router.apply_router_weight_on_input;
  for (std::size_t slot = 0; slot < routed.ids.size(); ++slot) {
    const std::int64_t e = local_expert(spec, routed.ids[slot]);
    if (e < 0) continue;
    const double weight = static_cast<float>(routed.weights[slot]);
    auto x = hidden;
    for (double& v : x) v *= on_input ? weight : 1;
    const auto at = static_cast<std::size_t>(e);
    const auto y = feed_forward(spec.experts, x, local_width(spec), weights.gate_up_proj[at],
                                weights.gate_up_bias, e, weights.down_proj[at]);
    for (std::size_t i = 0; i < size; ++i) {
      const double w = on_input ? 1 : weight;
      const bool biased = weights.down_bias && spec.layer.tp_rank == 0;
      const double bias = biased ? number(weights.down_bias, e * static_cast<std::int64_t>(size) +
                                                                 static_cast<std::int64_t>(i))
                                 : 0;
      out[i].value += w * y[i].value + weight * bias;
      out[i].error += std::abs(w) * y[i].error;
      magnitude[i] += std::abs(w * y[i].value) + std::abs(weight * bias);
    }
  }
  const double factor =
      spec.router.apply_routed_scale_to_output ? spec.router.routed_scaling_factor : 1;
  const auto k = static_cast<double>(routed.ids.size());
  for (std::size_t i = 0; i < size; ++i) {
    out[i].error += gamma(2 * k + 4) * magnitude[i];
    out[i] = {out[i].value * factor, out[i].error * std::abs(factor)};
  }
  if (spec.layer.num_shared_experts == 0) return out;
  ExpertSpec plain = spec.experts;
  plain.swiglu_alpha = 1;
  plain.swiglu_beta = 0;
  plain.swiglu_limit = INFINITY;
  double gate = 1;
  if (weights.shared_expert_gate) {
    double logit = 0;
    for (std::size_t i = 0; i < size; ++i) {
      logit += number(weights.shared_expert_gate, static_cast<std::int64_t>(i)) * hidden[i];
    }
    gate = logistic(logit);
  }
  const auto y = feed_forward(plain, hidden, local_shared_width(spec), weights.shared_gate_up_proj,
                              {}, 0, weights.shared_down_proj);
  for (std::size_t i = 0; i < size; ++i) {
    out[i].value += gate * y[i].value;
    out[i].error +=
        gate * y[i].error + 4 * kUnit * (std::abs(gate * y[i].value) + std::abs(out[i].value));
  }
  return out;
}

}  // namespace sluice::test
