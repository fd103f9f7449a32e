#include <algorithm>
#include <set>
#include <vector>

#include <sluice/checkpoint.hpp>

#include "base/absent.hpp"
#include "base/fail.hpp"
#include "base/nearest_name.hpp"
#include "base/problems.hpp"
#include "base/shown.hpp"
#include "checkpoint/mapped_file.hpp"
#include "checkpoint/read_text.hpp"
#include "checkpoint/safetensors_header.hpp"
#include "checkpoint/shard_index.hpp"

namespace sluice {

namespace fs = std::filesystem;

namespace {

std::size_t byte_count(const TensorView& view) {
  return static_cast<std::size_t>(view.shape.elements()) *
         static_cast<std::size_t>(bits(view.dtype)) / 8;
}

}  // namespace

struct Checkpoint::Impl {
  fs::path directory;
  std::vector<MappedFile> files;
  std::vector<TensorInfo> infos;  // in the order of names
  std::vector<const void*> data;  // of the tensor at the same place
  std::map<std::string, std::string> metadata;
  std::size_t total_bytes = 0;

  // Index into infos, or infos.size().
  std::size_t place(std::string_view name) const {
    const auto found = std::lower_bound(
        infos.begin(), infos.end(), name,
        [](const TensorInfo& info, std::string_view wanted) { return info.name < wanted; });
    if (found == infos.end() || found->name != name) return infos.size();
    return static_cast<std::size_t>(found - infos.begin());
  }

  TensorView view(std::size_t index) const {
    return {data[index], infos[index].dtype, infos[index].shape, {}};
  }

