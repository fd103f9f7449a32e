// Checkpoints on disk: safetensors files, mapped into memory, and the JSON beside them.
//
// Files are hostile until parsed: every size is checked before it is used, and whatever is wrong is
// one Error(checkpoint) that names the file. The files must not change while they are open: one
// that is cut short then raises SIGBUS in whoever reads what is gone.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <sluice/tensor.hpp>

namespace sluice {

// Bytes done, of how many. Called by loaders from the loading thread; the library never prints.
using Progress = std::function<void(std::size_t done, std::size_t total)>;

struct TensorInfo {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  std::size_t bytes = 0;
  std::string file;  // its file's name inside the directory
};

class Checkpoint {
 public:
  // A directory with model.safetensors, or else with model.safetensors.index.json and its shards;
  // or one .safetensors file. Reads the headers only: tensors are read from disk when they are
  // touched. Error(user) when nothing is there, Error(checkpoint) for anything malformed.
  static Checkpoint open(const std::filesystem::path& path);
  ~Checkpoint();
  Checkpoint(Checkpoint&&) noexcept;
  Checkpoint& operator=(Checkpoint&&) noexcept;

  std::span<const TensorInfo> tensors() const;  // in the order of names
  std::size_t total_bytes() const;              // of all tensors
  bool contains(std::string_view name) const;
  // Views live as long as this object (moves included) and may be unaligned. A tensor without
  // elements has a non-null view.
  std::optional<TensorView> find(std::string_view name) const;
  // Throws Error(checkpoint) with the nearest known name.
  TensorView tensor(std::string_view name) const;
  // `__metadata__` of all files; where files disagree, the first file's value.
  const std::map<std::string, std::string>& metadata() const;

  // The directory given to open, or the one that holds the file.
  const std::filesystem::path& directory() const;
  // The text of config.json; throws Error(checkpoint) when there is none.
  std::string config_text() const;
  std::optional<std::string> generation_config_text() const;

  // A hint for a loader that reads each byte once: gives back the memory of a tensor that is not
  // needed any more. (Touching it again is legal and reads it again.) Views that do not belong to
  // this checkpoint are ignored.
  void release(const TensorView& view) const;

 private:
  struct Impl;
  explicit Checkpoint(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

struct NamedTensor {
  std::string name;
  TensorView view;  // in host memory
};

// Writes one safetensors file beside `path`, syncs it and renames it over `path`: readers see the
// old file or the new one, never half of one. Names must be distinct. Throws Error(user) for a bad
// list, Error(device) when the disk refuses.
void write_safetensors(const std::filesystem::path& path, std::span<const NamedTensor> tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace sluice
