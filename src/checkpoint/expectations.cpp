#include "checkpoint/expectations.hpp"

#include <algorithm>
#include <map>

#include "base/problems.hpp"
#include "base/shown.hpp"

namespace sluice {
namespace {

std::string names(std::span<const DType> dtypes) {
  std::vector<std::string_view> texts;
  for (const DType dtype : dtypes) texts.push_back(to_string(dtype));
  return fmt::format("{}", fmt::join(texts, " or "));
}

std::string names(std::span<const Shape> shapes) {
  std::vector<std::string> texts;
  for (const Shape& shape : shapes) texts.push_back(to_string(shape));
  return fmt::format("{}", fmt::join(texts, " or "));
}

void compare(const TensorExpectation& expected, const TensorInfo& found, Problems& problems) {
  const bool dtype_fits = std::find(expected.dtypes.begin(), expected.dtypes.end(), found.dtype) !=
                          expected.dtypes.end();
  const bool shape_fits = std::find(expected.shapes.begin(), expected.shapes.end(), found.shape) !=
                          expected.shapes.end();
  if (!shape_fits) {
    problems.add("misshapen: {} is {}, expected {}", shown(expected.name), to_string(found.shape),
                 names(expected.shapes));
  }
  if (!dtype_fits) {
    problems.add("mistyped: {} is {}, expected {}", shown(expected.name), to_string(found.dtype),
                 names(expected.dtypes));
  }
}

}  // namespace

std::vector<DType> float_dtypes() { return {DType::f32, DType::bf16, DType::f16}; }

void check_tensors(std::span<const TensorInfo> tensors,
                   std::span<const TensorExpectation> expectations,
                   const std::function<bool(std::string_view)>& ignored) {
  std::map<std::string_view, const TensorInfo*> found;
  for (const TensorInfo& info : tensors) found.emplace(info.name, &info);
  Problems problems;
  for (const TensorExpectation& expected : expectations) {
    const auto place = found.find(expected.name);
    if (place != found.end()) {
      compare(expected, *place->second, problems);
      found.erase(place);
    } else if (!expected.optional) {
      problems.add("missing: {}, {} {}", shown(expected.name), names(expected.dtypes),
                   names(expected.shapes));
    }
  }
  for (const auto& [name, info] : found) {
    if (ignored && ignored(name)) continue;
    // transformers saves the parts that a config has none of, shared experts say, as [0, H].
    if (info->shape.elements() == 0) continue;
    problems.add("unexpected: {}, {} {}", shown(name), to_string(info->dtype),
                 to_string(info->shape));
  }
  problems.raise(ErrorKind::checkpoint, "the checkpoint's tensors are not those of its config");
}

}  // namespace sluice
