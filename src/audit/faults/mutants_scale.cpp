// A: the routed factor, dropped, doubled, defaulted.
#include "audit/faults/mutant_tables.hpp"
#include "audit/faults/reroute.hpp"
#include "base/float_types.hpp"

namespace sluice::auditing {
namespace {

void lose(MoeSpec& spec) { spec.router.routed_scaling_factor = 1.0; }

double& factor(MoeSpec& spec) { return spec.router.routed_scaling_factor; }

}  // namespace

void add_scale_mutants(std::vector<Mutant>& list) {
  const auto add = [&](std::string_view name, std::string_view meaning, std::string_view cases,
                       MakeFault make) {
    list.push_back({{name, 'A', meaning, cases}, std::move(make), {}});
  };
  add("scale-dropped", "routed_scaling_factor were 1",
      "vllm#43769, vllm#44007, vllm#32437, vllm#49618, sglang#8333, sglang#8364, sglang#8511, "
      "sglang-jax#1282",
      with_spec(lose));
  add("scale-dropped-without-groups",
      "routed_scaling_factor were 1 for methods without expert groups", "flashinfer#3499",
      with_spec_when([](const MoeSpec& s) { return s.router.n_group == 1; }, lose));
  add("scale-dropped-with-groups", "routed_scaling_factor were 1 for grouped top-k", "vllm#23123",
      with_spec_when([](const MoeSpec& s) { return s.router.n_group > 1; }, lose));
  add("scale-dropped-when-renormalising",
      "routed_scaling_factor were 1 whenever norm_topk_prob is true", "sglang#31449",
      with_spec_when([](const MoeSpec& s) { return s.router.norm_topk_prob; }, lose));
  add("scale-dropped-on-output",
      "routed_scaling_factor were 1 where apply_routed_scale_to_output asks for it on the output",
      "vllm#43769 (the flag moves the factor to a place that nobody multiplies)",
      with_spec_when([](const MoeSpec& s) { return s.router.apply_routed_scale_to_output; }, lose));
  add("scale-doubled", "routed_scaling_factor were applied twice",
      "vllm#45037, kvcache-ai/sglang#86", with_spec([](MoeSpec& s) { factor(s) *= factor(s); }));
  add("scale-doubled-on-output",
      "routed_scaling_factor were applied to the weights and again to the output",
      "vllm#45037 (weights and combine both apply it)",
      with_spec_when([](const MoeSpec& s) { return s.router.apply_routed_scale_to_output; },
                     [](MoeSpec& s) { factor(s) *= factor(s); }));
  add("scale-divides-output", "the output were divided by routed_scaling_factor",
      "vLLM fp16 branch with Nemotron-H", [](const MoeSpec&, const MoeWeights&) {
        Fault fault;
        fault.forward = [](Call& call) {
          const auto by = static_cast<float>(call.spec.router.routed_scaling_factor);
          edit_output(call, [by](std::span<float> out) {
            for (float& value : out) value /= by;
          });
        };
        return fault;
      });
  add("scale-constant", "routed_scaling_factor were 2.5 whatever the model says",
      "sglang#8511 (another model's default)",
      with_spec_when([](const MoeSpec& s) { return s.router.routed_scaling_factor != 1.0; },
                     [](MoeSpec& s) { factor(s) = 2.5; }));
  add("scale-in-bf16", "routed_scaling_factor were rounded to bf16", "vllm#25711",
      with_spec([](MoeSpec& s) { factor(s) = round_to_bf16(static_cast<float>(factor(s))); }));
  add("scale-to-integer", "routed_scaling_factor were truncated to an integer",
      "kvcache-ai/sglang#86 (2.25 times where 1.5 was due)", with_spec([](MoeSpec& s) {
        factor(s) = static_cast<double>(static_cast<std::int64_t>(factor(s)));
      }));
}

}  // namespace sluice::auditing
