#include "checkpoint/read_text.hpp"

#include <fstream>

#include "base/fail.hpp"

namespace sluice {

std::string read_text(const std::filesystem::path& path, std::size_t longest) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  if (error) {
    fail(ErrorKind::checkpoint, "{} cannot be read: {}", path.string(), error.message());
  }
  if (size > longest) {
    fail(ErrorKind::checkpoint, "{} has {} bytes; {} is the limit", path.string(), size, longest);
  }
  std::string text(size, '\0');
  std::ifstream file(path, std::ios::binary);
  file.read(text.data(), static_cast<std::streamsize>(size));
  if (!file) fail(ErrorKind::checkpoint, "{} cannot be read", path.string());
  return text;
}

}  // namespace sluice
