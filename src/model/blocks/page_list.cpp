#include "model/blocks/page_list.hpp"

#include <cstring>

namespace sluice {

void PageList::extend(std::int64_t count) {
  const std::size_t bytes = static_cast<std::size_t>(floats_per_page_) * sizeof(float);
  if (count > 0 && length_ % page_tokens_ != 0 && pages_.back().use_count() > 1) {
    auto copy = std::make_shared<AlignedBuffer>(bytes);
    std::memcpy(copy->data(), pages_.back()->data(), bytes);
    pages_.back() = std::move(copy);
  }
  length_ += count;
  const std::int64_t end_page = (length_ + page_tokens_ - 1) / page_tokens_;
  while (first_page_ + static_cast<std::int64_t>(pages_.size()) < end_page) {
    auto page = std::make_shared<AlignedBuffer>(bytes);
    // Products run over whole pages: what is not written yet must not be NaN.
    std::memset(page->data(), 0, bytes);
    pages_.push_back(std::move(page));
  }
}

void PageList::forget_before(std::int64_t position) {
  // The page being filled stays: extend() continues it.
  const std::int64_t keep = std::min(position, length_) / page_tokens_;
  while (!pages_.empty() && first_page_ < keep) {
    pages_.pop_front();
    ++first_page_;
  }
}

}  // namespace sluice
