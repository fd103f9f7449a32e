// A ragged batch: the new ids of several sequences, one after another, one row each.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <sluice/model.hpp>

#include "model/sequence_state.hpp"

namespace sluice {

struct BatchEntry {
  SequenceState* sequence;
  std::int64_t first_row;
  std::int64_t rows;      // >= 1
  std::int64_t position;  // of the first row in its sequence
};

class Batch {
 public:
  // Checks everything before anything changes: see Model::forward.
  Batch(const Model& model, std::span<const SequenceInput> inputs);

  std::span<const BatchEntry> entries() const { return entries_; }
  std::span<const std::int32_t> ids() const { return ids_; }
  std::int64_t rows() const { return static_cast<std::int64_t>(ids_.size()); }
  std::int64_t position(std::int64_t row) const {
    return positions_[static_cast<std::size_t>(row)];
  }
  // Rows whose logits are wanted, ascending.
  std::span<const std::int64_t> wanted_rows() const { return wanted_; }
  // The sequences have seen their new ids.
  void commit() const;

 private:
  std::vector<BatchEntry> entries_;  // without the inputs that have no ids
  std::vector<std::int32_t> ids_;
  std::vector<std::int64_t> positions_;
  std::vector<std::int64_t> wanted_;
};

}  // namespace sluice
