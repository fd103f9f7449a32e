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
void add_memory_mutants(std::vector<Mutant>& list);        // J
void add_size_mutants(std::vector<Mutant>& list);          // K, L
void add_race_mutants(std::vector<Mutant>& list);          // O
void add_chunk_mutants(std::vector<Mutant>& list);         // P
void add_substitution_mutants(std::vector<Mutant>& list);  // Q
void add_condition_mutants(std::vector<Mutant>& list);     // what shows in company alone

// Appends to one class.
struct Adder {
  std::vector<Mutant>& list;
  char bug_class;
  void operator()(std::string_view name, std::string_view meaning, std::string_view cases,
                  MakeFault make) const {
    list.push_back({{name, bug_class, meaning, cases}, std::move(make), {}});
  }
};

// Edits the spec that the inner backend is given, and fits the tensors to it.
MakeFault with_spec(void (*edit)(MoeSpec&));
// As above, where `when` holds for what was asked.
MakeFault with_spec_when(bool (*when)(const MoeSpec&), void (*edit)(MoeSpec&));
// Hooks without a state of their own.
MakeFault on_load(void (*load)(Load&));
MakeFault on_forward(void (*forward)(Call&));

}  // namespace sluice::auditing
