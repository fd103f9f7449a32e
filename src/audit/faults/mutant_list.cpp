#include <algorithm>

#include "audit/faults/edit_weights.hpp"
#include "audit/faults/mutant_tables.hpp"

namespace sluice::auditing {

MakeFault with_spec_when(bool (*when)(const MoeSpec&), void (*edit)(MoeSpec&)) {
  return [when, edit](const MoeSpec&, const MoeWeights&) {
    Fault fault;
    fault.load = [when, edit](Load& load) {
      if (when != nullptr && !when(load.spec)) return;
      const MoeSpec before = load.spec;
      edit(load.spec);
      fit_weights(load, before);
    };
    return fault;
  };
}

MakeFault with_spec(void (*edit)(MoeSpec&)) { return with_spec_when(nullptr, edit); }

MakeFault on_load(void (*load)(Load&)) {
  return [load](const MoeSpec&, const MoeWeights&) {
    Fault fault;
    fault.load = load;
    return fault;
  };
}

MakeFault on_forward(void (*forward)(Call&)) {
  return [forward](const MoeSpec&, const MoeWeights&) {
    Fault fault;
    fault.forward = forward;
    return fault;
  };
}

const std::vector<Mutant>& mutant_list() {
  static const std::vector<Mutant> list = [] {
    std::vector<Mutant> all;
    add_scale_mutants(all);
    add_shared_mutants(all);
    add_routing_mutants(all);
    add_activation_mutants(all);
    add_input_weight_mutants(all);
    add_parallel_mutants(all);
    add_layout_mutants(all);
    add_quantisation_mutants(all);
    add_memory_mutants(all);
    add_size_mutants(all);
    add_race_mutants(all);
    add_chunk_mutants(all);
    add_substitution_mutants(all);
    add_condition_mutants(all);
    std::stable_sort(all.begin(), all.end(), [](const Mutant& a, const Mutant& b) {
      return a.info.bug_class < b.info.bug_class;
    });
    return all;
  }();
  return list;
}

}  // namespace sluice::auditing
