#include "model/moe_loader.hpp"

#include "base/fail.hpp"

namespace sluice {
namespace {

WeightFormat format_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return WeightFormat::f32;
    case DType::bf16:
      return WeightFormat::bf16;
    case DType::f16:
      return WeightFormat::f16;
    default:
      fail(ErrorKind::checkpoint, "expert weights are {}; F32, BF16 and F16 can be loaded",
           to_string(dtype));
  }
}

}  // namespace

MoeSpec spec_in_use(MoeSpec spec, DType expert_dtype, const ModelOptions& options) {
  spec.experts.weight_format = format_of(expert_dtype);
  spec.experts.activation_format = options.precision == ActivationPrecision::f32
                                       ? ActivationFormat::f32
                                       : ActivationFormat::bf16;
  if (options.weights_from_biased_scores) {
    // Moonshot's released code, which also leaves a single weight as it is.
    spec.router.weights_from_biased_scores = true;
    spec.router.norm_single_expert = false;
  }
  return spec;
}

std::unique_ptr<FeedForward> load_moe(const MoeSpec& spec, const MoeTensorNames& names,
                                      const WeightSource& source, const ModelOptions& options,
                                      Compute& compute, LayerDescription& description) {
  MoeTensors tensors(source, names, spec);
  description.moe = spec_in_use(spec, tensors.dtype(), options);
  LayerOptions layer_options;
  layer_options.backend = options.backend;
  layer_options.instance = options.instance;
  layer_options.load.executor = compute.executor;
  layer_options.workspace = compute.workspace;
  MoeLayer layer(*description.moe, tensors.weights(), layer_options);
  return std::make_unique<MoeBlock>(std::move(layer), tensors.router_weight(), *compute.executor);
}

void refuse_kimi_options(const ModelOptions& options, std::string_view model_type) {
  if (options.kv_a_layernorm_eps) {
    fail(ErrorKind::user, "kv_a_layernorm_eps is an option of kimi_linear; this model is {}",
         model_type);
  }
  if (options.weights_from_biased_scores) {
    fail(ErrorKind::user,
         "weights_from_biased_scores is an option of kimi_linear; this model is {}", model_type);
  }
}

}  // namespace sluice
