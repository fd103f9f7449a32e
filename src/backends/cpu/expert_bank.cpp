#include "backends/cpu/expert_bank.hpp"

#include "base/element.hpp"
#include "base/fail.hpp"
#include "formats/block_tensors.hpp"

namespace sluice {
namespace {

// Row of a fused matrix that holds gate row i, and up row i.
struct RowPair {
  std::int64_t gate, up;
};

RowPair fused_rows(GateUpOrder order, std::int64_t i, std::int64_t width) {
  switch (order) {
    case GateUpOrder::gate_up:
      return {i, width + i};
    case GateUpOrder::up_gate:
      return {width + i, i};
    case GateUpOrder::interleaved:
      return {2 * i, 2 * i + 1};
  }
  fail(ErrorKind::internal, "gate_up_order {}", static_cast<int>(order));
}

// Index in the checkpoint's rows (gate_up_bias, fused matrices) of packed row r; -1 for padding.
std::int64_t checkpoint_row(const ExpertSpec& experts, std::int64_t packed, std::int64_t width) {
  if (!is_gated(experts.activation)) return packed < width ? packed : -1;
  const std::int64_t i = packed / (2 * kPanelRows) * kPanelRows + packed % kPanelRows;
  if (i >= width) return -1;
  const RowPair rows = fused_rows(experts.gate_up_order, i, width);
  return packed / kPanelRows % 2 == 0 ? rows.gate : rows.up;
}

std::int64_t gate_up_rows_packed(const ExpertSpec& experts, std::int64_t width) {
  return is_gated(experts.activation) ? static_cast<std::int64_t>(gate_up_packed_rows(width))
                                      : width;
}

std::vector<SourceRow> gate_up_sources(const ExpertSpec& experts, const BlockTensors& tensors,
                                       std::int64_t width) {
  std::vector<SourceRow> rows(static_cast<std::size_t>(gate_up_rows_packed(experts, width)));
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const std::int64_t from = checkpoint_row(experts, static_cast<std::int64_t>(r), width);
    if (from < 0) continue;
    if (tensors.fused) {
      rows[r] = source_row(tensors.fused, from);
    } else {  // separate tensors stand for gate, then up
      rows[r] =
          from < width ? source_row(tensors.gate, from) : source_row(tensors.up, from - width);
    }
  }
  return rows;
}

std::vector<SourceRow> all_rows(const TensorView& matrix) {
  std::vector<SourceRow> rows;
  for (std::int64_t r = 0; r < matrix.shape[0]; ++r) rows.push_back(source_row(matrix, r));
  return rows;
}

}  // namespace

PackedFormat packed_format(WeightFormat format) {
  switch (format) {
    case WeightFormat::bf16:
      return PackedFormat::bf16;
    case WeightFormat::f16:
      return PackedFormat::f16;
    case WeightFormat::f32:
      return PackedFormat::f32;
    default:
      fail(ErrorKind::internal, "weight format {} cannot be packed", static_cast<int>(format));
  }
}

ExpertBank::ExpertBank(const MoeSpec& spec, const MoeWeights& weights, Executor& executor)
    : has_shared_(spec.layer.num_shared_experts > 0) {
  const PackedFormat format = packed_format(spec.experts.weight_format);
  const std::int64_t hidden = spec.experts.hidden_size;
  const auto tensors = block_tensors(spec, weights);
  const auto width_of = [&](std::size_t block) {
    return has_shared_ && block + 1 == tensors.size() ? local_shared_width(spec)
                                                      : local_width(spec);
  };

  std::size_t bytes = 0;
  for (std::size_t b = 0; b < tensors.size(); ++b) {
    bytes += packed_bytes(format, gate_up_rows_packed(spec.experts, width_of(b)), hidden);
    bytes += packed_bytes(format, hidden, width_of(b));
  }
  matrices_ = AlignedBuffer(bytes);
  std::byte* to = matrices_.data();
  for (std::size_t b = 0; b < tensors.size(); ++b) {
    ExpertBlock block;
    block.width = width_of(b);
    const auto rows = gate_up_sources(spec.experts, tensors[b], block.width);
    block.gate_up = pack_rows(rows, hidden, format, to, executor);
    to += packed_bytes(format, block.gate_up.rows, hidden);
    block.down = pack_rows(all_rows(tensors[b].down), block.width, format, to, executor);
    to += packed_bytes(format, hidden, block.width);
    blocks_.push_back(block);
  }

  // Biases of routed experts, in whole panels as the kernels' outputs are.
  const std::int64_t experts = static_cast<std::int64_t>(weights.down_proj.size());
  const bool has_down_bias = !weights.down_bias.empty() && spec.layer.tp_rank == 0;
  const std::int64_t gate_up_panel_rows =
      panel_count(gate_up_rows_packed(spec.experts, local_width(spec))) * kPanelRows;
  const std::int64_t down_at = weights.gate_up_bias.empty() ? 0 : experts * gate_up_panel_rows;
  biases_.resize(static_cast<std::size_t>(down_at + (has_down_bias ? experts * hidden : 0)));
  for (std::int64_t e = 0; e < experts; ++e) {
    ExpertBlock& block = blocks_[static_cast<std::size_t>(e)];
    if (!weights.gate_up_bias.empty()) {
      float* bias = biases_.data() + e * gate_up_panel_rows;
      block.gate_up_bias = bias;
      for (std::int64_t r = 0; r < gate_up_panel_rows; ++r) {
        const std::int64_t from = checkpoint_row(spec.experts, r, block.width);
        if (from < 0) continue;
        bias[r] = load_float(weights.gate_up_bias.data, weights.gate_up_bias.dtype,
                             e * weights.gate_up_bias.shape[1] + from);
      }
    }
    if (has_down_bias) {
      float* bias = biases_.data() + down_at + e * hidden;
      block.down_bias = bias;
      for (std::int64_t i = 0; i < hidden; ++i) {
        bias[i] = load_float(weights.down_bias.data, weights.down_bias.dtype, e * hidden + i);
      }
    }
  }
}

}  // namespace sluice
