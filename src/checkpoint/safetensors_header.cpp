#include "checkpoint/safetensors_header.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <tuple>

#include "base/checked.hpp"
#include "base/fail.hpp"
#include "base/shown.hpp"

namespace sluice {
namespace {

using nlohmann::json;

constexpr std::size_t kLengthBytes = 8;

struct RawEntry {
  std::string name;
  std::optional<std::string> dtype;
  std::optional<std::vector<std::uint64_t>> shape;
  std::optional<std::vector<std::uint64_t>> offsets;
};

// Takes the header as events, so that neither depth nor length of hostile JSON costs more than its
// bytes, and duplicate keys are seen. The first problem stops the parser.
class HeaderHandler final : public nlohmann::json_sax<json> {
 public:
  std::vector<RawEntry> entries;
  std::map<std::string, std::string> metadata;
  std::string problem;

  bool key(string_t& name) override {
    if (depth_ == 1) {
      if (!names_.insert(name).second) return stop("{} stands in it twice", shown(name));
      in_metadata_ = name == "__metadata__";
      if (!in_metadata_) entries.push_back({name, {}, {}, {}});
    }
    key_ = name;
    return true;
  }

  bool start_object(std::size_t) override {
    ++depth_;
    if (depth_ > 2 || list_ != nullptr) return misplaced("an object");
    return true;
  }
  bool end_object() override {
    --depth_;
    return true;
  }

  bool start_array(std::size_t) override {
    if (depth_ != 2 || in_metadata_ || list_ != nullptr) return misplaced("a list");
    RawEntry& entry = entries.back();
    auto* list = key_ == "shape" ? &entry.shape : key_ == "data_offsets" ? &entry.offsets : nullptr;
    if (list == nullptr) return unknown_key();
    if (list->has_value()) return twice();
    list_ = &list->emplace();
    return true;
  }
  bool end_array() override {
    list_ = nullptr;
    return true;
  }

  bool string(string_t& text) override {
    if (depth_ != 2 || list_ != nullptr) return misplaced("a string");
    if (in_metadata_) {
      return metadata.emplace(key_, text).second ||
             stop("its metadata gives {} twice", shown(key_));
    }
    if (key_ != "dtype") return unknown_key();
    if (entries.back().dtype) return twice();
    entries.back().dtype = text;
    return true;
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (list_ == nullptr) return misplaced("a number");
    // One more than is legal, so that the message can say so; hostile lists end here.
    if (list_->size() > static_cast<std::size_t>(Shape::kMaxRank)) {
      const std::string name = shown(entries.back().name);
      if (key_ == "data_offsets") {
        return stop("tensor {} has more than {} data_offsets; begin and end are needed", name,
                    Shape::kMaxRank);
      }
      return stop("tensor {} has more than {} dimensions; {} is the limit here", name,
                  Shape::kMaxRank, Shape::kMaxRank);
    }
    list_->push_back(value);
    return true;
  }

  bool number_integer(number_integer_t) override { return misplaced("a negative number"); }
  bool number_float(number_float_t, const string_t&) override {
    return misplaced("a number that is not whole or too large");
  }
  bool null() override { return misplaced("null"); }
  bool boolean(bool) override { return misplaced("true or false"); }
  bool binary(binary_t&) override { return misplaced("binary data"); }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    return stop("it is not JSON at byte {}", position);
  }

 private:
  template <typename... Args>
  bool stop(fmt::format_string<Args...> text, Args&&... args) {
    if (problem.empty()) problem = fmt::format(text, std::forward<Args>(args)...);
    return false;
  }
  std::string place() const {
    if (depth_ == 0) return "at its start";
    if (in_metadata_) return fmt::format("in its metadata, at {}", shown(key_));
    if (depth_ == 1) return fmt::format("as {}", shown(key_));
    return fmt::format("in {} of tensor {}", shown(key_), shown(entries.back().name));
  }
  bool misplaced(const char* what) { return stop("{} is not allowed {}", what, place()); }
  bool unknown_key() {
    return stop("tensor {} has a key {}; dtype, shape and data_offsets are the known ones",
                shown(entries.back().name), shown(key_));
  }
  bool twice() { return stop("tensor {} gives {} twice", shown(entries.back().name), shown(key_)); }

  int depth_ = 0;
  bool in_metadata_ = false;
  std::string key_;
  std::vector<std::uint64_t>* list_ = nullptr;
  std::set<std::string> names_;
};

class HeaderReader {
 public:
  HeaderReader(std::span<const std::byte> file, const std::string& file_name)
      : file_(file), file_name_(file_name) {}

  SafetensorsHeader read() {
    find_json();
    HeaderHandler handler;
    const auto* text = reinterpret_cast<const char*>(file_.data()) + kLengthBytes;
    json::sax_parse(text, text + (data_begin_ - kLengthBytes), &handler);
    if (!handler.problem.empty()) bad("{}", handler.problem);
    SafetensorsHeader header;
    header.metadata = std::move(handler.metadata);
    header.entries.reserve(handler.entries.size());
    for (RawEntry& raw : handler.entries) header.entries.push_back(check(raw));
    check_coverage(header.entries);
    return header;
  }

