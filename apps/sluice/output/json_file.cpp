#include "output/json_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/fail.hpp"

namespace sluice::cli {
namespace {

bool write_all(int file, const std::string& text) {
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t written = write(file, text.data() + done, text.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    done += static_cast<std::size_t>(written);
  }
  return true;
}

}  // namespace

void write_json(const std::string& path, const nlohmann::ordered_json& json) {
  // Generated text may stop inside a UTF-8 sequence; a result file must not fail for that.
  const std::string text =
      json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  if (path == "-") {
    fmt::print("{}", text);
    return;
  }
  // A device or a pipe is written as it stands: renaming would put a file where /dev/null was.
  std::error_code none;
  const auto status = std::filesystem::status(path, none);
  const bool in_place =
      std::filesystem::exists(status) && !std::filesystem::is_regular_file(status);
  const std::string temporary = in_place ? path : fmt::format("{}.{}.tmp", path, getpid());
  const int file = open(temporary.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0666);
  if (file < 0) fail(ErrorKind::user, "cannot write {}: {}", path, std::strerror(errno));
  const bool written = write_all(file, text) && (in_place || fsync(file) == 0);
  const int error = errno;
  close(file);
  const bool renamed = written && (in_place || std::rename(temporary.c_str(), path.c_str()) == 0);
  if (!renamed) {
    const int reason = written ? errno : error;
    if (!in_place) unlink(temporary.c_str());
    fail(ErrorKind::user, "cannot write {}: {}", path, std::strerror(reason));
  }
}

std::string read_text(const std::string& path) {
  std::error_code ignored;
  // Opening a directory succeeds; reading it throws what names no file.
  if (std::filesystem::is_directory(path, ignored)) {
    fail(ErrorKind::user, "cannot read {}: it is a directory", path);
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) fail(ErrorKind::user, "cannot read {}: {}", path, std::strerror(errno));
  std::string text{std::istreambuf_iterator<char>(file), {}};
  if (file.bad()) fail(ErrorKind::user, "cannot read {}: {}", path, std::strerror(errno));
  return text;
}

}  // namespace sluice::cli
