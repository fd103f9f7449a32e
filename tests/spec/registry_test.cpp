#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <string>
#include <vector>

#include <sluice/error.hpp>
#include <sluice/fields.hpp>

#include "spec/registry.hpp"

namespace sluice {
namespace {

TEST(Registry, NamesAndKeysAreUnique) {
  std::set<std::string_view> names;
  std::set<std::string_view> keys;
  for (const Field& field : fields()) {
    EXPECT_TRUE(names.insert(field.name).second) << field.name;
    EXPECT_TRUE(keys.insert(field.key).second) << field.key << ": short names would be ambiguous";
    EXPECT_TRUE(field.name.ends_with(field.key)) << field.name;
    EXPECT_FALSE(field.meaning.empty()) << field.name;
  }
  EXPECT_EQ(names.size(), kFieldCount);
}

TEST(Registry, DefaultSpecIsNeutralInEveryFieldThatCanBe) {
  const MoeSpec neutral;
  for (const Field& field : fields()) {
    EXPECT_EQ(field.is_neutral(neutral), field.kind != FieldKind::size) << field.name;
  }
}

TEST(Registry, FindsFieldsByFullAndShortName) {
  EXPECT_EQ(field(find_field("router.routed_scaling_factor")).key, "routed_scaling_factor");
  EXPECT_EQ(find_field("routed_scaling_factor"), find_field("router.routed_scaling_factor"));
}

TEST(Registry, UnknownFieldNamesTheNearest) {
  try {
    find_field("routed_scaling_facto");
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::user);
    EXPECT_NE(std::string(error.what()).find("did you mean \"routed_scaling_factor\"?"),
              std::string::npos)
        << error.what();
  }
}

TEST(FieldSet, StartsEmptyAndHoldsWhatWasAdded) {
  FieldSet claims;
  EXPECT_EQ(claims.size(), 0u);
  claims.add("n_group").add("router.top_k");
  EXPECT_TRUE(claims.contains("router.n_group"));
  EXPECT_FALSE(claims.contains("topk_group"));
  claims.remove("n_group");
  EXPECT_EQ(claims, FieldSet({"top_k"}));
  EXPECT_EQ(FieldSet::all().size(), kFieldCount);
  EXPECT_THROW(claims.add("n_groups_"), Error);
}

// The specification spells every field and every value of a choice as a spec does.
TEST(Registry, IsWhatTheSpecificationNames) {
  std::ifstream page(SLUICE_SOURCE_DIR "/docs/semantics.md");
  std::vector<std::string> lines;
  for (std::string line; std::getline(page, line);) lines.push_back(line);
  for_each_row([&]<typename R>(const R& row) {
    std::string line;
    for (const std::string& each : lines) {
      const bool of_the_field =
          each.substr(0, each.find('|', 1)).find(fmt::format("`{}`", row.field.key)) !=
          std::string::npos;
      if (each.starts_with('|') && of_the_field) line = each;
    }
    ASSERT_FALSE(line.empty()) << "docs/semantics.md has no row for " << row.field.key;
    if constexpr (std::is_enum_v<typename R::Value>) {
      const std::string values = line.substr(line.find('|', 1));
      for (const std::string_view name : Choices<typename R::Value>::kNames) {
        const std::size_t at = values.find(name);
        ASSERT_NE(at, std::string::npos) << row.field.key << " may be " << name;
        const char after = values[at + name.size()];
        EXPECT_TRUE(after == ' ' || after == ',') << row.field.key << " may be " << name;
      }
    }
  });
}

TEST(Registry, FullOwnershipAndOwnSharedWidthAreNeutralInBothSpellings) {
  MoeSpec spec;
  spec.router.num_experts = 24;
  spec.experts.intermediate_size = 40;
  spec.layer.num_shared_experts = 2;
  const Field& local = field(find_field("num_local_experts"));
  const Field& width = field(find_field("shared_intermediate_size"));
  spec.layer.num_local_experts = 24;
  spec.layer.shared_intermediate_size = 80;
  EXPECT_TRUE(local.is_neutral(spec));
  EXPECT_TRUE(width.is_neutral(spec));
  spec.layer.num_local_experts = 23;
  spec.layer.shared_intermediate_size = 88;
  EXPECT_FALSE(local.is_neutral(spec));
  EXPECT_FALSE(width.is_neutral(spec));
}

}  // namespace
}  // namespace sluice