 private:
  template <typename... Args>
  [[noreturn]] void bad(fmt::format_string<Args...> text, Args&&... args) {
    fail(ErrorKind::checkpoint, "{}: bad safetensors header: {}", file_name_,
         fmt::format(text, std::forward<Args>(args)...));
  }

  void find_json() {
    constexpr std::string_view kGitLfs = "version https://git-lfs";
    const std::string_view text(reinterpret_cast<const char*>(file_.data()), file_.size());
    if (text.starts_with(kGitLfs)) {
      bad("the file is a Git LFS pointer; fetch what it points to with `git lfs pull`");
    }
    if (file_.size() < kLengthBytes) {
      bad("the file has {} bytes; its first {} give the header's length", file_.size(),
          kLengthBytes);
    }
    std::uint64_t length = 0;
    for (std::size_t i = kLengthBytes; i-- > 0;) {
      length = length << 8 | std::to_integer<std::uint64_t>(file_[i]);
    }
    if (length > kLongestHeader) {
      bad("it claims {} bytes; the format's limit is {}", length, kLongestHeader);
    }
    if (length > file_.size() - kLengthBytes) {
      bad("it claims {} bytes, but only {} follow in the file; it is incomplete", length,
          file_.size() - kLengthBytes);
    }
    if (length == 0 || file_[kLengthBytes] != std::byte{'{'}) bad("it does not begin with '{{'");
    data_begin_ = kLengthBytes + static_cast<std::size_t>(length);
  }

  HeaderEntry check(RawEntry& raw) {
    const std::string name = shown(raw.name);
    if (!raw.dtype || !raw.shape || !raw.offsets) {
      bad("tensor {} has no {}", name,
          !raw.dtype   ? "dtype"
          : !raw.shape ? "shape"
                       : "data_offsets");
    }
    HeaderEntry entry;
    const auto dtype = parse_dtype(*raw.dtype);
    if (!dtype) bad("tensor {} has the unknown dtype {}", name, shown(*raw.dtype));
    entry.dtype = *dtype;
    entry.shape = check_shape(name, *raw.shape);
    if (raw.offsets->size() != 2) {
      bad("tensor {} has {} data_offsets; begin and end are needed", name, raw.offsets->size());
    }
    const std::uint64_t begin = (*raw.offsets)[0];
    const std::uint64_t end = (*raw.offsets)[1];
    const std::size_t available = file_.size() - data_begin_;
    if (begin > end || end > available) {
      bad("tensor {} claims bytes {} to {}, but the file has {} bytes of tensors; it is incomplete "
          "or damaged",
          name, begin, end, available);
    }
    const auto needed = bytes_of(entry);
    if (!needed || *needed != end - begin) {
      bad("tensor {} claims bytes {} to {}, which is not what {} {} takes", name, begin, end,
          to_string(entry.dtype), to_string(entry.shape));
    }
    entry.begin = data_begin_ + static_cast<std::size_t>(begin);
    entry.end = data_begin_ + static_cast<std::size_t>(end);
    entry.name = std::move(raw.name);
    return entry;
  }

  Shape check_shape(const std::string& name, const std::vector<std::uint64_t>& extents) {
    if (extents.size() > static_cast<std::size_t>(Shape::kMaxRank)) {
      bad("tensor {} has {} dimensions; {} is the limit here", name, extents.size(),
          Shape::kMaxRank);
    }
    Shape shape;
    for (const std::uint64_t extent : extents) {
      const auto narrowed = checked_cast<std::int64_t>(extent);
      if (!narrowed) bad("tensor {} has the extent {}", name, extent);
      shape.append(*narrowed);
    }
    return shape;
  }

  // nullopt when the size overflows or is not a whole number of bytes (F4). An extent of 0 makes
  // any other extents harmless, so it is looked for first.
  static std::optional<std::uint64_t> bytes_of(const HeaderEntry& entry) {
    std::uint64_t total = static_cast<std::uint64_t>(bits(entry.dtype));
    for (int axis = 0; axis < entry.shape.rank(); ++axis) {
      if (entry.shape[axis] == 0) return 0;
    }
    for (int axis = 0; axis < entry.shape.rank(); ++axis) {
      const auto next = checked_mul(total, static_cast<std::uint64_t>(entry.shape[axis]));
      if (!next) return std::nullopt;
      total = *next;
    }
    if (total % 8 != 0) return std::nullopt;
    return total / 8;
  }

  void check_coverage(std::vector<HeaderEntry>& entries) {
    std::sort(entries.begin(), entries.end(), [](const HeaderEntry& a, const HeaderEntry& b) {
      return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
    });
    std::size_t covered = data_begin_;
    for (const HeaderEntry& entry : entries) {
      if (entry.begin != covered) {
        bad("tensor {} begins at byte {} of the file, {} byte {}, where the tensor before it ends",
            shown(entry.name), entry.begin, entry.begin < covered ? "overlapping" : "after",
            covered);
      }
      covered = entry.end;
    }
    if (covered != file_.size()) {
      bad("its tensors end at byte {}, but the file has {}", covered, file_.size());
    }
  }

  std::span<const std::byte> file_;
  const std::string& file_name_;
  std::size_t data_begin_ = 0;
};

}  // namespace

SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file,
                                           const std::string& file_name) {
  return HeaderReader(file, file_name).read();
}

}  // namespace sluice
