#include "model/blocks/embedding.hpp"

#include <cstring>

#include "base/element.hpp"
#include "model/blocks/parallel.hpp"

namespace sluice {

Embedding::Embedding(const TensorView& table)
    : table_(static_cast<std::size_t>(table.shape.elements() * bits(table.dtype) / 8)),
      dtype_(table.dtype),
      hidden_(table.shape[1]) {
  std::memcpy(table_.data(), table.data, table_.size());
}

void Embedding::operator()(Compute& compute, const Batch& batch, float factor, Matrix& x) const {
  x.resize(batch.rows(), hidden_);
  parallel_rows(*compute.executor, batch.rows(), row_grain(hidden_),
                [&](std::int64_t first, std::int64_t last) {
                  for (std::int64_t row = first; row < last; ++row) {
                    const std::int64_t id = batch.ids()[static_cast<std::size_t>(row)];
                    for (std::int64_t i = 0; i < hidden_; ++i) {
                      x.row(row)[i] = factor * load_float(table_.data(), dtype_, id * hidden_ + i);
                    }
                  }
                });
}

}  // namespace sluice
