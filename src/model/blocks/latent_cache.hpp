// What MLA keeps of a position, for all heads together: [latent | pe], nothing else.
//
//   page: [kPageTokens, width], width = kv_lora_rank + qk_rope_head_dim
#pragma once

#include <cstring>

#include "model/blocks/page_list.hpp"
#include "model/sequence_state.hpp"

namespace sluice {

class LatentCache final : public LayerState {
 public:
  explicit LatentCache(std::int64_t width) : width_(width), pages_(kPageTokens * width) {}
  std::size_t bytes() const override { return pages_.bytes(); }
  std::unique_ptr<LayerState> clone() const override {
    return std::make_unique<LatentCache>(*this);
  }

  void extend(std::int64_t count) { pages_.extend(count); }
  float* row(std::int64_t position) {
    return pages_.page(position) + position % kPageTokens * width_;
  }
  // The page that holds `position`.
  const float* page(std::int64_t position) const { return pages_.page(position); }
  std::int64_t width() const { return width_; }

 private:
  std::int64_t width_;
  PageList pages_;
};

}  // namespace sluice
