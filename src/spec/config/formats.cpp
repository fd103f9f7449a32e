#include "spec/config/common.hpp"

namespace sluice::config {
namespace {

void read_fp8(const ConfigReader& config, ExpertSpec& experts) {
  const ConfigKey fmt = "quantization_config.fmt";
  const auto name = config.find_text(fmt);
  if (name && *name != "e4m3" && *name != "float8_e4m3fn") {
    config.refuse(fmt, "e4m3");
  }
  const ConfigKey block = "quantization_config.weight_block_size";
  const auto sizes = config.find_integers(block, 1, kLargest);
  if (sizes && *sizes != std::vector<std::int64_t>{128, 128}) {
    config.refuse(block, "[128, 128]");
  }
  experts.weight_format = sizes ? WeightFormat::fp8_e4m3_block128 : WeightFormat::fp8_e4m3_tensor;
  // dynamic: an engine may quantise activations on the fly, with scales of its own making; nothing
  // in the checkpoint depends on it, and DeepSeek's own code multiplies in bf16 unless told to.
  // static has scales in the checkpoint, which are no part of a spec.
  config.require_text("quantization_config.activation_scheme", "dynamic");
}

void read_dtype(const ConfigReader& config, ExpertSpec& experts) {
  const ConfigKey dtype = {"dtype", "torch_dtype"};
  const std::string name = config.find_text(dtype).value_or("bfloat16");
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
    config.refuse(dtype, "bfloat16, float16, float32");
  }
}

}  // namespace

void read_formats(const ConfigReader& config, ExpertSpec& experts) {
  read_dtype(config, experts);
  if (!config.has("quantization_config")) return;
  const ConfigKey skipped = "quantization_config.modules_to_not_convert";
  for (const std::string& pattern :
       config.find_texts(skipped).value_or(std::vector<std::string>{})) {
    // Attention, routers and heads may stay as they are; which experts would, a spec cannot say.
    if (pattern.find("experts") != std::string::npos) {
      config.refuse(skipped, "lists without experts, which must all be stored alike");
    }
  }
  const ConfigKey method = "quantization_config.quant_method";
  const std::string name = config.text(method);
  if (name == "fp8") {
    read_fp8(config, experts);
  } else if (name == "mxfp4") {
    experts.weight_format = WeightFormat::mxfp4;
  } else {
    config.refuse(method, "fp8, mxfp4");
  }
}

}  // namespace sluice::config
