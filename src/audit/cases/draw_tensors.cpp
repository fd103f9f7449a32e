#include "audit/cases/draw_tensors.hpp"

#include <cmath>
#include <cstring>

#include "audit/cases/stored_forms.hpp"
#include "formats/format.hpp"

namespace sluice::auditing {
namespace {

using formats::MatrixSize;

DType plain_dtype(WeightFormat format) {
  if (format == WeightFormat::f32) return DType::f32;
  return format == WeightFormat::f16 ? DType::f16 : DType::bf16;
}

OwnedTensor tensor_of(DType dtype, const Shape& shape, const std::vector<float>& values) {
  OwnedTensor tensor(dtype, shape);
  for (std::size_t i = 0; i < values.size(); ++i) {
    tensor.set(static_cast<std::int64_t>(i), values[i]);
  }
  return tensor;
}

Shape stacked(std::int64_t experts, const Shape& one) {
  Shape shape{experts};
  for (int axis = 0; axis < one.rank(); ++axis) shape.append(one[axis]);
  return shape;
}

// A draw costs more than everything else that happens to a weight: where there are millions, rows
// are windows of one pool, and no row has a value twice.
class Normals {
 public:
  Normals(Draw& draw, std::int64_t weights, std::int64_t columns) : draw_(draw) {
    constexpr std::int64_t kMany = std::int64_t{1} << 20;
    if (weights < kMany) return;
    pool_.resize(static_cast<std::size_t>(columns + 65537));
    for (double& value : pool_) value = normal(draw);
  }
  void begin_row(std::int64_t columns) {
    if (pool_.empty()) return;
    next_ = static_cast<std::size_t>(
        draw_.integer(0, static_cast<std::int64_t>(pool_.size()) - columns));
  }
  double operator()() { return pool_.empty() ? normal(draw_) : pool_[next_++]; }

