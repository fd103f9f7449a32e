// Positions of a sequence in pages of one length, the first page at a multiple of it. Growing
// never moves what is there; forgetting the past drops whole pages; a fork shares pages until one
// side writes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>

#include "base/aligned_buffer.hpp"

namespace sluice {

// Of caches in fp32: long enough for full vectors, short enough that a window of a few thousand
// wastes little.
inline constexpr std::int64_t kPageTokens = 64;

class PageList {
 public:
  explicit PageList(std::int64_t floats_per_page, std::int64_t page_tokens = kPageTokens)
      : floats_per_page_(floats_per_page), page_tokens_(page_tokens) {}

  // Makes the pages of positions [length, length + count) writable.
  void extend(std::int64_t count);
  // Drops pages that hold only positions below `position`.
  void forget_before(std::int64_t position);

  std::int64_t length() const { return length_; }  // positions ever appended
  std::int64_t first_position() const { return first_page_ * page_tokens_; }  // still held
  // The page that holds `position`.
  const float* page(std::int64_t position) const { return at(position).as<float>(); }
  float* page(std::int64_t position) { return at(position).as<float>(); }
  std::size_t bytes() const {
    return pages_.size() * static_cast<std::size_t>(floats_per_page_) * sizeof(float);
  }

 private:
  const AlignedBuffer& at(std::int64_t position) const {
    return *pages_[static_cast<std::size_t>(position / page_tokens_ - first_page_)];
  }
  AlignedBuffer& at(std::int64_t position) {
    return *pages_[static_cast<std::size_t>(position / page_tokens_ - first_page_)];
  }

  std::int64_t floats_per_page_;
  std::int64_t page_tokens_;
  std::int64_t length_ = 0;
  std::int64_t first_page_ = 0;
  std::deque<std::shared_ptr<AlignedBuffer>> pages_;
};

// Calls piece(first, last) for the parts of [first, last) that lie in one page each.
template <typename Piece>
void for_each_page(std::int64_t first, std::int64_t last, const Piece& piece,
                   std::int64_t page_tokens = kPageTokens) {
  while (first < last) {
    const std::int64_t end = std::min(last, (first / page_tokens + 1) * page_tokens);
    piece(first, end);
    first = end;
  }
}

}  // namespace sluice
