// A test of somebody else's, as data. docs/rate-a-test.md describes the JSON.
#pragma once

#include <string>
#include <vector>

#include <sluice/spec.hpp>

namespace sluice::auditing {

enum class ComparatorKind : std::uint8_t {
  allclose,   // |got - expected| <= atol + rtol |one of them| for a share of the elements
  cosine,     // cosine similarity of the whole tensors
  max_error,  // largest absolute difference
  bound       // our own: per element, derived from the operands
};

struct Comparator {
  ComparatorKind kind = ComparatorKind::allclose;
  double atol = 0.0;
  double rtol = 0.0;
  bool relative_to_got = false;  // torch.isclose(expected, got) scales rtol by what was got
  double fraction = 1.0;         // more than this share must be close
  double least = 0.0;            // cosine
  double most = 0.0;             // max_error
};

// Standard deviations of normally distributed inputs.
struct InputScales {
  double hidden = 1.0;
  double gate_up = 1.0;
  double down = 1.0;
  double logits = 1.0;
  double bias = 1.0;
};

struct TestDescription {
  std::string name;
  std::string source;
  MoeSpec spec;      // what the backend under test is given
  MoeSpec baseline;  // what the baseline computes: without the fields that it omits
  std::vector<std::int64_t> tokens;
  InputScales scales;
  Comparator comparator;
  std::uint64_t seed = 1;
};

TestDescription parse_test(const std::string& json_text);

struct Judgement {
  bool passes = false;
  std::string evidence;
};
Judgement judge(const Comparator& comparator, const std::vector<float>& got,
                const std::vector<float>& expected);

}  // namespace sluice::auditing
