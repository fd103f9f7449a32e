#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include <sluice/fields.hpp>
#include "audit/rate_test.hpp"
#include "base/fail.hpp"
#include "base/nearest_name.hpp"

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

double number(const Json& json, const char* key, double otherwise) {
  if (!json.contains(key)) return otherwise;
  if (!json[key].is_number()) wrong(fmt::format("\"{}\" must be a number", key));
  return json[key].get<double>();
}

Comparator read_comparator(const Json& json) {
  only_keys(json, "comparator",
            {"kind", "atol", "rtol", "fraction", "least", "most", "relative_to"});
  const std::string kind = json.value("kind", "");
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
  comparator.atol = number(json, "atol", 0.0);
  comparator.rtol = number(json, "rtol", 0.0);
  const std::string relative_to = json.value("relative_to", "expected");
  if (relative_to != "expected" && relative_to != "got") {
    wrong(fmt::format("comparator.relative_to is \"{}\"; there are expected and got", relative_to));
  }
  comparator.relative_to_got = relative_to == "got";
  comparator.fraction = number(json, "fraction", 1.0);
  comparator.least = number(json, "least", 1.0);
  comparator.most = number(json, "most", 0.0);
  return comparator;
}

InputScales read_scales(const Json& json) {
  only_keys(json, "scales", {"hidden", "gate_up", "down", "logits", "bias"});
  return {number(json, "hidden", 1.0), number(json, "gate_up", 1.0), number(json, "down", 1.0),
          number(json, "logits", 1.0), number(json, "bias", 1.0)};
}

}  // namespace

TestDescription parse_test(const std::string& text) {
  try {
    const Json json = Json::parse(text);
    only_keys(json, "the description",
              {"name", "source", "spec", "baseline", "baseline_omits", "tokens", "scales",
               "comparator", "seed"});
    for (const char* key : {"name", "spec", "tokens", "comparator"}) {
      if (!json.contains(key)) wrong(fmt::format("\"{}\" is missing", key));
    }
    TestDescription test;
    test.name = json["name"].get<std::string>();
    test.source = json.value("source", "");
    test.spec = parse_spec(json["spec"].dump());
    // A baseline is the same layer without what it omits, or another spec altogether.
    test.baseline = json.contains("baseline") ? parse_spec(json["baseline"].dump()) : test.spec;
    for (const Json& name : json.value("baseline_omits", Json::array())) {
      field(find_field(name.get<std::string>())).reset(test.baseline);
    }
    test.tokens = json["tokens"].get<std::vector<std::int64_t>>();
    for (const std::int64_t tokens : test.tokens) {
      if (tokens < 0 || tokens > 100000) wrong(fmt::format("{} tokens", tokens));
    }
    if (json.contains("scales")) test.scales = read_scales(json["scales"]);
    test.comparator = read_comparator(json["comparator"]);
    test.seed = json.value("seed", std::uint64_t{1});
    return test;
  } catch (const Json::exception& error) {
    wrong(error.what());
  }
}

}  // namespace sluice::auditing
