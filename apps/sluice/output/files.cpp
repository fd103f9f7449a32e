#include "output/files.hpp"

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
#include "base/write_target.hpp"

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

std::string temporary_beside(const std::string& path) {
  return fmt::format("{}.{}.tmp", path, getpid());
}

int create(const std::string& path) {
  return open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0666);
}

// Behind what others have written there.
int open_in_place(const std::string& path) {
  return open(path.c_str(), O_APPEND | O_WRONLY | O_CLOEXEC);
}

[[noreturn]] void cannot_write(const std::string& path, int reason) {
  fail(ErrorKind::user, "cannot write {}: {}", path, std::strerror(reason));
}

// 0, or why no file can be made beside `path`.
int try_beside(const std::string& path) {
  const std::string temporary = temporary_beside(path);
  const int file = create(temporary);
  if (file < 0) return errno;
  close(file);
  unlink(temporary.c_str());
  return 0;
}

// Empty if there is no reason.
std::string cannot_write_because(const std::string& path, int reason) {
  return reason == 0 ? "" : fmt::format("cannot write {}: {}", path, std::strerror(reason));
}

}  // namespace

std::string why_unwritable(const std::string& path) {
  if (path.empty() || path == "-") return "";
  if (is_standard_output(path)) {
    return fmt::format("cannot write {}: it is standard output, which is given as -", path);
  }
  const auto because = [&](int reason) { return cannot_write_because(path, reason); };
  std::error_code none;
  if (std::filesystem::is_directory(path, none)) return because(EISDIR);
  // Renaming would replace a read-only file too; somebody meant it to stay.
  const bool exists = std::filesystem::exists(path, none);
  if (exists && access(path.c_str(), W_OK) != 0) return because(errno);
  const WriteTarget target = write_target(path);
  return target.in_place ? "" : because(try_beside(target.path.string()));
}

std::string why_unwritable_directory(const std::string& path) {
  std::error_code none;
  std::filesystem::path existing = std::filesystem::absolute(path, none);
  while (!std::filesystem::exists(existing, none) && existing.has_relative_path()) {
    existing = existing.parent_path();
  }
  // The message names what was given, not what was tried for it.
  return path.empty() ? "" : cannot_write_because(path, try_beside((existing / "sluice").string()));
}

void write_text(const std::string& path, const std::string& text) {
  if (path == "-") {
    fmt::print("{}", text);
    return;
  }
  const auto [resolved, in_place] = write_target(path);
  const std::string target = resolved.string();
  const std::string temporary = in_place ? target : temporary_beside(target);
  const int file = in_place ? open_in_place(target) : create(temporary);
  if (file < 0) cannot_write(path, errno);
  const bool written = write_all(file, text) && (in_place || fsync(file) == 0);
  const int error = errno;
  close(file);
  const bool renamed = written && (in_place || std::rename(temporary.c_str(), target.c_str()) == 0);
  if (!renamed) {
    const int reason = written ? errno : error;
    if (!in_place) unlink(temporary.c_str());
    cannot_write(path, reason);
  }
}

void write_json(const std::string& path, const nlohmann::ordered_json& json) {
  // Generated text may stop inside a UTF-8 sequence; a result file must not fail for that.
  write_text(path,
             json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
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
