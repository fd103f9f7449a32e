// The audit must kill every mutant, by class; and see faults that are in no list.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <regex>
#include <set>

#include "audit/cases/draw_spec.hpp"
#include "audit/cases/draw_tensors.hpp"
#include "audit/checks/check.hpp"
#include "audit/faults/reroute.hpp"
#include "audit/session.hpp"
#include "small_audit.hpp"

namespace sluice::auditing {
namespace {

class MutantsOfClass : public testing::TestWithParam<char> {};

TEST_P(MutantsOfClass, AreAllKilled) {
  const Backend& reference = backend("reference");
  AuditOptions options = quick_options();
  options.rounds = 0;
  options.diagnose = false;
  CaseBank bank(drawn_for(reference), {});
  int count = 0;
  for (const Mutant& mutant : mutant_list()) {
    if (mutant.info.bug_class != GetParam()) continue;
    ++count;
    EXPECT_TRUE(judge_mutant(reference, mutant, options, bank).killed) << mutant.info.name;
    EXPECT_FALSE(mutant.info.cases.empty()) << mutant.info.name;
  }
  EXPECT_GE(count, 3) << "class " << GetParam();
}

INSTANTIATE_TEST_SUITE_P(Classes, MutantsOfClass,
                         testing::Values('A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K', 'L',
                                         'M', 'N', 'O', 'P', 'Q'),
                         [](const auto& param) { return std::string(1, param.param); });

TEST(Mutants, AreMoreThanSixtyWithDistinctNames) {
  std::set<std::string_view> names;
  for (const MutantInfo& mutant : mutants()) names.insert(mutant.name);
  EXPECT_EQ(names.size(), mutants().size());
  EXPECT_GE(names.size(), 60u);
}

TEST(Mutants, StandInTheCatalogue) {
  std::ifstream file(SLUICE_SOURCE_DIR "/docs/lost-parameters.md");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  EXPECT_NE(text.find(mutants_markdown()), std::string::npos)
      << "docs/lost-parameters.md is stale: replace its table by that of sluice audit "
         "--list-mutants";
}

// A number of public reports that the pages name is that of distinct ones in the table.
TEST(Mutants, StandForAsManyReportsAsThePagesSay) {
  std::set<std::string> reports;
  const std::regex report("[A-Za-z0-9._/-]+#[0-9]+");
  for (const MutantInfo& mutant : mutants()) {
    const std::string cases(mutant.cases);
    for (std::sregex_iterator it(cases.begin(), cases.end(), report), end; it != end; ++it) {
      reports.insert(it->str());
    }
  }
  for (const char* page : {"/README.md", "/docs/lost-parameters.md"}) {
    std::ifstream file(SLUICE_SOURCE_DIR + std::string(page));
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    EXPECT_NE(text.find(fmt::format("{} public reports", reports.size())), std::string::npos)
        << page << " does not say \"" << reports.size() << " public reports\"";
  }
}

constexpr std::string_view kScaleMutants[] = {"up-takes-gate-scale",
                                              "expert-takes-neighbours-scale",
                                              "scale-uninitialised", "down-scale-ignored"};

const Mutant& mutant_named(std::string_view name) {
  for (const Mutant& mutant : mutant_list()) {
    if (mutant.info.name == name) return mutant;
  }
  throw Error(ErrorKind::internal, "no such mutant");
}

// A layer whose two widths are whole blocks of every format, with gate and up of different sizes.
Case layer_with(WeightFormat format) {
  Case subject;
  subject.spec = neutral_spec({.experts = 4, .top_k = 2, .hidden = 128, .intermediate = 128});
  subject.spec.experts.weight_format = format;
  Draw draw(7);
  draw_tensors(subject, {.tokens = 2}, draw);
  return subject;
}

std::size_t edited(const ExpertMatrices& before, const ExpertMatrices& after) {
  std::size_t count = 0;
  for (std::size_t e = 0; e < before.size(); ++e) {
    count += !same_bits(OwnedTensor::copy_of(before[e]), OwnedTensor::copy_of(after[e]));
  }
  return count;
}

// A mutant that stands for a lost scale must lose one: values stay, and weights without scales too.
TEST(ScaleMutants, EditScalesAndNothingElse) {
  for (int i = 0; i <= static_cast<int>(WeightFormat::int4); ++i) {
    const auto format = static_cast<WeightFormat>(i);
    const Case subject = layer_with(format);
    const MoeWeights weights = subject.weights();
    for (const std::string_view name : kScaleMutants) {
      SCOPED_TRACE(fmt::format("{} of {}", name, to_string(format)));
      Load load{subject.spec, weights, {}};
      mutant_named(name).make(subject.spec, weights).load(load);
      EXPECT_EQ(edited(weights.gate_up_proj, load.weights.gate_up_proj), 0u);
      EXPECT_EQ(edited(weights.down_proj, load.weights.down_proj), 0u);
      const std::size_t scales = edited(weights.gate_up_scale, load.weights.gate_up_scale) +
                                 edited(weights.down_scale, load.weights.down_scale);
      const bool one_per_matrix = format == WeightFormat::fp8_e4m3_tensor;
      const bool has_one =
          !weights.gate_up_scale.empty() && !(one_per_matrix && name == "up-takes-gate-scale");
      EXPECT_EQ(scales > 0, has_one);
    }
  }
}

TEST(ScaleMutants, DoNotApplyWhereNoScaledWeightsAreTaken) {
  for (const std::string_view name : kScaleMutants) {
    const Mutant& mutant = mutant_named(name);
    ASSERT_NE(mutant.applies, nullptr) << name;
    EXPECT_TRUE(mutant.applies(backend("reference"))) << name;
    EXPECT_FALSE(mutant.applies(backend("cpu"))) << name;
  }
  AuditOptions options = quick_options();
  options.rounds = 1;
  CaseBank bank(drawn_for(backend("cpu")), {});
  const auto verdict =
      judge_mutant(backend("cpu"), mutant_named("up-takes-gate-scale"), options, bank);
  EXPECT_FALSE(verdict.applicable);
  EXPECT_FALSE(verdict.killed);
}

// The model in front of the router faults is itself right when no switch is on.
TEST(RouterModel, WithoutFaultsIsTheRouter) {
  const Backend& reference = backend("reference");
  const Mutant none{{"nothing", '?', "nothing happened", "-"}, router_fault({}), {}};
  const auto same = decorate(reference, none);
  for (const Regime& regime : regimes()) {
    if (regime.slow) continue;
    const auto subject = regime.make(drawn_for(reference), 21);
    if (!subject) continue;
    const Comparison comparison = judge(*subject, run_case(*same, *subject, one_thread()));
    EXPECT_TRUE(comparison.ok()) << regime.name << ": " << comparison.message;
  }
}

// drop: and double: of every field must be noticed, and the field named.
class EveryField : public testing::TestWithParam<std::size_t> {};

TEST_P(EveryField, WhenDroppedIsNamed) {
  const Field& field = fields()[GetParam()];
  const Backend& reference = backend("reference");
  if (field.kind == FieldKind::size) {
    EXPECT_THROW(inject(reference, fmt::format("drop:{}", field.name)), Error);
    return;
  }
  const auto faulty = inject(reference, fmt::format("drop:{}", field.name));
  AuditOptions options = quick_options();
  options.rounds = 1;
  const AuditReport report = audit(*faulty, options);
  EXPECT_FALSE(report.ok());
  bool named = false;
  for (const AuditFailure& failure : report.failures) named |= failure.field == field.name;
  EXPECT_TRUE(named) << audit_text(report);
}

INSTANTIATE_TEST_SUITE_P(Fields, EveryField, testing::Range(std::size_t{0}, kFieldCount),
                         [](const auto& param) { return std::string(fields()[param.param].key); });

}  // namespace
}  // namespace sluice::auditing
