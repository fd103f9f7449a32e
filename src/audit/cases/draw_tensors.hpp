// Tensors for a spec, drawn so that nothing cancels, repeats or stays neutral.
#pragma once

#include "audit/case.hpp"
#include "spec/draw.hpp"

namespace sluice::auditing {

// Mean 0, variance 1, bounded by 6: the sum of twelve uniform draws.
double normal(Draw& draw);

enum class Values : std::uint8_t {
  random,   // continuous: every rounding happens
  integers  // small integers, gates so large that their sigmoid is one: nothing rounds
};

struct TensorPlan {
  std::int64_t tokens = 4;
  DType hidden = DType::bf16;
  DType bias = DType::f32;  // of every bias tensor: f32 or bf16
  Values values = Values::random;
};

// Fills in hidden_states and every weight tensor that case.spec asks for; routing comes after.
void draw_tensors(Case& subject, const TensorPlan& plan, Draw& draw);

// Encodes fp32 matrices [experts, rows, columns] in the spec's weight format, with their scales.
void store_matrices(Case& subject, const std::string& name, const std::vector<float>& values,
                    std::int64_t experts, std::int64_t rows, std::int64_t columns);

// Whether every matrix of the spec fits the blocks of its weight format.
bool widths_fit_format(const MoeSpec& spec);

}  // namespace sluice::auditing
