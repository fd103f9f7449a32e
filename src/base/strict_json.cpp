#include "base/strict_json.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <vector>

#include "base/fail.hpp"
#include "base/shown.hpp"

namespace sluice {

using nlohmann::json;

namespace {

// `line 3, column 7, behind "top_k": `: where reading stopped. `byte` counts from 1.
std::string place(std::string_view text, std::size_t byte) {
  const std::string_view before = text.substr(0, byte > 0 ? byte - 1 : 0);
  const std::size_t last_feed = before.rfind('\n');
  const std::string_view line =
      before.substr(last_feed == std::string_view::npos ? 0 : last_feed + 1);
  constexpr std::size_t kShown = 24;
  std::string_view tail = line.substr(line.size() > kShown ? line.size() - kShown : 0);
  while (!tail.empty() && (static_cast<unsigned char>(tail[0]) & 0xc0) == 0x80) {
    tail.remove_prefix(1);  // to the start of a UTF-8 character
  }
  std::string where = fmt::format(
      "line {}, column {}", 1 + std::count(before.begin(), before.end(), '\n'), line.size() + 1);
  return tail.empty() ? where : where + ", behind " + shown(tail);
}

// Reads the text once without keeping anything, in constant memory but for the keys that are open:
// what is refused never becomes values, which take up to 75 bytes for a byte of text. Not a
// callback of the parser that builds them: behind every object that one looks through all its
// elder siblings.
class Watch final : public json::json_sax_t {
 public:
  Watch(std::string_view text, const std::string& what, ErrorKind kind, bool keys_once)
      : text_(text), what_(what), kind_(kind), keys_once_(keys_once) {}

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(json::number_integer_t) override { return true; }
  bool number_unsigned(json::number_unsigned_t) override { return true; }
  bool number_float(json::number_float_t, const json::string_t&) override { return true; }
  bool string(json::string_t&) override { return true; }
  bool binary(json::binary_t&) override { return true; }

  bool start_object(std::size_t) override {
    if (keys_once_) keys_.emplace_back();
    return open();
  }
  bool key(json::string_t& name) override {
    if (keys_once_ && !keys_.back().insert(name).second) {
      fail(kind_, "{} gives {} twice", what_, shown(name));
    }
    return true;
  }
  bool end_object() override {
    if (keys_once_) keys_.pop_back();
    return close();
  }
  bool start_array(std::size_t) override { return open(); }
  bool end_array() override { return close(); }

  bool parse_error(std::size_t byte, const std::string&, const json::exception& error) override {
    if (dynamic_cast<const json::parse_error*>(&error) == nullptr) {
      fail(kind_, "{} is not usable JSON: it holds a number beyond the range of double", what_);
    }
    fail(kind_, "{} is not JSON: it ends early or goes wrong at {}", what_, place(text_, byte));
  }

 private:
  bool open() {
    if (++depth_ > kDeepestJson) {
      fail(kind_, "{} nests deeper than {} levels", what_, kDeepestJson);
    }
    return true;
  }
  bool close() {
    --depth_;
    return true;
  }

  std::string_view text_;
  const std::string& what_;
  ErrorKind kind_;
  bool keys_once_;
  int depth_ = 0;
  std::vector<std::set<std::string>> keys_;  // of the objects that are open
};

json parse(std::string_view text, const std::string& what, ErrorKind kind, bool keys_once) {
  Watch watch(text, what, kind, keys_once);
  json::sax_parse(text, &watch);
  return json::parse(text);
}

}  // namespace

json parse_json(std::string_view text, const std::string& what, ErrorKind kind) {
  return parse(text, what, kind, false);
}

json parse_json_object(std::string_view text, const std::string& what, ErrorKind kind) {
  json root = parse(text, what, kind, true);
  if (!root.is_object()) fail(kind, "{} holds {}; an object is expected", what, root.type_name());
  return root;
}

std::string shown_value(const json& value) {
  std::string text = value.dump(-1, ' ', true);  // ASCII: it may be cut anywhere
  constexpr std::size_t kLongest = 80;
  return text.size() > kLongest ? text.substr(0, kLongest) + "…" : text;
}

}  // namespace sluice
