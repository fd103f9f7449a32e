#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include <sluice/fields.hpp>
#include "audit/rate_test.hpp"
#include "base/fail.hpp"
#include "base/nearest_name.hpp"
#include "base/strict_json.hpp"

namespace sluice::auditing {
namespace {

using Json = nlohmann::json;

[[noreturn]] void wrong(const std::string& what) {
  fail(ErrorKind::user, "the test's description: {}", what);
}

// Unknown keys are errors: a misspelt tolerance would rate another test.
void only_keys(const Json& json, std::string_view where,
               const std::vector<std::string_view>& known) {
  if (!json.is_object()) wrong(fmt::format("{} must be an object", where));
  for (const auto& [key, value] : json.items()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    wrong(fmt::format("{} has no key \"{}\"{}", where, key, did_you_mean(key, known)));
  }
}

[[noreturn]] void wrong_value(std::string_view key, const Json& got, std::string_view wanted) {
  wrong(fmt::format("\"{}\" is {}; give {}", key, shown_value(got), wanted));
}

// What a tolerance or a deviation may be: outside, the test would rate nothing.
struct Range {
  double least;
  double most;
  const char* text;
};

constexpr Range kTolerance{0.0, std::numeric_limits<double>::max(), "a number, 0 or more"};
constexpr Range kShare{0.0, 1.0, "a number from 0 to 1"};
constexpr Range kCosine{-1.0, 1.0, "a number from -1 to 1"};
// Far beyond any layer, and a draw of many deviations is still an fp32 number.
constexpr Range kDeviation{0.0, 1e30, "a number from 0 to 1e30"};

// Members of one object, by keys that messages spell whole: "comparator.atol".
class Members {
 public:
  Members(const Json& json, std::string_view prefix) : json_(json), prefix_(prefix) {}

  double number(const char* key, double otherwise, const Range& range) const {
    const auto found = json_.find(key);
    if (found == json_.end()) return otherwise;
    const double value = found->is_number() ? found->get<double>() : range.least - 1.0;
    if (value >= range.least && value <= range.most) return value;
    wrong_value(prefix_ + key, *found, range.text);
  }

  std::string text(const char* key, const std::string& otherwise) const {
    const auto found = json_.find(key);
    if (found == json_.end()) return otherwise;
    if (!found->is_string()) wrong_value(prefix_ + key, *found, "a text");
    return found->get<std::string>();
  }

 private:
  const Json& json_;
  std::string prefix_;
};

Comparator read_comparator(const Json& json) {
  only_keys(json, "comparator",
            {"kind", "atol", "rtol", "fraction", "least", "most", "relative_to"});
  const Members members(json, "comparator.");
  const std::string kind = members.text("kind", "");
  Comparator comparator;
  if (kind == "allclose") {
    comparator.kind = ComparatorKind::allclose;
  } else if (kind == "cosine") {
    comparator.kind = ComparatorKind::cosine;
  } else if (kind == "max_error") {
    comparator.kind = ComparatorKind::max_error;
  } else if (kind == "bound") {
    comparator.kind = ComparatorKind::bound;
  } else {
    wrong(fmt::format("comparator.kind is \"{}\"; there are allclose, cosine, max_error, bound",
                      kind));
  }
  comparator.atol = members.number("atol", 0.0, kTolerance);
  comparator.rtol = members.number("rtol", 0.0, kTolerance);
  const std::string relative_to = members.text("relative_to", "expected");
  if (relative_to != "expected" && relative_to != "got") {
    wrong(fmt::format("comparator.relative_to is \"{}\"; there are expected and got", relative_to));
  }
  comparator.relative_to_got = relative_to == "got";
  comparator.fraction = members.number("fraction", 1.0, kShare);
  comparator.least = members.number("least", 1.0, kCosine);
  comparator.most = members.number("most", 0.0, kTolerance);
  return comparator;
}

InputScales read_scales(const Json& json) {
  only_keys(json, "scales", {"hidden", "gate_up", "down", "logits", "bias"});
  const Members members(json, "scales.");
  const auto deviation = [&](const char* key) { return members.number(key, 1.0, kDeviation); };
  return {deviation("hidden"), deviation("gate_up"), deviation("down"), deviation("logits"),
          deviation("bias")};
}

std::vector<std::int64_t> read_tokens(const Json& json) {
  constexpr std::int64_t kMost = 100000;
  const std::string wanted = fmt::format("whole numbers from 1 to {}, one for each call", kMost);
  if (!json.is_array() || json.empty()) wrong_value("tokens", json, wanted);
  std::vector<std::int64_t> all;
  for (const Json& entry : json) {
    const bool whole = entry.is_number_integer();
    // As double: an unsigned number beyond 2^63 must not come out negative, or small.
    const double value = whole ? entry.get<double>() : 0.0;
    if (value < 1.0 || value > static_cast<double>(kMost)) wrong_value("tokens", entry, wanted);
    all.push_back(entry.get<std::int64_t>());
  }
  return all;
}

void omit_fields(const Json& names, MoeSpec& baseline) {
  constexpr std::string_view kWanted = "a list of fields' names";
  if (!names.is_array()) wrong_value("baseline_omits", names, kWanted);
  for (const Json& name : names) {
    if (!name.is_string()) wrong_value("baseline_omits", name, kWanted);
    field(find_field(name.get<std::string>())).reset(baseline);
  }
}

}  // namespace

TestDescription parse_test(const std::string& text) {
  const Json json = parse_json_object(text, "the test's description", ErrorKind::user);
  only_keys(json, "the description",
            {"name", "source", "spec", "baseline", "baseline_omits", "tokens", "scales",
             "comparator", "seed"});
  for (const char* key : {"name", "spec", "tokens", "comparator"}) {
    if (!json.contains(key)) wrong(fmt::format("\"{}\" is missing", key));
  }
  const Members members(json, "");
  TestDescription test;
  test.name = members.text("name", "");
  test.source = members.text("source", "");
  test.spec = parse_spec(json["spec"].dump());
  // A baseline is the same layer without what it omits, or another spec altogether.
  test.baseline = json.contains("baseline") ? parse_spec(json["baseline"].dump()) : test.spec;
  if (json.contains("baseline_omits")) omit_fields(json["baseline_omits"], test.baseline);
  test.tokens = read_tokens(json["tokens"]);
  if (json.contains("scales")) test.scales = read_scales(json["scales"]);
  test.comparator = read_comparator(json["comparator"]);
  if (json.contains("seed")) {
    if (!json["seed"].is_number_unsigned()) {
      wrong_value("seed", json["seed"], "a whole number, 0 or more");
    }
    test.seed = json["seed"].get<std::uint64_t>();
  }
  return test;
}

}  // namespace sluice::auditing
