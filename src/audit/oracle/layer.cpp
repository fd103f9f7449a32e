#include "audit/oracle/layer.hpp"

#include "audit/oracle/activation.hpp"

namespace sluice::auditing {
namespace {

// Sum of exactly known or approximate terms, in fp32, in any order.
class TermSum {
 public:
  void add(double value, double error) {
    value_ += value;
    error_ += error;
    magnitude_ += std::fabs(value);
    lowest_ = std::min(lowest_, lowest_bit(value));
    ++terms_;
  }
  void add(const Approx& term) { add(term.value, term.error); }

  Approx total() const {
    const bool exact = error_ == 0.0 && lowest_ > -126 &&
                       magnitude_ < std::ldexp(1.0, 24 + std::min(lowest_, 900));
    if (exact || terms_ == 0) return {value_, 0.0};
    // Each term was a product rounded once, and passes at most terms_ additions.
    return {value_, error_ + (terms_ + 1.0) * kUnit * (magnitude_ + error_) + kSmallest};
  }

 private:
  double value_ = 0.0, error_ = 0.0, magnitude_ = 0.0;
  int lowest_ = 4096;
  double terms_ = 0.0;
};

// weight * y before it is rounded: TermSum accounts for that.
Approx product(const Approx& weight, const Approx& y) {
  return {weight.value * y.value, std::fabs(weight.value) * y.error +
                                      std::fabs(y.value) * weight.error + weight.error * y.error};
}

}  // namespace

Oracle::Matrix Oracle::matrix(std::span<const float> values, std::size_t columns) {
  Matrix m{values, columns, {}};
  for (std::size_t first = 0; first < values.size(); first += columns) {
    m.lowest.push_back(lowest_bit_of(values.subspan(first, columns)));
  }
  return m;
}

Oracle::Block Oracle::block(const UnpackedExpert& expert) const {
  const auto hidden = static_cast<std::size_t>(case_.spec.experts.hidden_size);
  const std::size_t width = expert.gate.size() / hidden;
  return {matrix(expert.gate, hidden),
          matrix(expert.up, hidden),
          matrix(expert.down, std::max<std::size_t>(width, 1)),
          expert.gate_bias,
          expert.up_bias,
          expert.down_bias};
}

Oracle::Oracle(const Case& subject, const OracleOptions& options)
    : case_(subject),
      options_(options),
      tensors_(unpack(subject.spec, subject.weights())),
      hidden_(to_floats(subject.view("hidden_states"))) {
  for (const UnpackedExpert& expert : tensors_.experts) experts_.push_back(block(expert));
  shared_ = block(tensors_.shared);
  const auto tokens = static_cast<std::size_t>(case_.tokens());
  memo_.resize(tokens);
  slots_.resize(tokens);
  const OwnedTensor* logits = case_.find("router_logits");
  std::vector<float> row(static_cast<std::size_t>(case_.spec.router.num_experts));
  for (std::size_t token = 0; token < tokens; ++token) {
    if (logits == nullptr) {
      routings_.emplace_back();
      continue;
    }
    for (std::size_t e = 0; e < row.size(); ++e) {
      row[e] = logits->get(static_cast<std::int64_t>(token * row.size() + e));
    }
    routings_.emplace_back(
        TokenRouting(case_.spec.router, {tensors_.router_bias, tensors_.correction_bias}, row));
  }
}

const std::optional<TokenRouting>& Oracle::routing(std::int64_t token) const {
  return routings_[static_cast<std::size_t>(token)];
}

bool Oracle::is_finite(std::int64_t token) const {
  const auto width = case_.spec.experts.hidden_size;
  const auto row = hidden_.begin() + token * width;
  return std::all_of(row, row + width, [](float x) { return std::isfinite(x); });
}

std::vector<std::int32_t> Oracle::ids(std::int64_t token) const {
  if (const auto& routed = routing(token)) return routed->ids();
  const OwnedTensor& given = *case_.find("topk_ids");
  const std::int64_t top_k = case_.spec.router.top_k;
  std::vector<std::int32_t> ids;
  for (std::int64_t slot = 0; slot < top_k; ++slot) {
    ids.push_back(static_cast<std::int32_t>(given.id(token * top_k + slot)));
  }
  return ids;
}

std::vector<Approx> Oracle::weights(std::int64_t token, std::span<const std::int32_t> ids) const {
  if (const auto& routed = routing(token)) return routed->weights(ids);
  const OwnedTensor& given = *case_.find("topk_weights");
  std::vector<Approx> weights;
  for (std::size_t slot = 0; slot < ids.size(); ++slot) {
    const auto at = token * case_.spec.router.top_k + static_cast<std::int64_t>(slot);
    weights.push_back({given.get(at), 0.0});
  }
  return weights;
}

std::vector<Approx> Oracle::run(const Block& block, std::int64_t token, const Approx* weight,
                                bool plain) const {
  const ExpertSpec& spec = case_.spec.experts;
  const auto hidden = static_cast<std::size_t>(spec.hidden_size);
  const std::size_t width = block.gate.lowest.size();
  const bool statistical = case_.statistical;

  std::vector<double> x(hidden), x_slack(hidden);
  bool exact = true;
  for (std::size_t i = 0; i < hidden; ++i) {
    Approx in{hidden_[static_cast<std::size_t>(token) * hidden + i], 0.0};
    if (weight != nullptr) in = mul(*weight, in);
    const Approx stored = round_to_format(spec.activation_format, in);
    x[i] = stored.value;
    x_slack[i] = stored.error;
    exact = exact && stored.error == 0.0;
  }
  const RoundedVector input{x, exact ? std::span<const double>{} : x_slack, lowest_bit_of(x)};

  const auto row = [&](const Matrix& m, std::size_t index, const RoundedVector& v, double bias) {
    return dot_error(m.values.subspan(index * m.columns, m.columns), m.lowest[index], v, bias,
                     statistical);
  };
  std::vector<double> h(width), h_slack(width);
  exact = true;
  for (std::size_t i = 0; i < width; ++i) {
    const double gate_bias = block.gate_bias.empty() ? 0.0 : block.gate_bias[i];
    const double up_bias = block.up_bias.empty() ? 0.0 : block.up_bias[i];
    const Approx gate = row(block.gate, i, input, gate_bias);
    const Approx up = block.up.lowest.empty() ? Approx{} : row(block.up, i, input, up_bias);
    const Approx stored =
        round_to_format(spec.activation_format, activation(spec, plain, gate, up));
    h[i] = stored.value;
    h_slack[i] = stored.error;
    exact = exact && stored.error == 0.0;
  }
  const RoundedVector inner{h, exact ? std::span<const double>{} : h_slack, lowest_bit_of(h)};
  std::vector<Approx> out(hidden);
  for (std::size_t r = 0; r < hidden; ++r) out[r] = row(block.down, r, inner, 0.0);
  return out;
}

std::vector<Approx> Oracle::slot_output(std::int64_t token, std::int32_t id,
                                        const Approx& weight) const {
  const std::int64_t local = local_expert(case_.spec, id);
  if (local < 0) return {};
  const bool on_input = case_.spec.router.apply_router_weight_on_input;
  // Only with the weight on the input does a slot's output depend on more than token and expert.
  auto& known = slots_[static_cast<std::size_t>(token)];
  if (!on_input) {
    for (const auto& [expert, output] : known) {
      if (expert == id) return output;
    }
  }
  auto out =
      run(experts_[static_cast<std::size_t>(local)], token, on_input ? &weight : nullptr, false);
  if (options_.slot_outputs_rounded) {
    for (Approx& y : out) y = perhaps_rounded(case_.spec.experts.activation_format, y);
  }
  if (!on_input) known.emplace_back(id, out);
  return out;
}

void Oracle::add_shared(std::int64_t token, std::vector<Approx>& out) const {
  if (shared_.gate.lowest.empty()) return;
  std::vector<Approx> shared = run(shared_, token, nullptr, true);
  if (!tensors_.shared_gate.empty()) {
    const std::size_t hidden = out.size();
    std::vector<double> x(hidden);
    for (std::size_t i = 0; i < hidden; ++i) {
      x[i] = hidden_[static_cast<std::size_t>(token) * hidden + i];
    }
    const std::span<const float> gate = tensors_.shared_gate;
    const Approx logit =
        dot_error(gate, lowest_bit_of(gate), {x, {}, lowest_bit_of(x)}, 0.0, case_.statistical);
    const Approx factor = sigmoid(logit);
    for (Approx& y : shared) y = mul(factor, y);
  }
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = auditing::add(out[i], shared[i]);
}

std::vector<Approx> Oracle::compute(std::int64_t token, std::span<const std::int32_t> ids) const {
  const RouterSpec& router = case_.spec.router;
  const auto hidden = static_cast<std::size_t>(case_.spec.experts.hidden_size);
  const std::vector<Approx> applied = weights(token, ids);
  std::vector<TermSum> sums(hidden);
  for (std::size_t slot = 0; slot < ids.size(); ++slot) {
    const std::int64_t local = local_expert(case_.spec, ids[slot]);
    if (local < 0) continue;
    const std::vector<Approx> y = slot_output(token, ids[slot], applied[slot]);
    const auto& bias = experts_[static_cast<std::size_t>(local)].down_bias;
    for (std::size_t i = 0; i < hidden; ++i) {
      sums[i].add(router.apply_router_weight_on_input ? y[i] : product(applied[slot], y[i]));
      if (!bias.empty()) sums[i].add(product(applied[slot], {bias[i], 0.0}));
    }
  }
  std::vector<Approx> out(hidden);
  for (std::size_t i = 0; i < hidden; ++i) {
    out[i] = sums[i].total();
    if (router.apply_routed_scale_to_output && router.routed_scaling_factor != 1.0) {
      out[i] = mul(out[i], constant(router.routed_scaling_factor));
    }
  }
  add_shared(token, out);
  return out;
}

const std::vector<Approx>& Oracle::output(std::int64_t token,
                                          std::span<const std::int32_t> ids) const {
  auto& memo = memo_[static_cast<std::size_t>(token)];
  for (const Memo& known : memo) {
    if (std::equal(known.ids.begin(), known.ids.end(), ids.begin(), ids.end())) {
      return known.output;
    }
  }
  memo.push_back({{ids.begin(), ids.end()}, compute(token, ids)});
  return memo.back().output;
}

}  // namespace sluice::auditing
