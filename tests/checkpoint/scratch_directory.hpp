// A directory for one test, and files in it made byte by byte.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

namespace sluice {

class ScratchDirectory {
 public:
  ScratchDirectory() {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    path_ = std::filesystem::temp_directory_path() /
            (std::string("sluice-") + test->test_suite_name() + "-" + test->name() + "-" +
             std::to_string(getpid()));
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~ScratchDirectory() { std::filesystem::remove_all(path_); }
  const std::filesystem::path& path() const { return path_; }

  std::filesystem::path write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path_ / name, std::ios::binary) << bytes;
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

// A safetensors file with any header text and any claim of its length.
inline std::string safetensors_bytes(const std::string& header, const std::string& data,
                                     std::uint64_t claimed_length) {
  std::string file;
  for (int i = 0; i < 8; ++i) file += static_cast<char>(claimed_length >> (8 * i));
  return file + header + data;
}

inline std::string safetensors_bytes(const std::string& header, const std::string& data = {}) {
  return safetensors_bytes(header, data, header.size());
}

}  // namespace sluice
