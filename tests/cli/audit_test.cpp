#include <nlohmann/json.hpp>

#include "cli/sluice_program.hpp"

namespace sluice {
namespace {

using nlohmann::json;
using test::contains;
using test::expect_refusal;
using test::expect_success;
using test::Outcome;

// What a plugin prints must not stand in the report that a program reads.
TEST(AuditVerb, JsonOnStandardOutputIsJsonWhateverThePluginPrints) {
  for (const std::string mode : {"--suite K", "--false-alarms 1"}) {
    const Outcome outcome =
        expect_success("audit --plugin '" SLUICE_CHATTY_PLUGIN "' --json - " + mode);
    EXPECT_TRUE(json::accept(outcome.out)) << outcome.out;
    EXPECT_TRUE(contains(outcome.err, "1 device found")) << outcome.err;
  }
}

TEST(AuditVerb, TwoReportsNeedTwoPlaces) {
  expect_refusal("audit --json - --html -", "--json and --html both name -");
  expect_refusal("audit --json x --html x", "--json and --html both name x");
}

}  // namespace
}  // namespace sluice
