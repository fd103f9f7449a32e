// Keys and values of one attention layer of one sequence, rounded to bf16 and packed like weights
// (kernels/packed_matrix.hpp), so that attention's products are those of the linear layers.
//
//   page: keys   kv_heads matrices [kTokens, key_dim]         a panel holds 16 positions
//         values kv_heads matrices [value_dim, kTokens]       a panel holds 16 channels
#pragma once

#include "kernels/packed_matrix.hpp"
#include "model/blocks/page_list.hpp"
#include "model/sequence_state.hpp"

namespace sluice {

class PackedKvCache final : public LayerState {
 public:
  // Positions of a page: softmax weights times values are summed over a page before the sums leave
  // the registers.
  static constexpr std::int64_t kTokens = 256;

  PackedKvCache(std::int64_t kv_heads, std::int64_t key_dim, std::int64_t value_dim);
  static std::int64_t page_bytes(std::int64_t kv_heads, std::int64_t key_dim,
                                 std::int64_t value_dim);

  std::size_t bytes() const override { return pages_.bytes(); }
  std::unique_ptr<LayerState> clone() const override {
    return std::make_unique<PackedKvCache>(*this);
  }

  void extend(std::int64_t count) { pages_.extend(count); }
  void forget_before(std::int64_t position) { pages_.forget_before(position); }
  // key [kv_heads, key_dim], value [kv_heads, value_dim], bf16; safe for distinct positions at a
  // time.
  void write(std::int64_t position, const std::uint16_t* key, const std::uint16_t* value);

  // Of the page that holds `position`.
  PackedView keys(std::int64_t position, std::int64_t head) const {
    return {data(position) + head * key_bytes_, PackedFormat::bf16, kTokens, key_dim_};
  }
  PackedView values(std::int64_t position, std::int64_t head) const {
    return {data(position) + kv_heads_ * key_bytes_ + head * value_bytes_, PackedFormat::bf16,
            value_dim_, kTokens};
  }

 private:
  const std::byte* data(std::int64_t position) const {
    return reinterpret_cast<const std::byte*>(pages_.page(position));
  }

  std::int64_t kv_heads_;
  std::int64_t key_dim_;
  std::int64_t value_dim_;
  std::int64_t key_bytes_;  // of one head in a page
  std::int64_t value_bytes_;
  PageList pages_;
};

}  // namespace sluice
