#include <fmt/ranges.h>

#include <algorithm>
#include <sluice/weights.hpp>

#include "base/problems.hpp"
#include "formats/format.hpp"
#include "formats/weights_check.hpp"

namespace sluice {
namespace {

using formats::Format;
using formats::MatrixSize;
using formats::TensorForm;
using Dtypes = std::vector<DType>;

std::vector<TensorForm> forms(const Dtypes& dtypes, std::initializer_list<Shape> shapes) {
  std::vector<TensorForm> all;
  for (const Shape& shape : shapes) {
    for (DType dtype : dtypes) all.push_back({dtype, shape});
  }
  return all;
}

class Checker {
 public:
  Checker(const MoeSpec& spec, Problems& problems)
      : spec_(spec), format_(formats::format(spec.experts.weight_format)), problems_(problems) {}

  void tensor(std::string_view name, const TensorView& view, std::span<const TensorForm> allowed) {
    // A rank without experts has tensors of no elements, and those need no address.
    const auto holds_nothing = [](const TensorForm& form) { return form.shape.elements() == 0; };
    if (view.empty() && std::any_of(allowed.begin(), allowed.end(), holds_nothing)) return;
    if (view.empty()) return problem("{} is missing, expected {}", name, describe(allowed));
    const auto text = formats::form_problem(view, allowed);
    if (!text.empty()) problem("{} {}", name, text);
  }

  void optional_tensor(std::string_view name, const TensorView& view,
                       std::span<const TensorForm> allowed) {
    if (!view.empty()) tensor(name, view, allowed);
  }

  // A tensor that goes with a field of the spec: present exactly when the field says so.
  void flagged_tensor(std::string_view name, const TensorView& view, std::string_view field,
                      bool expected, std::span<const TensorForm> allowed) {
    if (expected) return tensor(name, view, allowed);
    absent(name, view, field);
  }

  void absent(std::string_view name, const TensorView& view, std::string_view reason) {
    if (!view.empty()) {
      problem("{} is given ({} {}), but {}", name, to_string(view.dtype), to_string(view.shape),
              reason);
    }
  }

  void experts(std::string_view name, const ExpertMatrices& matrices,
               std::span<const TensorForm> allowed) {
    const std::int64_t expected = local_expert_count(spec_);
    if (static_cast<std::int64_t>(matrices.size()) != expected) {
      return problem("{} has {} experts, expected {}: {} each", name, matrices.size(), expected,
                     describe(allowed));
    }
    for (std::size_t i = 0; i < matrices.size(); ++i) {
      tensor(fmt::format("{}[{}]", name, i), matrices[i], allowed);
    }
  }

  void no_experts(std::string_view name, const ExpertMatrices& matrices, std::string_view reason) {
    if (!matrices.empty())
      problem("{} is given for {} experts, but {}", name, matrices.size(), reason);
  }

  template <typename... Args>
  void problem(fmt::format_string<Args...> text, Args&&... args) {
    problems_.add(text, std::forward<Args>(args)...);
  }

  const Format& format() const { return format_; }

 private:
  static std::string describe(std::span<const TensorForm> allowed) {
    std::vector<std::string> texts;
    for (const TensorForm& form : allowed) {
      texts.push_back(fmt::format("{} {}", to_string(form.dtype), to_string(form.shape)));
    }
    return fmt::format("{}", fmt::join(texts, " or "));
  }

