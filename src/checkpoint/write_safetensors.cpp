#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include <sluice/checkpoint.hpp>

#include "base/checked.hpp"
#include "base/fail.hpp"
#include "base/shown.hpp"
#include "base/write_target.hpp"

namespace sluice {
namespace {

namespace fs = std::filesystem;

struct Placed {
  const NamedTensor* tensor;
  std::size_t bytes;
};

std::size_t byte_count(const NamedTensor& tensor) {
  const TensorView& view = tensor.view;
  for (int axis = 0; axis < view.shape.rank(); ++axis) {
    if (view.shape[axis] < 0) {
      fail(ErrorKind::user, "tensor {} has the shape {}", shown(tensor.name),
           to_string(view.shape));
    }
  }
  const std::int64_t elements = view.shape.elements();
  const auto total = checked_mul(elements, std::int64_t{bits(view.dtype)});
  if (!total || *total % 8 != 0) {
    fail(ErrorKind::user, "tensor {}: {} {} is not a whole number of bytes", shown(tensor.name),
         to_string(view.dtype), to_string(view.shape));
  }
  if (elements > 0 && view.empty()) {
    fail(ErrorKind::user, "tensor {} was given without data", shown(tensor.name));
  }
  if (view.device.kind != DeviceKind::cpu) {
    fail(ErrorKind::user, "tensor {} is not in host memory; copy it first", shown(tensor.name));
  }
  return static_cast<std::size_t>(*total / 8);
}

// Wide elements first: the header is padded to 8 bytes, so every tensor is then aligned to its
// elements.
std::vector<Placed> place(std::span<const NamedTensor> tensors) {
  std::vector<Placed> placed;
  std::set<std::string_view> names;
  for (const NamedTensor& tensor : tensors) {
    if (tensor.name == "__metadata__" || !names.insert(tensor.name).second) {
      fail(ErrorKind::user, "the name {} {}", shown(tensor.name),
           tensor.name == "__metadata__" ? "is reserved" : "is given to two tensors");
    }
    placed.push_back({&tensor, byte_count(tensor)});
  }
  std::stable_sort(placed.begin(), placed.end(), [](const Placed& a, const Placed& b) {
    return bits(a.tensor->view.dtype) > bits(b.tensor->view.dtype);
  });
  return placed;
}

std::string header_text(const std::vector<Placed>& placed,
                        const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::size_t begin = 0;
  for (const Placed& entry : placed) {
    std::vector<std::int64_t> shape;
    for (int axis = 0; axis < entry.tensor->view.shape.rank(); ++axis) {
      shape.push_back(entry.tensor->view.shape[axis]);
    }
    header[entry.tensor->name] = {{"dtype", to_string(entry.tensor->view.dtype)},
                                  {"shape", shape},
                                  {"data_offsets", {begin, begin + entry.bytes}}};
    begin += entry.bytes;
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const nlohmann::json::exception& error) {
    fail(ErrorKind::user, "a tensor's name or the metadata is not UTF-8: {}", error.what());
  }
  text.append((8 - text.size() % 8) % 8, ' ');
  return text;
}

// Deleted unless renamed into place.
class TemporaryFile {
 public:
  explicit TemporaryFile(const fs::path& given)
      : given_(given), target_(write_target(given)), path_(target_.path) {
    if (!target_.in_place) path_ += ".part-" + std::to_string(getpid());
    // In place: behind what others have written there.
    const int how = target_.in_place ? O_APPEND : O_CREAT | O_TRUNC;
    descriptor_ = open(path_.c_str(), O_WRONLY | O_CLOEXEC | how, 0666);
    if (descriptor_ < 0) refuse("created");
  }
  ~TemporaryFile() {
    if (descriptor_ >= 0) close(descriptor_);
    if (!target_.in_place && !renamed_) unlink(path_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  void write(const void* data, std::size_t size) {
    const auto* next = static_cast<const char*>(data);
    while (size > 0) {
      const ssize_t written = ::write(descriptor_, next, size);
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) refuse("written");
      next += written;
      size -= static_cast<std::size_t>(written);
    }
  }

  void rename_to_target() {
    if (!target_.in_place && fsync(descriptor_) != 0) refuse("synced");
    if (close(std::exchange(descriptor_, -1)) != 0) refuse("closed");
    if (target_.in_place) return;
    if (rename(path_.c_str(), target_.path.c_str()) != 0) refuse("renamed into place");
    renamed_ = true;
    // The rename itself survives a crash only once the directory is synced.
    const fs::path parent =
        target_.path.has_parent_path() ? target_.path.parent_path() : fs::path(".");
    const int directory = open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0) return;
    fsync(directory);
    close(directory);
  }

 private:
  [[noreturn]] void refuse(const char* what) const {
    const int code = errno;
    fail(ErrorKind::device, "{} cannot be {}: {}", given_.string(), what, std::strerror(code));
  }
  fs::path given_;
  WriteTarget target_;
  fs::path path_;
  int descriptor_ = -1;
  bool renamed_ = false;
};

}  // namespace

void write_safetensors(const fs::path& path, std::span<const NamedTensor> tensors,
                       const std::map<std::string, std::string>& metadata) {
  const auto placed = place(tensors);
  const std::string header = header_text(placed, metadata);
  TemporaryFile file(path);
  std::array<unsigned char, 8> length{};
  for (std::size_t i = 0; i < length.size(); ++i) {
    length[i] = static_cast<unsigned char>(std::uint64_t{header.size()} >> (8 * i));
  }
  file.write(length.data(), length.size());
  file.write(header.data(), header.size());
  for (const Placed& entry : placed) file.write(entry.tensor->view.data, entry.bytes);
  file.rename_to_target();
}

}  // namespace sluice
