#include "model/blocks/packed_kv_cache.hpp"

#include <cstring>

namespace sluice {
namespace {

constexpr std::int64_t kPairBytes = 4;                        // two columns of one row
constexpr std::int64_t kStepBytes = kPairBytes * kPanelRows;  // of all rows of a panel

std::int64_t matrix_bytes(std::int64_t rows, std::int64_t cols) {
  return panel_count(rows) * panel_bytes(PackedFormat::bf16, cols);
}

}  // namespace

std::int64_t PackedKvCache::page_bytes(std::int64_t kv_heads, std::int64_t key_dim,
                                       std::int64_t value_dim) {
  return kv_heads * (matrix_bytes(kTokens, key_dim) + matrix_bytes(value_dim, kTokens));
}

PackedKvCache::PackedKvCache(std::int64_t kv_heads, std::int64_t key_dim, std::int64_t value_dim)
    : kv_heads_(kv_heads),
      key_dim_(key_dim),
      value_dim_(value_dim),
      key_bytes_(matrix_bytes(kTokens, key_dim)),
      value_bytes_(matrix_bytes(value_dim, kTokens)),
      pages_(page_bytes(kv_heads, key_dim, value_dim) / static_cast<std::int64_t>(sizeof(float)),
             kTokens) {}

void PackedKvCache::write(std::int64_t position, const std::uint16_t* key,
                          const std::uint16_t* value) {
  auto* page = reinterpret_cast<std::byte*>(pages_.page(position));
  const std::int64_t slot = position % kTokens;
  for (std::int64_t head = 0; head < kv_heads_; ++head) {
    std::byte* to = page + head * key_bytes_ +
                    slot / kPanelRows * panel_bytes(PackedFormat::bf16, key_dim_) +
                    slot % kPanelRows * kPairBytes;
    std::int64_t channel = 0;
    for (; channel + 2 <= key_dim_; channel += 2, to += kStepBytes) {
      std::memcpy(to, key + head * key_dim_ + channel, kPairBytes);
    }
    // The other half of an odd channel's pair stays zero.
    if (channel < key_dim_) std::memcpy(to, key + head * key_dim_ + channel, kPairBytes / 2);
  }
  for (std::int64_t head = 0; head < kv_heads_; ++head) {
    std::byte* to = page + kv_heads_ * key_bytes_ + head * value_bytes_ + slot / 2 * kStepBytes +
                    slot % 2 * (kPairBytes / 2);
    for (std::int64_t channel = 0; channel < value_dim_; ++channel) {
      std::memcpy(to + channel % kPanelRows * kPairBytes, value + head * value_dim_ + channel,
                  sizeof(std::uint16_t));
      if (channel % kPanelRows == kPanelRows - 1) to += panel_bytes(PackedFormat::bf16, kTokens);
    }
  }
}

}  // namespace sluice
