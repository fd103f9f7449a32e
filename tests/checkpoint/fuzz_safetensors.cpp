// Any bytes: either one Error(checkpoint), or entries that lie inside the file and cover it.
#include <cstdint>
#include <cstdlib>

#include <sluice/error.hpp>

#include "checkpoint/safetensors_header.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::byte> file(reinterpret_cast<const std::byte*>(data), size);
  try {
    const auto header = sluice::parse_safetensors_header(file, "fuzz");
    std::size_t covered = header.entries.empty() ? size : header.entries.front().begin;
    for (const auto& entry : header.entries) {
      if (entry.begin != covered || entry.end > size) std::abort();
      covered = entry.end;
    }
    if (covered != size) std::abort();
  } catch (const sluice::Error& error) {
    if (error.kind() != sluice::ErrorKind::checkpoint) std::abort();
  }
  return 0;
}
