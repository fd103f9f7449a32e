// Softmax attention for a tile of query rows, one page of keys at a time, so that no matrix of
// [queries, keys] is ever stored. (The running maximum and sum of Milakov and Gimelshein,
// arXiv:1805.02867, as FlashAttention uses them.)
//
// Pages lie at fixed positions and each row has its own bounds, so a row's bits do not depend on
// the other rows of its tile nor on how a prompt was split into calls.
#pragma once

#include <cstdint>
#include <vector>

#include "model/blocks/page_list.hpp"
#include "model/blocks/primitives.hpp"

namespace sluice {

class SoftmaxTile {
 public:
  // Query row r may see positions [first_seen[r], last_seen[r]].
  void begin(std::int64_t rows, std::int64_t value_dim);
  void set_row(std::int64_t row, std::int64_t first_seen, std::int64_t last_seen);
  std::int64_t rows() const { return rows_; }

  // Where the scores of the next page go: [rows, kPageTokens], already scaled.
  float* scores() { return scores_.data(); }
  // Takes the scores of positions page_start .. page_start + kPageTokens - 1. values
  // [kPageTokens, value_dim] with row stride value_stride; values not visible to any row must be
  // finite.
  void absorb(std::int64_t page_start, const float* values, std::int64_t value_stride);
  // The attention output of a row, [value_dim], valid until begin().
  const float* finish(std::int64_t row);

 private:
  void rescale(std::int64_t row, float factor);

  struct Row {
    std::int64_t first_seen;
    std::int64_t last_seen;
    RunningSoftmax running;
  };
  std::int64_t rows_ = 0;
  std::int64_t value_dim_ = 0;
  std::vector<Row> state_;
  std::vector<float> scores_;   // [rows, kPageTokens]
  std::vector<float> outputs_;  // [rows, value_dim], not yet divided by sum
};

}  // namespace sluice
