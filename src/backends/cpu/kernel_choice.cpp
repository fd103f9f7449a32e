#include "backends/cpu/kernel_choice.hpp"

#include <fmt/format.h>

#include "base/fail.hpp"
#include "spec/choices.hpp"

namespace sluice {
namespace {

RowFormat rounded_fp32(ActivationFormat format) {
  switch (format) {
    case ActivationFormat::bf16:
      return RowFormat::f32_bf16;
    case ActivationFormat::f16:
      return RowFormat::f32_f16;
    case ActivationFormat::f32:
      return RowFormat::f32;
    case ActivationFormat::fp8_e4m3:
      break;
  }
  fail(ErrorKind::internal, "activation_format {} has no kernel", choice_name(format));
}

const PanelKernel& fp32_kernel(const Isa& isa, WeightFormat format) {
  switch (format) {
    case WeightFormat::bf16:
      return isa.f32_bf16;
    case WeightFormat::f16:
      return isa.f32_f16;
    case WeightFormat::f32:
      return isa.f32_f32;
    default:
      fail(ErrorKind::internal, "weight_format {} has no kernel", choice_name(format));
  }
}

}  // namespace

CpuKernel choose_kernel(const Isa& isa, const ExpertSpec& experts) {
  if (isa.bf16_bf16.run != nullptr && experts.weight_format == WeightFormat::bf16 &&
      experts.activation_format == ActivationFormat::bf16) {
    return {&isa, isa.bf16_bf16, RowFormat::bf16, 2};
  }
  return {&isa, fp32_kernel(isa, experts.weight_format), rounded_fp32(experts.activation_format),
          4};
}

RowFormat row_format(DType dtype) {
  if (dtype == DType::f32) return RowFormat::f32;
  return dtype == DType::bf16 ? RowFormat::bf16 : RowFormat::f16;
}

std::string variant_name(const Isa& isa, const ExpertSpec& experts) {
  return fmt::format("gemm_{}_{}_{}", choice_name(experts.weight_format),
                     choice_name(experts.activation_format), isa.name);
}

}  // namespace sluice
