// What a loader expects of a checkpoint, checked as a whole: one error lists everything wrong.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <sluice/checkpoint.hpp>

namespace sluice {

struct TensorExpectation {
  std::string name;
  std::vector<Shape> shapes;  // any of them
  std::vector<DType> dtypes;  // any of them
  bool optional = false;
};

// F32, BF16 and F16: what every plain weight may be.
std::vector<DType> float_dtypes();

// Throws Error(checkpoint) listing every missing, unexpected, misshapen and mistyped tensor (the
// first 20, and how many others). `ignored` says which tensors that nobody expects are harmless
// (say, precomputed inv_freq); empty: none.
void check_tensors(std::span<const TensorInfo> tensors,
                   std::span<const TensorExpectation> expectations,
                   const std::function<bool(std::string_view)>& ignored = {});

}  // namespace sluice
