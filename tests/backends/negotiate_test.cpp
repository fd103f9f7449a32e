#include <gtest/gtest.h>

#include <fmt/ranges.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>
#include <vector>

#include <sluice/backend.hpp>
#include <sluice/error.hpp>

#include "backends/field_table.hpp"

namespace sluice {
namespace {

// Claims what it is told to, and counts what reaches it.
class SelectiveBackend final : public Backend {
 public:
  explicit SelectiveBackend(FieldSet claims) : claims_(claims) {}
  std::string_view name() const override { return "selective"; }
  std::optional<std::string> unavailable() const override { return std::nullopt; }
  FieldSet claims() const override { return claims_; }
  Support supports(const MoeSpec&) const override {
    ++asked_;
    return {"variant", {}};
  }
  std::unique_ptr<Experts> load(const MoeSpec&, const MoeWeights&,
                                const LoadOptions&) const override {
    return nullptr;
  }
  bool batch_invariant() const override { return false; }
  mutable int asked_ = 0;

 private:
  FieldSet claims_;
};

MoeSpec plain_spec() {
  MoeSpec spec;
  spec.router.num_experts = 24;
  spec.router.top_k = 5;
  spec.experts.hidden_size = 40;
  spec.experts.intermediate_size = 48;
  return spec;
}

const FieldSet kSizes{"num_experts", "top_k", "hidden_size", "intermediate_size"};

TEST(Negotiate, ClaimingNothingRefusesEvenTheSizes) {
  const SelectiveBackend backend{FieldSet{}};
  EXPECT_EQ(negotiate(backend, plain_spec()).refusals.size(), kSizes.size());
  EXPECT_EQ(backend.asked_, 0);
}

TEST(Negotiate, NeutralFieldsNeedNoClaim) {
  const SelectiveBackend backend{kSizes};
  EXPECT_TRUE(negotiate(backend, plain_spec()).ok());
  EXPECT_EQ(backend.asked_, 1);
}

// For every field there is: claimed passes, unclaimed is refused under its own name.
TEST(Negotiate, EveryNonNeutralFieldIsRefusedByNameUnlessClaimed) {
  for (const Field& field : fields()) {
    MoeSpec spec = plain_spec();
    if (field.key == "apply_router_weight_on_input" || field.key == "norm_single_expert") {
      spec.router.top_k = 1;
    }
    if (field.kind == FieldKind::size || !field.perturb(spec, 7)) continue;
    FieldSet all_others = FieldSet::all();
    all_others.remove(field.name);
    const SelectiveBackend without{all_others};
    const Support refused = negotiate(without, spec);
    ASSERT_EQ(refused.refusals.size(), 1u) << field.name;
    EXPECT_EQ(refused.refusals[0].field, field.name);
    EXPECT_NE(refused.refusals[0].reason.find(field.value(spec)), std::string::npos)
        << refused.refusals[0].reason;
    EXPECT_EQ(without.asked_, 0) << "limits were asked although " << field.name << " is unclaimed";
    EXPECT_TRUE(negotiate(SelectiveBackend{FieldSet::all()}, spec).ok()) << field.name;
  }
}

TEST(Choose, UnknownBackendNamesTheNearest) {
  try {
    choose_backend(plain_spec(), "referense");
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("did you mean \"reference\"?"), std::string::npos)
        << error.what();
  }
}

TEST(Choose, ForcedBackendIsTheOneOrAnError) {
  EXPECT_EQ(choose_backend(plain_spec(), "reference").backend->name(), "reference");
  MoeSpec spec = plain_spec();
  spec.experts.activation_format = ActivationFormat::fp8_e4m3;
  try {
    choose_backend(spec, "reference");
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::unsupported);
    EXPECT_NE(std::string(error.what()).find("experts.activation_format"), std::string::npos);
  }
}

TEST(Choose, SaysNothingOfALayerThatCannotBe) {
  MoeSpec spec = plain_spec();
  spec.layer.tp_size = 0;
  for (const char* forced : {"", "reference"}) {
    try {
      choose_backend(spec, forced);
      FAIL() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::user);
      EXPECT_NE(std::string(error.what()).find("layer.tp_size is 0"), std::string::npos);
    }
  }
}

TEST(Choose, SaysEveryCandidateInOrder) {
  const Choice choice = choose_backend(plain_spec());
  ASSERT_EQ(choice.candidates.size(), backends().size());
  EXPECT_EQ(choice.candidates.back().backend->name(), "reference");
}

// The page has a column for cuda, which only builds with nvcc know.
std::string without_column(const std::string& page, std::string_view title) {
  std::istringstream lines(page);
  std::string kept;
  std::ptrdiff_t column = -1;
  for (std::string line; std::getline(lines, line); kept += line + "\n") {
    if (!line.starts_with('|')) continue;
    std::vector<std::string> cells;
    std::istringstream row(line.substr(1));
    for (std::string cell; std::getline(row, cell, '|');) cells.push_back(cell);
    const auto found = std::find(cells.begin(), cells.end(), fmt::format(" {} ", title));
    if (found != cells.end()) column = found - cells.begin();
    if (column < 0) continue;
    cells.erase(cells.begin() + column);
    line = fmt::format("|{}|", fmt::join(cells, "|"));
  }
  return kept;
}

TEST(Docs, FieldTableIsFresh) {
  std::ifstream file(SLUICE_SOURCE_DIR "/docs/fields.md");
  std::string text{std::istreambuf_iterator<char>(file), {}};
  const bool has_cuda = std::any_of(backends().begin(), backends().end(),
                                    [](const Backend* each) { return each->name() == "cuda"; });
  if (!has_cuda) text = without_column(text, "cuda");
  EXPECT_EQ(text, field_table_markdown())
      << "docs/fields.md is stale: sluice fields --markdown > docs/fields.md";
}

}  // namespace
}  // namespace sluice
