// A whole file, mapped read-only.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <utility>

namespace sluice {

class MappedFile {
 public:
  // Throws Error(user) when the file cannot be opened or is not a regular file.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  MappedFile& operator=(MappedFile&&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  bool holds(const void* address, std::size_t size) const {
    const auto* byte = static_cast<const std::byte*>(address);
    return data_ != nullptr && byte >= data_ && byte <= data_ + size_ &&
           size <= static_cast<std::size_t>(data_ + size_ - byte);
  }
  // A hint; failure is of no consequence. [data, data + size) must lie in the file. Only whole
  // pages inside the range are given back: neighbours share the others.
  void release(const void* data, std::size_t size) const;

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace sluice
