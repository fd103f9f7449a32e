// Edits of the weights that the inner backend is given.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>

#include "audit/faults/fault.hpp"

namespace sluice::auditing {

// Rows [0, rows) of an expert matrix, in its own dtype; edit sets fp32 values that are rounded to
// it. Scaled formats are unpacked, edited, and packed again.
using EditMatrix = std::function<void(std::span<float> values, std::int64_t rows,
                                      std::int64_t columns, std::int64_t expert)>;

// GEMM 1 of every local expert (fused rows, or gate and up one after the other), and GEMM 2.
void edit_gate_up(Load& load, const EditMatrix& edit);
void edit_down(Load& load, const EditMatrix& edit);
void edit_shared_gate_up(Load& load, const EditMatrix& edit);  // expert is -1
void edit_shared_down(Load& load, const EditMatrix& edit);
// A tensor given or not; not given stays so.
void edit_tensor(Load& load, TensorView& tensor, const std::function<void(std::span<float>)>& edit);

void remove_shared(Load& load);

// The inner backend holds every expert; global expert e gets the tensors of local pick(e).
void spread_experts(Load& load, const std::function<std::int64_t(std::int64_t)>& pick);

// Every list of matrices, one entry per expert, with their scales.
std::array<ExpertMatrices*, 6> expert_lists(MoeWeights& weights);

// Row `row` of the result is row pick(row) of the view.
TensorView pick_rows(Load& load, const TensorView& view, std::int64_t rows,
                     const std::function<std::int64_t(std::int64_t)>& pick);

// Settles fields that lean on a lost one, and makes the tensors fit: what the spec no longer has is
// removed,
// local experts are repeated or cut to the count, a shared block is cut to the width. This is what
// a backend does that reads its buffers with the wrong sizes, without the crash.
void fit_weights(Load& load, const MoeSpec& before);

}  // namespace sluice::auditing
