#include "spec/config/common.hpp"
#include "spec/config/family_readers.hpp"

namespace sluice::config {

// transformers' class has sigmoid and the norm built in and writes neither key; the released remote
// code and the serving stacks read them, and divide by the sum with sigmoid scores only.
MoeSpec read_afmoe(const ConfigReader& config) {
  MoeSpec spec = read_sizes(config, {"num_experts", "num_local_experts"}, "num_experts_per_tok",
                            "moe_intermediate_size");
  const std::int64_t n_group =
      config.find_integer({"n_group", "num_expert_groups"}, 1, kLargest).value_or(1);
  const std::int64_t topk_group =
      config.find_integer({"topk_group", "num_limited_groups"}, 1, kLargest).value_or(1);
  const bool route_norm = config.find_flag("route_norm").value_or(true);
  const std::string score_func = config.find_text("score_func").value_or("sigmoid");
  if (score_func != "sigmoid" && score_func != "softmax") {
    config.refuse("score_func", "sigmoid, softmax");
  }
  const bool sigmoid = score_func == "sigmoid";
  set_v3(spec.router, sigmoid && route_norm, n_group, topk_group,
         read_factor(config, "route_scale"));
  if (!sigmoid) spec.router.score_func = ScoreFunc::softmax;
  set_shared(spec, config.find_integer("num_shared_experts", 0, kLargest).value_or(0));
  return spec;
}

}  // namespace sluice::config
