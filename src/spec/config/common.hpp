// What several families' readers share.
#pragma once

#include <sluice/spec.hpp>

#include "spec/config/config_reader.hpp"

namespace sluice::config {

// Above every size; products of a few stay below 2^63. validate() has its own, finer limits.
inline constexpr std::int64_t kLargest = std::int64_t{1} << 30;

// The factor on the routed experts. Families that have one always write it, and whoever assumes 1
// loses it: a missing key is an error.
double read_factor(const ConfigReader& config, const ConfigKey& key);

// hidden_size, the three sizes under the family's names, the activation of hidden_act.
MoeSpec read_sizes(const ConfigReader& config, const ConfigKey& num_experts, const ConfigKey& top_k,
                   const ConfigKey& intermediate_size);

// `count` shared experts, `width` wide together; width 0: each as wide as a routed expert.
void set_shared(MoeSpec& spec, std::int64_t count, std::int64_t width = 0);

// After top_k. transformers' classes and the serving stacks divide a single weight too, whichever
// the family; only the released code of DeepSeek and Moonshot does not.
void set_norm(RouterSpec& router, double eps, NormRule rule = NormRule::add);

// Softmax over all experts, divided by the plain sum of those chosen.
void set_renormalised_softmax(RouterSpec& router);

// DeepSeek-V3's rule: sigmoid, correction bias, groups ranked by their two best, sum + 1e-20.
inline constexpr double kV3Eps = 1e-20;
void set_v3(RouterSpec& router, bool norm_topk_prob, std::int64_t n_group, std::int64_t topk_group,
            double routed_scaling_factor);

// weight_format from quantization_config, or else from the model's dtype, as is activation_format.
// Refuses schemes that no WeightFormat says.
void read_formats(const ConfigReader& config, ExpertSpec& experts);

}  // namespace sluice::config
