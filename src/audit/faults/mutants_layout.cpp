// I: layout of the matrices.
#include <algorithm>

#include "audit/faults/edit_weights.hpp"
#include "audit/faults/mutant_tables.hpp"
#include "audit/faults/reroute.hpp"
#include "base/float_types.hpp"

namespace sluice::auditing {
namespace {

constexpr std::int64_t kTile = 32;

// Columns beyond the last whole tile of `tile` count as zero.
EditMatrix without_column_tail(std::int64_t tile) {
  return [tile](std::span<float> values, std::int64_t rows, std::int64_t columns, std::int64_t) {
    const std::int64_t whole = columns / tile * tile;
    for (std::int64_t r = 0; r < rows; ++r) {
      std::fill(values.begin() + r * columns + whole, values.begin() + (r + 1) * columns, 0.0f);
    }
  };
}

void swap_halves(std::span<float> values, std::int64_t rows, std::int64_t columns, std::int64_t) {
  std::swap_ranges(values.begin(), values.begin() + rows / 2 * columns,
                   values.begin() + rows / 2 * columns);
}

// The split between the halves moved up to the padded width: gate takes rows of up.
void move_split(std::span<float> values, std::int64_t rows, std::int64_t columns, std::int64_t) {
  const std::int64_t width = rows / 2;
  const std::int64_t padded = std::min((width + kTile - 1) / kTile * kTile, rows);
  std::rotate(values.begin() + width * columns, values.begin() + padded * columns, values.end());
}

void transpose(std::span<float> values, std::int64_t rows, std::int64_t columns, std::int64_t) {
  const std::vector<float> from(values.begin(), values.end());
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < columns; ++c) {
      values[static_cast<std::size_t>(r * columns + c)] =
          from[static_cast<std::size_t>(c * rows + r)];
    }
  }
}

void next_expert(ExpertMatrices& matrices) {
  if (matrices.size() > 1) std::rotate(matrices.begin(), matrices.begin() + 1, matrices.end());
}

}  // namespace

void add_layout_mutants(std::vector<Mutant>& list) {
  const auto add = [&](std::string_view name, std::string_view meaning, std::string_view cases,
                       MakeFault make) {
    list.push_back({{name, 'I', meaning, cases}, std::move(make), {}});
  };
  add("halves-swapped", "gate and up were swapped",
      "sglang#32430 (0.00 for 93.93 %), Megatron-LM#6045", on_load([](Load& load) {
        if (!is_gated(load.spec.experts.activation)) return;
        GateUpOrder& order = load.spec.experts.gate_up_order;
        if (order == GateUpOrder::interleaved) {
          edit_gate_up(load, [](std::span<float> v, std::int64_t rows, std::int64_t columns, auto) {
            for (std::int64_t r = 0; r + 1 < rows; r += 2) {
              std::swap_ranges(v.begin() + r * columns, v.begin() + (r + 1) * columns,
                               v.begin() + (r + 1) * columns);
            }
          });
        } else if (!load.weights.gate_proj.empty()) {
          std::swap(load.weights.gate_proj, load.weights.up_proj);
        } else {
          edit_gate_up(load, swap_halves);
        }
      }));
  add("order-ignored", "gate_up_order were gate_up", "sglang#32430, Megatron-LM#6045",
      with_spec([](MoeSpec& s) { s.experts.gate_up_order = GateUpOrder::gate_up; }));
  add("shared-halves-swapped", "the shared experts' gate and up were swapped", "sglang#32430",
      on_load([](Load& load) {
        if (!is_gated(load.spec.experts.activation)) return;
        if (load.weights.shared_gate_up_proj) {
          edit_shared_gate_up(load, [](std::span<float> v, std::int64_t rows, std::int64_t columns,
                                       std::int64_t) { swap_halves(v, rows, columns, -1); });
        } else {
          std::swap(load.weights.shared_gate_proj, load.weights.shared_up_proj);
        }
      }));
  add("padding-moves-split", "padding moved the split between gate and up", "vllm#48624",
      on_load([](Load& load) {
        if (is_gated(load.spec.experts.activation) &&
            load.spec.experts.gate_up_order != GateUpOrder::interleaved) {
          edit_gate_up(load, move_split);
        }
      }));
  add("down-transposed", "down_proj were read transposed", "flashinfer#3334 (garbage, no error)",
      on_load([](Load& load) { edit_down(load, transpose); }));
  add("hidden-tail-dropped", "columns of H beyond the last 32 were not read", "vllm#35497",
      on_load([](Load& load) { edit_gate_up(load, without_column_tail(kTile)); }));
  add("intermediate-tail-dropped", "columns of I beyond the last 16 were not read", "vllm#35497",
      on_load([](Load& load) { edit_down(load, without_column_tail(kTile / 2)); }));
  add("output-tail-unwritten", "outputs beyond the last 32 of H were not written", "aiter#3538",
      on_forward([](Call& call) {
        const MutableTensorView out = call.output.output;
        const std::int64_t width = out.shape[1];
        const OwnedTensor before = OwnedTensor::copy_of(out);
        call.forward();
        for (std::int64_t i = 0; i < out.shape.elements(); ++i) {
          if (i % width < width / kTile * kTile) continue;
          store_float(out.data, out.dtype, i, before.get(i));
        }
      }));
  add("experts-rotated", "each expert had its neighbour's down_proj", "Megatron-LM#6045",
      on_load([](Load& load) { next_expert(load.weights.down_proj); }));
  add("last-row-of-last-expert", "one row of one expert were zero", "vllm#35497",
      on_load([](Load& load) {
        const std::int64_t last = local_expert_count(load.spec) - 1;
        edit_down(load, [last](std::span<float> v, std::int64_t, std::int64_t columns,
                               std::int64_t expert) {
          if (expert == last) std::fill(v.end() - columns, v.end(), 0.0f);
        });
      }));
}

}  // namespace sluice::auditing
