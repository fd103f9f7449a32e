// The catalogue's parts, each in the file of its subject.
#pragma once

#include <vector>

#include "audit/faults/fault.hpp"

namespace sluice::auditing {

void add_scale_mutants(std::vector<Mutant>& list);         // A
void add_shared_mutants(std::vector<Mutant>& list);        // B
void add_routing_mutants(std::vector<Mutant>& list);       // C, D, M
void add_activation_mutants(std::vector<Mutant>& list);    // E, H
void add_input_weight_mutants(std::vector<Mutant>& list);  // F
void add_parallel_mutants(std::vector<Mutant>& list);      // G
void add_layout_mutants(std::vector<Mutant>& list);        // I
void add_quantisation_mutants(std::vector<Mutant>& list);  // N
void add_memory_mutants(std::vector<Mutant>& list);        // J, K, L, O, P, Q
void add_condition_mutants(std::vector<Mutant>& list);     // what shows in company alone

// Edits the spec that the inner backend is given, and fits the tensors to it.
MakeFault with_spec(void (*edit)(MoeSpec&));
// As above, where `when` holds for what was asked.
MakeFault with_spec_when(bool (*when)(const MoeSpec&), void (*edit)(MoeSpec&));
// Hooks without a state of their own.
MakeFault on_load(void (*load)(Load&));
MakeFault on_forward(void (*forward)(Call&));

}  // namespace sluice::auditing
