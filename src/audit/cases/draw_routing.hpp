// Router logits, biases and given routing for the regimes.
#pragma once

#include "audit/case.hpp"
#include "spec/draw.hpp"

namespace sluice::auditing {

using LogitOf = double (*)(Draw& draw, std::int64_t token, std::int64_t expert,
                           std::int64_t experts);

void draw_logits(Case& subject, DType dtype, Draw& draw, LogitOf logit);
double ordinary_logit(Draw& draw, std::int64_t token, std::int64_t expert, std::int64_t experts);

// Replaces a bias tensor's values, if the case has it.
void draw_bias(Case& subject, const char* name, Draw& draw, double low, double high);

// Distinct ids; weights of either sign that are no powers of two, or with `exact` only such.
void draw_given_routing(Case& subject, DType ids, DType weights, bool exact, Draw& draw);

}  // namespace sluice::auditing
