#include "tokenizer/pre_tokenizer_json.hpp"

#include <utility>

#include "base/fail.hpp"
#include "tokenizer/json_fields.hpp"
#include "tokenizer/utf8.hpp"

namespace sluice::tokenizer {
namespace {

constexpr int kMaxNesting = 16;

SplitBehavior behavior(Fields& fields) {
  const std::string name = fields.text("behavior");
  if (name == "Isolated") return SplitBehavior::isolated;
  if (name == "Removed") return SplitBehavior::removed;
  if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
  if (name == "Contiguous") return SplitBehavior::contiguous;
  fail(ErrorKind::unsupported,
       "{} is \"{}\"; known: Isolated, Removed, MergedWithPrevious, MergedWithNext, Contiguous",
       fields.path("behavior"), shown(name));
}

Split split(Fields& fields) {
  Fields pattern(fields.require("pattern"), fields.path("pattern"));
  const auto regex = pattern.text_or_null("Regex");
  const auto text = pattern.text_or_null("String");
  pattern.refuse_others();
  if (regex.has_value() == text.has_value()) {
    fail(ErrorKind::checkpoint, "{} must have either Regex or String", pattern.path());
  }
  return {regex ? decltype(Split::pattern)(Regex(*regex)) : decltype(Split::pattern)(*text),
          behavior(fields), fields.flag("invert", false)};
}

void read(const Json& json, const std::string& path, int depth,
          std::vector<PreTokenizerStep>& steps) {
  if (depth > kMaxNesting) {
    fail(ErrorKind::checkpoint, "{}: sequences nest deeper than {}", path, kMaxNesting);
  }
  Fields fields(json, path);
  const std::string type = fields.text("type");
  if (type == "Sequence") {
    std::size_t index = 0;
    for (const Json& part : fields.array("pretokenizers")) {
      read(part, path + ".pretokenizers[" + std::to_string(index++) + "]", depth + 1, steps);
    }
  } else if (type == "Split") {
    steps.emplace_back(split(fields));
  } else if (type == "Digits") {
    steps.emplace_back(digits(fields.flag("individual_digits", false)));
  } else if (type == "ByteLevel") {
    fields.ignore("trim_offsets");  // offsets are not reported here
    steps.emplace_back(ByteLevel{fields.flag("add_prefix_space"), fields.flag("use_regex", true)});
  } else {
    fail(ErrorKind::unsupported, "{} is of type {}; known: Sequence, Split, Digits, ByteLevel",
         path, shown(type));
  }
  fields.refuse_others();
}

}  // namespace

PreTokenizer read_pre_tokenizer(const nlohmann::json& json) {
  std::vector<PreTokenizerStep> steps;
  read(json, "pre_tokenizer", 0, steps);
  return PreTokenizer(std::move(steps));
}

}  // namespace sluice::tokenizer