  const MoeSpec& spec_;
  const Format& format_;
  Problems& problems_;
};

const Dtypes kBiasDtypes{DType::f32, DType::bf16};
const Dtypes kFloatDtypes{DType::f32, DType::bf16, DType::f16};

void check_router(const MoeSpec& spec, const MoeWeights& weights, Checker& check) {
  const std::int64_t experts = spec.router.num_experts;
  const std::int64_t hidden = spec.experts.hidden_size;
  check.optional_tensor("router.weight", weights.router_weight,
                        forms(kFloatDtypes, {{experts, hidden}}));
  check.flagged_tensor("router_bias", weights.router_bias, "router.router_bias is false",
                       spec.router.router_bias, forms(kBiasDtypes, {Shape{experts}}));
  check.flagged_tensor("e_score_correction_bias", weights.e_score_correction_bias,
                       "router.e_score_correction_bias is false",
                       spec.router.e_score_correction_bias, forms(kBiasDtypes, {Shape{experts}}));
}

void check_size(const char* field, std::int64_t columns, Checker& check) {
  const std::int64_t multiple = check.format().column_multiple;
  if (columns % multiple != 0) {
    check.problem("{} is {}; experts.weight_format needs a multiple of {}", field, columns,
                  multiple);
  }
}

void check_scales(std::string_view name, const ExpertMatrices& scales, const TensorView& global,
                  MatrixSize size, std::int64_t experts, Checker& check) {
  if (!formats::has_scales(check.format().id)) {
    check.no_experts(fmt::format("{}_scale", name), scales, "experts.weight_format has no scales");
  } else if (size.columns % check.format().column_multiple == 0) {  // else check_size complains
    check.experts(fmt::format("{}_scale", name), scales, check.format().scales(size));
  }
  check.flagged_tensor(fmt::format("{}_global_scale", name), global,
                       "experts.weight_format has no global scale", check.format().has_global_scale,
                       forms({DType::f32}, {Shape{experts}}));
}

void check_gate_up(const MoeSpec& spec, const MoeWeights& weights, Checker& check) {
  const std::int64_t hidden = spec.experts.hidden_size;
  const std::int64_t width = local_width(spec);
  const MatrixSize fused{is_gated(spec.experts.activation) ? 2 * width : width, hidden};
  const bool separate = !weights.gate_proj.empty() || !weights.up_proj.empty();
  if (!separate) {
    check.experts("gate_up_proj", weights.gate_up_proj, check.format().values(fused));
    return;
  }
  check.no_experts("gate_up_proj", weights.gate_up_proj, "so are gate_proj and up_proj");
  if (!is_gated(spec.experts.activation)) {
    check.problem("gate_proj and up_proj are given, but experts.activation has no gate");
  } else if (spec.experts.gate_up_order != GateUpOrder::gate_up) {
    check.problem("gate_proj and up_proj are given; experts.gate_up_order must be gate_up then");
  } else if (formats::has_scales(check.format().id)) {
    check.problem("gate_proj and up_proj are given; scaled weight formats need gate_up_proj");
  } else {
    const auto allowed = check.format().values({width, hidden});
    check.experts("gate_proj", weights.gate_proj, allowed);
    check.experts("up_proj", weights.up_proj, allowed);
  }
}

void check_experts(const MoeSpec& spec, const MoeWeights& weights, Checker& check) {
  const std::int64_t hidden = spec.experts.hidden_size;
  const std::int64_t width = local_width(spec);
  const std::int64_t rows = is_gated(spec.experts.activation) ? 2 * width : width;
  const std::int64_t experts = local_expert_count(spec);
  check_size("experts.hidden_size", hidden, check);
  check_size("experts.intermediate_size", width, check);
  check_gate_up(spec, weights, check);
  check.experts("down_proj", weights.down_proj, check.format().values({hidden, width}));
  check_scales("gate_up", weights.gate_up_scale, weights.gate_up_global_scale, {rows, hidden},
               experts, check);
  check_scales("down", weights.down_scale, weights.down_global_scale, {hidden, width}, experts,
               check);
  check.flagged_tensor("gate_up_bias", weights.gate_up_bias, "experts.gate_up_bias is false",
                       spec.experts.gate_up_bias, forms(kBiasDtypes, {{experts, rows}}));
  check.flagged_tensor("down_bias", weights.down_bias, "experts.down_bias is false",
                       spec.experts.down_bias, forms(kBiasDtypes, {{experts, hidden}}));
}

void check_no_shared(const MoeWeights& weights, Checker& check) {
  constexpr std::string_view kReason = "layer.num_shared_experts is 0";
  check.absent("shared.gate_up_proj", weights.shared_gate_up_proj, kReason);
  check.absent("shared.gate_proj", weights.shared_gate_proj, kReason);
  check.absent("shared.up_proj", weights.shared_up_proj, kReason);
  check.absent("shared.down_proj", weights.shared_down_proj, kReason);
  check.absent("shared_expert_gate", weights.shared_expert_gate, kReason);
}

void check_shared(const MoeSpec& spec, const MoeWeights& weights, Checker& check) {
  if (spec.layer.num_shared_experts == 0) return check_no_shared(weights, check);
  const std::int64_t hidden = spec.experts.hidden_size;
  const std::int64_t width = local_shared_width(spec);
  const bool gated = is_gated(spec.experts.activation);
  // Shared experts stay plain floats where routed experts are scaled.
  const bool plain = !formats::has_scales(check.format().id);
  auto matrix = [&](std::int64_t rows, std::int64_t columns) {
    return plain ? check.format().values({rows, columns}) : forms(kFloatDtypes, {{rows, columns}});
  };
  if (weights.shared_gate_proj.empty() && weights.shared_up_proj.empty()) {
    check.tensor("shared.gate_up_proj", weights.shared_gate_up_proj,
                 matrix(gated ? 2 * width : width, hidden));
  } else if (!gated || spec.experts.gate_up_order != GateUpOrder::gate_up) {
    check.problem(
        "shared.gate_proj and shared.up_proj are given; experts.activation must have a "
        "gate and experts.gate_up_order be gate_up then");
  } else {
    check.absent("shared.gate_up_proj", weights.shared_gate_up_proj,
                 "so are shared.gate_proj and shared.up_proj");
    check.tensor("shared.gate_proj", weights.shared_gate_proj, matrix(width, hidden));
    check.tensor("shared.up_proj", weights.shared_up_proj, matrix(width, hidden));
  }
  check.tensor("shared.down_proj", weights.shared_down_proj, matrix(hidden, width));
  check.flagged_tensor("shared_expert_gate", weights.shared_expert_gate,
                       "layer.shared_expert_gate is false", spec.layer.shared_expert_gate,
                       forms(kFloatDtypes, {Shape{hidden}, Shape{1, hidden}}));
}

}  // namespace

namespace formats {

void find_weight_problems(const MoeSpec& spec, const MoeWeights& weights, Problems& problems) {
  Checker check(spec, problems);
  check_router(spec, weights, check);
  check_experts(spec, weights, check);
  check_shared(spec, weights, check);
}

void raise_weight_problems(const Problems& problems) {
  problems.raise(ErrorKind::user, "the layer's tensors do not fit its spec");
}

}  // namespace formats

void check_weights(const MoeSpec& spec, const MoeWeights& weights) {
  validate(spec);  // the shapes that are asked for divide by its sizes
  Problems problems;
  formats::find_weight_problems(spec, weights, problems);
  formats::raise_weight_problems(problems);
}

}  // namespace sluice
