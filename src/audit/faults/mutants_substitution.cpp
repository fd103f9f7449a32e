// Q: another layer than the one asked for, or none.
#include "audit/faults/edit_weights.hpp"
#include "audit/faults/mutant_tables.hpp"
#include "base/fail.hpp"

namespace sluice::auditing {

void add_substitution_mutants(std::vector<Mutant>& list) {
  const Adder add{list, 'Q'};
  add("substitutes-plain-layer", "every field were neutral: another backend ran instead",
      "TensorRT-LLM#15861", [](const MoeSpec&, const MoeWeights&) {
        Fault fault;
        fault.load = [](Load& load) {
          const MoeSpec before = load.spec;
          MoeSpec plain;
          plain.router.num_experts = before.router.num_experts;
          plain.router.top_k = before.router.top_k;
          plain.router.apply_router_weight_on_input = before.router.apply_router_weight_on_input;
          load.spec.router = plain.router;
          fit_weights(load, before);
        };
        return fault;
      });
  list.push_back(
      {{"claims-then-refuses", 'Q',
        "routed_scaling_factor were claimed and every value but 1 refused",
        "vllm#46838 (a tuning bound taken for a limit)"},
       {},
       [](const Backend& inner, const MoeSpec& spec) {
         Support support = inner.supports(spec);
         if (spec.router.routed_scaling_factor != 1.0) {
           support.refusals.push_back({"router.routed_scaling_factor", "is not 1: not tuned for"});
         }
         return support;
       }});
  list.push_back({{"accepts-then-throws", 'Q', "load threw for a layer that supports() accepted",
                   "TensorRT-LLM#15861"},
                  [](const MoeSpec& asked, const MoeWeights&) {
                    Fault fault;
                    fault.load = [hidden = asked.experts.hidden_size](Load&) {
                      if (hidden % 128 != 0) {
                        fail(ErrorKind::device, "hidden_size {} is not a multiple of 128", hidden);
                      }
                    };
                    return fault;
                  },
                  {}});
}

}  // namespace sluice::auditing