  const MappedFile* file_of(const TensorView& view) const {
    for (const MappedFile& file : files) {
      if (view.device.kind == DeviceKind::cpu && file.holds(view.data, byte_count(view)))
        return &file;
    }
    return nullptr;
  }
};

namespace {

struct Located {
  TensorInfo info;
  const void* data = nullptr;
};

// Maps one file and appends its tensors.
void add_file(const fs::path& path, std::vector<MappedFile>& files, std::vector<Located>& tensors,
              std::map<std::string, std::string>& metadata) {
  const std::string name = path.filename().string();
  files.emplace_back(path);
  const auto bytes = files.back().bytes();
  SafetensorsHeader header = parse_safetensors_header(bytes, path.string());
  metadata.merge(header.metadata);
  for (HeaderEntry& entry : header.entries) {
    Located tensor;
    tensor.data = bytes.data() + entry.begin;
    tensor.info = {std::move(entry.name), entry.dtype, entry.shape, entry.end - entry.begin, name};
    tensors.push_back(std::move(tensor));
  }
}

// The index and the shards must tell the same story: each tensor in the file the index says, and
// no other.
void check_index(const std::map<std::string, std::string>& index,
                 const std::vector<Located>& tensors, const std::set<std::string>& broken,
                 Problems& problems) {
  std::map<std::string_view, std::string_view> held;
  for (const Located& tensor : tensors) {
    const auto [place, first] = held.emplace(tensor.info.name, tensor.info.file);
    if (!first) {
      problems.add("{} is in {} and in {}", shown(tensor.info.name), shown(place->second),
                   shown(tensor.info.file));
    }
    const auto listed = index.find(tensor.info.name);
    if (listed == index.end()) {
      problems.add("{} is in {}, but not in {}", shown(tensor.info.name), shown(tensor.info.file),
                   kIndexName);
    }
  }
  for (const auto& [name, file] : index) {
    const auto found = held.find(name);
    if (found == held.end() && broken.contains(file)) continue;  // the shard has its own line
    if (found == held.end()) {
      problems.add("{} is not in {}, where {} says it is", shown(name), shown(file), kIndexName);
    } else if (found->second != file) {
      problems.add("{} is in {}, but {} says {}", shown(name), shown(found->second), kIndexName,
                   shown(file));
    }
  }
}

void add_shards(const fs::path& directory, std::vector<MappedFile>& files,
                std::vector<Located>& tensors, std::map<std::string, std::string>& metadata) {
  const auto index = parse_shard_index(read_text(directory / kIndexName, kLongestIndex));
  std::set<std::string> names;
  for (const auto& [tensor, file] : index) names.insert(file);
  Problems problems;
  std::set<std::string> broken;
  for (const std::string& name : names) {
    std::error_code error;
    if (!fs::is_regular_file(directory / name, error)) {
      problems.add("the shard {} is missing", shown(name));
      broken.insert(name);
      continue;
    }
    try {
      add_file(directory / name, files, tensors, metadata);
    } catch (const Error& error) {
      problems.add("{}", error.what());
      broken.insert(name);
    }
  }
  check_index(index, tensors, broken, problems);
  problems.raise(ErrorKind::checkpoint, fmt::format("{} and its shards do not fit together",
                                                    (directory / kIndexName).string()));
}

}  // namespace

Checkpoint Checkpoint::open(const fs::path& path) {
  auto impl = std::make_unique<Impl>();
  std::vector<Located> tensors;
  std::error_code error;
  if (fs::is_directory(path, error)) {
    impl->directory = path;
    if (!is_absent(path / "model.safetensors")) {
      add_file(path / "model.safetensors", impl->files, tensors, impl->metadata);
    } else if (!is_absent(path / kIndexName)) {
      add_shards(path, impl->files, tensors, impl->metadata);
    } else {
      fail(ErrorKind::user, "{} has neither model.safetensors nor {}", path.string(), kIndexName);
    }
  } else {
    impl->directory = path.has_parent_path() ? path.parent_path() : fs::path(".");
    add_file(path, impl->files, tensors, impl->metadata);
  }
  std::sort(tensors.begin(), tensors.end(),
            [](const Located& a, const Located& b) { return a.info.name < b.info.name; });
  for (Located& tensor : tensors) {
    impl->total_bytes += tensor.info.bytes;
    impl->data.push_back(tensor.data);
    impl->infos.push_back(std::move(tensor.info));
  }
  return Checkpoint(std::move(impl));
}

Checkpoint::Checkpoint(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Checkpoint::~Checkpoint() = default;
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;
Checkpoint& Checkpoint::operator=(Checkpoint&&) noexcept = default;

std::span<const TensorInfo> Checkpoint::tensors() const { return impl_->infos; }
std::size_t Checkpoint::total_bytes() const { return impl_->total_bytes; }
const std::map<std::string, std::string>& Checkpoint::metadata() const { return impl_->metadata; }
const fs::path& Checkpoint::directory() const { return impl_->directory; }

bool Checkpoint::contains(std::string_view name) const {
  return impl_->place(name) < impl_->infos.size();
}

std::optional<TensorView> Checkpoint::find(std::string_view name) const {
  const std::size_t index = impl_->place(name);
  if (index == impl_->infos.size()) return std::nullopt;
  return impl_->view(index);
}

TensorView Checkpoint::tensor(std::string_view name) const {
  if (const auto view = find(name)) return *view;
  std::vector<std::string_view> known;
  for (const TensorInfo& info : impl_->infos) known.push_back(info.name);
  fail(ErrorKind::checkpoint, "{} has no tensor {}{}", impl_->directory.string(), shown(name),
       did_you_mean(name, known));
}

std::string Checkpoint::config_text() const {
  return read_text(impl_->directory / "config.json", kLongestConfig);
}

std::optional<std::string> Checkpoint::generation_config_text() const {
  const fs::path path = impl_->directory / "generation_config.json";
  if (is_absent(path)) return std::nullopt;
  return read_text(path, kLongestConfig);
}

void Checkpoint::release(const TensorView& view) const {
  if (const MappedFile* file = impl_->file_of(view)) file->release(view.data, byte_count(view));
}

}  // namespace sluice
