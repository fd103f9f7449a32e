#include "checkpoint/mapped_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "base/fail.hpp"

namespace sluice {
namespace {

struct Descriptor {
  int value;
  ~Descriptor() {
    if (value >= 0) close(value);
  }
};

std::uintptr_t page_size() {
  static const auto kSize = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  return kSize;
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) {
  // Non-blocking, so that a FIFO in place of a file is refused below instead of waited for.
  const Descriptor file{open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.value < 0) {
    fail(ErrorKind::user, "{} cannot be opened: {}", path.string(), std::strerror(errno));
  }
  struct stat info {};
  if (fstat(file.value, &info) != 0 || !S_ISREG(info.st_mode)) {
    fail(ErrorKind::user, "{} is not a regular file", path.string());
  }
  size_ = static_cast<std::size_t>(info.st_size);
  if (size_ == 0) return;  // an empty range cannot be mapped
  void* mapped = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.value, 0);
  if (mapped == MAP_FAILED) {
    fail(ErrorKind::device, "{} ({} bytes) cannot be mapped: {}", path.string(), size_,
         std::strerror(errno));
  }
  data_ = static_cast<std::byte*>(mapped);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(data_, size_);
}

void MappedFile::release(const void* data, std::size_t size) const {
  const std::uintptr_t page = page_size();
  const auto begin = (reinterpret_cast<std::uintptr_t>(data) + page - 1) / page * page;
  const auto end = (reinterpret_cast<std::uintptr_t>(data) + size) / page * page;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace sluice
