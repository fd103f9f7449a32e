#include "base/aligned_buffer.hpp"

#include <sys/mman.h>

#include <cstdlib>

#include "base/checked.hpp"
#include "base/fail.hpp"

namespace sluice {
namespace {

constexpr std::size_t kCacheLines = 256;  // adjacent-line prefetch works on pairs
constexpr std::size_t kHugePage = std::size_t{2} << 20;

}  // namespace

AlignedBuffer::AlignedBuffer(std::size_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  const std::size_t alignment = bytes >= kHugePage ? kHugePage : kCacheLines;
  const auto padded = checked_add(bytes, alignment - 1);
  void* memory = padded ? std::aligned_alloc(alignment, *padded / alignment * alignment) : nullptr;
  if (memory == nullptr) fail(ErrorKind::device, "cannot allocate {} bytes of memory", bytes);
  // Advice only: without huge pages the buffer is slower, not wrong.
  if (alignment == kHugePage) madvise(memory, bytes, MADV_HUGEPAGE);
  data_.reset(static_cast<std::byte*>(memory));
}

void AlignedBuffer::Free::operator()(std::byte* memory) const { std::free(memory); }

}  // namespace sluice
