// MoE layers computed by transformers' own modules, one per family (tools/goldens/moe_layer.py),
// against the oracle's bound: the oracle must contain what transformers computes, and every backend
// must lie in the same bound. So the oracle has a judge that nobody here wrote.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <sluice/backend.hpp>
#include <sluice/checkpoint.hpp>

#include "audit/case.hpp"
#include "audit/compare.hpp"
#include "audit/run_case.hpp"

namespace sluice::auditing {
namespace {

namespace fs = std::filesystem;
const fs::path kGoldens = SLUICE_TEST_DATA "/moe_layer";

std::vector<std::string> families_with_goldens() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(kGoldens)) {
    if (entry.path().extension() == ".safetensors") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string read(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

struct Golden {
  Case subject;
  RunResult expected;
};

Golden load(const std::string& family) {
  Golden golden;
  golden.subject.regime = family;
  golden.subject.spec = parse_spec(read(kGoldens / (family + ".json")));
  const Checkpoint file = Checkpoint::open(kGoldens / (family + ".safetensors"));
  for (const TensorInfo& info : file.tensors()) {
    OwnedTensor tensor = OwnedTensor::copy_of(file.tensor(info.name));
    if (info.name == "output") {
      golden.expected.output = std::move(tensor);
    } else if (info.name == "topk_ids") {
      golden.expected.ids = std::move(tensor);
    } else if (info.name == "topk_weights") {
      golden.expected.weights = std::move(tensor);
    } else if (info.name != "router_weight") {  // the logits are given
      golden.subject.tensors.emplace(info.name, std::move(tensor));
    }
  }
  return golden;
}

class FamilyGolden : public testing::TestWithParam<std::string> {};

TEST_P(FamilyGolden, TransformersLiesWithinTheOraclesBound) {
  const Golden golden = load(GetParam());
  const Comparison verdict = compare(golden.subject, Oracle(golden.subject), golden.expected);
  EXPECT_TRUE(verdict.ok()) << verdict.message;
}

TEST_P(FamilyGolden, EveryBackendLiesWithinTheSameBound) {
  const Golden golden = load(GetParam());
  const Oracle oracle(golden.subject);
  for (const Backend* backend : backends()) {
    if (backend->unavailable()) continue;
    const bool accepts = negotiate(*backend, golden.subject.spec).ok();
    if (!accepts && backend->device({}).kind != DeviceKind::cpu) continue;  // formats of its own
    ASSERT_TRUE(accepts) << backend->name();
    const Comparison verdict = compare(golden.subject, oracle, run_case(*backend, golden.subject));
    EXPECT_TRUE(verdict.ok()) << backend->name() << ": " << verdict.message;
  }
}

// The bound is no rubber stamp: a result with one field lost lies outside it.
TEST_P(FamilyGolden, LosingAnyFieldOfTheSpecLeavesTheBound) {
  const Golden golden = load(GetParam());
  const Oracle oracle(golden.subject);
  int lost = 0;
  for (const Field& field : fields()) {
    // What changes no arithmetic of fp32 tensors, or needs other tensors, cannot be lost this way.
    if (field.is_neutral(golden.subject.spec) || field.kind == FieldKind::size) continue;
    if (field.key == "weight_format" || field.key == "activation_format") continue;
    if (field.key == "norm_eps" || field.kind == FieldKind::tensor_flag) continue;
    if (field.key == "num_shared_experts" || field.key == "shared_intermediate_size") continue;
    // An elementwise score of the chosen is the same whenever it is computed.
    const RouterSpec& router = golden.subject.spec.router;
    if (field.key == "score_order" && router.score_func != ScoreFunc::softmax) continue;
    Case without = golden.subject;
    field.reset(without.spec);
    try {
      validate(without.spec);
      check_weights(without.spec, without.weights());
    } catch (const Error&) {
      continue;
    }
    const Comparison verdict =
        compare(golden.subject, oracle, run_case(backend("reference"), without));
    EXPECT_FALSE(verdict.ok()) << "losing " << field.name << " was not noticed";
    ++lost;
  }
  if (lost == 0) GTEST_SKIP() << GetParam() << " leaves every such field neutral";
}

INSTANTIATE_TEST_SUITE_P(Families, FamilyGolden, testing::ValuesIn(families_with_goldens()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace sluice::auditing