 private:
  Draw& draw_;
  std::vector<double> pool_;
  std::size_t next_ = 0;
};

// Each expert, and each half of GEMM 1, has an amplitude of its own: exchanged parts show.
std::vector<float> random_matrices(Draw& draw, std::int64_t experts, std::int64_t rows,
                                   std::int64_t columns, double gain) {
  std::vector<float> values;
  values.reserve(static_cast<std::size_t>(experts * rows * columns));
  Normals normals(draw, experts * rows * columns, columns);
  for (std::int64_t e = 0; e < experts; ++e) {
    const double amplitude = gain * draw.real(0.6, 1.5) / std::sqrt(static_cast<double>(columns));
    for (std::int64_t row = 0; row < rows; ++row) {
      const double row_gain = amplitude * (row < rows / 2 ? 1.3 : 0.8);
      normals.begin_row(columns);
      for (std::int64_t c = 0; c < columns; ++c) {
        values.push_back(static_cast<float>(row_gain * normals()));
      }
    }
  }
  return values;
}

bool is_gate_row(const ExpertSpec& experts, std::int64_t row, std::int64_t rows) {
  if (!is_gated(experts.activation)) return true;
  if (experts.gate_up_order == GateUpOrder::interleaved) return row % 2 == 0;
  return (row < rows / 2) == (experts.gate_up_order == GateUpOrder::gate_up);
}

// sigmoid(x) and erf(x) are one in fp32 from here on, so that gates pass unchanged.
constexpr std::int64_t kSaturated = 20;

std::vector<float> integer_gate_up(Draw& draw, const ExpertSpec& spec, std::int64_t experts,
                                   std::int64_t rows, std::int64_t columns) {
  std::vector<float> values;
  for (std::int64_t i = 0; i < experts * rows * columns; ++i) {
    const bool gate = is_gate_row(spec, i / columns % rows, rows);
    const bool squared = spec.activation == Activation::relu2;
    const std::int64_t magnitude = !gate     ? draw.integer(1, 3) * (draw.integer(0, 1) * 2 - 1)
                                   : squared ? draw.integer(1, 11)
                                             : draw.integer(kSaturated, 63);
    values.push_back(static_cast<float>(magnitude));
  }
  return values;
}

std::vector<float> integers(Draw& draw, std::int64_t count, std::int64_t largest) {
  std::vector<float> values;
  for (std::int64_t i = 0; i < count; ++i) {
    values.push_back(static_cast<float>(draw.integer(1, largest) * (draw.integer(0, 1) * 2 - 1)));
  }
  return values;
}

std::vector<float> normals(Draw& draw, std::int64_t count, double gain) {
  std::vector<float> values;
  for (std::int64_t i = 0; i < count; ++i)
    values.push_back(static_cast<float>(gain * normal(draw)));
  return values;
}

void draw_hidden(Case& subject, const TensorPlan& plan, Draw& draw) {
  const std::int64_t width = subject.spec.experts.hidden_size;
  OwnedTensor hidden(plan.hidden, {plan.tokens, width});
  for (std::int64_t token = 0; token < plan.tokens; ++token) {
    const double gain = draw.real(0.5, 1.6);
    for (std::int64_t i = 0; i < width; ++i) {
      // Integers: one column each, so that one weight decides one product.
      const double value = plan.values == Values::random ? gain * normal(draw)
                           : i == token % width          ? 1.0
                                                         : 0.0;
      hidden.set(token * width + i, static_cast<float>(value));
    }
  }
  subject.tensors["hidden_states"] = std::move(hidden);
}

void draw_block(Case& subject, Draw& draw, const TensorPlan& plan, std::int64_t experts,
                std::int64_t width, bool shared) {
  const ExpertSpec& spec = subject.spec.experts;
  const std::int64_t hidden = spec.hidden_size;
  const std::int64_t rows = is_gated(spec.activation) ? 2 * width : width;
  const bool random = plan.values == Values::random;
  const auto gate_up = random ? random_matrices(draw, experts, rows, hidden, 1.4)
                              : integer_gate_up(draw, spec, experts, rows, hidden);
  const auto down = random ? random_matrices(draw, experts, hidden, width, 1.0)
                           : integers(draw, experts * hidden * width, 3);
  if (!shared) {
    store_matrices(subject, "gate_up_proj", gate_up, experts, rows, hidden);
    store_matrices(subject, "down_proj", down, experts, hidden, width);
    return;
  }
  const DType dtype = formats::has_scales(spec.weight_format) ? drawn_shared_dtype(subject.seed)
                                                              : plain_dtype(spec.weight_format);
  subject.tensors["shared.gate_up_proj"] = tensor_of(dtype, {rows, hidden}, gate_up);
  subject.tensors["shared.down_proj"] = tensor_of(dtype, {hidden, width}, down);
}

}  // namespace

double normal(Draw& draw) {
  double sum = -6.0;
  for (int i = 0; i < 12; ++i) sum += draw.real(0.0, 1.0);
  return sum;
}

bool widths_fit_format(const MoeSpec& spec) {
  const std::int64_t multiple = formats::format(spec.experts.weight_format).column_multiple;
  return spec.experts.hidden_size % multiple == 0 && local_width(spec) % multiple == 0;
}

void store_matrices(Case& subject, const std::string& name, const std::vector<float>& values,
                    std::int64_t experts, std::int64_t rows, std::int64_t columns) {
  const WeightFormat format = subject.spec.experts.weight_format;
  if (!formats::has_scales(format)) {
    subject.tensors[name] = tensor_of(plain_dtype(format), {experts, rows, columns}, values);
    return;
  }
  OwnedTensor encoded, scales;
  OwnedTensor global(DType::f32, {experts});
  const Matrix matrix = name == "gate_up_proj" ? Matrix::gate_up : Matrix::down;
  const std::string scale = matrix == Matrix::gate_up ? "gate_up" : "down";
  const StoredForm form = drawn_form(subject.seed, matrix);
  for (std::int64_t e = 0; e < experts; ++e) {
    const std::span one = std::span(values).subspan(static_cast<std::size_t>(e * rows * columns),
                                                    static_cast<std::size_t>(rows * columns));
    const formats::PackedMatrix packed = pack_as(format, one, MatrixSize{rows, columns}, form);
    if (e == 0) {
      encoded = OwnedTensor(packed.values_form.dtype, stacked(experts, packed.values_form.shape));
      scales = OwnedTensor(packed.scales_form.dtype, stacked(experts, packed.scales_form.shape));
    }
    const auto at = static_cast<std::size_t>(e);
    std::memcpy(encoded.data() + at * packed.values.size(), packed.values.data(),
                packed.values.size());
    std::memcpy(scales.data() + at * packed.scales.size(), packed.scales.data(),
                packed.scales.size());
    global.set(e, packed.global_scale);
  }
  subject.tensors[name] = std::move(encoded);
  subject.tensors[scale + "_scale"] = std::move(scales);
  if (formats::format(format).has_global_scale) {
    subject.tensors[scale + "_global_scale"] = std::move(global);
  }
}

void draw_tensors(Case& subject, const TensorPlan& plan, Draw& draw) {
  const MoeSpec& spec = subject.spec;
  const std::int64_t local = local_expert_count(spec);
  const std::int64_t width = local_width(spec);
  const std::int64_t rows = is_gated(spec.experts.activation) ? 2 * width : width;
  const bool random = plan.values == Values::random;
  draw_hidden(subject, plan, draw);
  draw_block(subject, draw, plan, local, width, false);
  if (const std::int64_t shared = local_shared_width(spec); shared > 0) {
    draw_block(subject, draw, plan, 1, shared, true);
  }
  const auto bias = [&](bool wanted, const char* name, const Shape& shape, double gain) {
    if (!wanted) return;
    const auto values =
        random ? normals(draw, shape.elements(), gain) : integers(draw, shape.elements(), 4);
    subject.tensors[name] = tensor_of(plan.bias, shape, values);
  };
  bias(spec.experts.gate_up_bias, "gate_up_bias", {local, rows}, 0.6);
  bias(spec.experts.down_bias, "down_bias", {local, spec.experts.hidden_size}, 0.5);
  bias(spec.router.router_bias, "router_bias", {spec.router.num_experts}, 0.7);
  bias(spec.router.e_score_correction_bias, "e_score_correction_bias", {spec.router.num_experts},
       0.25);
  if (spec.layer.shared_expert_gate) {
    const double gain = 1.0 / std::sqrt(static_cast<double>(spec.experts.hidden_size));
    subject.tensors["shared_expert_gate"] = tensor_of(
        plan.bias, {spec.experts.hidden_size}, normals(draw, spec.experts.hidden_size, gain));
  }
}

}  // namespace sluice::auditing
