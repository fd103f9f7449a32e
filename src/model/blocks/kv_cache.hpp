// Keys and values of one attention layer of one sequence.
//
//   page: keys   [kv_heads, key_dim, kPageTokens]    transposed: a score's sum runs over key_dim,
//                                                    a vector over positions
//         values [kv_heads, kPageTokens, value_dim]
#pragma once

#include "model/blocks/page_list.hpp"
#include "model/sequence_state.hpp"

namespace sluice {

class KvCache final : public LayerState {
 public:
  KvCache(std::int64_t kv_heads, std::int64_t key_dim, std::int64_t value_dim)
      : kv_heads_(kv_heads),
        key_dim_(key_dim),
        value_dim_(value_dim),
        pages_(kv_heads * kPageTokens * (key_dim + value_dim)) {}

  std::size_t bytes() const override { return pages_.bytes(); }
  std::unique_ptr<LayerState> clone() const override { return std::make_unique<KvCache>(*this); }

  void extend(std::int64_t count) { pages_.extend(count); }
  void forget_before(std::int64_t position) { pages_.forget_before(position); }
  // key [kv_heads, key_dim], value [kv_heads, value_dim]; safe for distinct positions at a time.
  void write(std::int64_t position, const float* key, const float* value);

  // Of the page that holds `position`.
  const float* keys(std::int64_t position, std::int64_t head) const {
    return pages_.page(position) + head * key_dim_ * kPageTokens;
  }
  const float* values(std::int64_t position, std::int64_t head) const {
    return pages_.page(position) + (kv_heads_ * key_dim_ + head * value_dim_) * kPageTokens;
  }

 private:
  std::int64_t kv_heads_;
  std::int64_t key_dim_;
  std::int64_t value_dim_;
  PageList pages_;
};

}  // namespace sluice
