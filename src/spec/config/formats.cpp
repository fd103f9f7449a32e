#include "spec/config/common.hpp"

namespace sluice::config {
namespace {

void read_fp8(const Keys& keys, ExpertSpec& experts) {
  const Key fmt = "quantization_config.fmt";
  const auto name = keys.find_text(fmt);
  if (name && *name != "e4m3" && *name != "float8_e4m3fn") {
    keys.refuse(fmt, "\"e4m3\" is supported");
  }
  const Key block = "quantization_config.weight_block_size";
  const auto sizes = keys.find_integers(block);
  if (sizes && *sizes != std::vector<std::int64_t>{128, 128}) {
    keys.refuse(block, "[128, 128] is supported");
  }
  experts.weight_format = sizes ? WeightFormat::fp8_e4m3_block128 : WeightFormat::fp8_e4m3_tensor;
  const Key scheme = "quantization_config.activation_scheme";
  const std::string activations = keys.find_text(scheme).value_or("dynamic");
  if (activations != "dynamic") keys.refuse(scheme, "\"dynamic\" is supported");
  experts.activation_format = ActivationFormat::fp8_e4m3;
}

void read_dtype(const Keys& keys, ExpertSpec& experts) {
  const Key dtype = {"dtype", "torch_dtype"};
  const std::string name = keys.find_text(dtype).value_or("bfloat16");
  if (name == "bfloat16") {
    experts.weight_format = WeightFormat::bf16;
    experts.activation_format = ActivationFormat::bf16;
  } else if (name == "float16") {
    experts.weight_format = WeightFormat::f16;
    experts.activation_format = ActivationFormat::f16;
  } else if (name == "float32") {
    experts.weight_format = WeightFormat::f32;
    experts.activation_format = ActivationFormat::f32;
  } else {
    keys.refuse(dtype, "bfloat16, float16 and float32 are supported");
  }
}

}  // namespace

void read_formats(const Keys& keys, ExpertSpec& experts) {
  read_dtype(keys, experts);
  if (!keys.has("quantization_config")) return;
  const Key skipped = "quantization_config.modules_to_not_convert";
  for (const std::string& pattern : keys.find_texts(skipped).value_or(std::vector<std::string>{})) {
    // Attention, routers and heads may stay as they are; which experts would, a spec cannot say.
    if (pattern.find("experts") != std::string::npos) {
      keys.refuse(skipped, "every expert must be stored alike");
    }
  }
  const Key method = "quantization_config.quant_method";
  const std::string name = keys.text(method);
  if (name == "fp8") {
    read_fp8(keys, experts);
  } else if (name == "mxfp4") {
    experts.weight_format = WeightFormat::mxfp4;
  } else {
    keys.refuse(method, "fp8 and mxfp4 are supported");
  }
}

}  // namespace sluice::config
