#include "model/blocks/kv_cache.hpp"

#include <cstring>

namespace sluice {

void KvCache::write(std::int64_t position, const float* key, const float* value) {
  float* page = pages_.page(position);
  const std::int64_t slot = position % kPageTokens;
  for (std::int64_t i = 0; i < kv_heads_ * key_dim_; ++i) page[i * kPageTokens + slot] = key[i];
  float* values = page + kv_heads_ * key_dim_ * kPageTokens;
  for (std::int64_t head = 0; head < kv_heads_; ++head) {
    std::memcpy(values + (head * kPageTokens + slot) * value_dim_, value + head * value_dim_,
                static_cast<std::size_t>(value_dim_) * sizeof(float));
  }
}

}  // namespace sluice
