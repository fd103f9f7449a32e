// The embedding table, kept in the checkpoint's dtype: a row is widened when it is looked up.
#pragma once

#include <sluice/tensor.hpp>

#include "base/aligned_buffer.hpp"
#include "model/batch.hpp"
#include "model/blocks/compute.hpp"
#include "model/blocks/matrix.hpp"

namespace sluice {

class Embedding {
 public:
  Embedding() = default;
  explicit Embedding(const TensorView& table);  // [vocab, hidden] f32|bf16|f16
  // x [batch rows, hidden], each element times `factor`.
  void operator()(Compute& compute, const Batch& batch, float factor, Matrix& x) const;
  std::size_t bytes() const { return table_.size(); }

 private:
  AlignedBuffer table_;
  DType dtype_ = DType::f32;
  std::int64_t hidden_ = 0;
};

}  // namespace sluice
