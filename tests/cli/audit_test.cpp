#include <nlohmann/json.hpp>

#include "cli/sluice_program.hpp"

namespace sluice {
namespace {

using nlohmann::json;
using test::contains;
using test::expect_refusal;
using test::expect_success;
using test::Outcome;
using test::ScratchDirectory;

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

// Copied into a shell, it runs what was audited: a plugin, and a fault.
TEST(AuditVerb, AReplayRunsWhatWasAudited) {
  const ScratchDirectory scratch;
  const std::string audit =
      "audit --suite A --rounds 1 --inject drop:routed_scaling_factor --json '" +
      scratch.file("a.json") + "' --replay '" + scratch.file("two words") + "' ";
  struct Subject {
    std::string arguments, environment, replayed;
  };
  for (const auto& [arguments, environment, replayed] :
       {Subject{"--plugin '" SLUICE_CHATTY_PLUGIN "'", "", "--plugin "},
        Subject{"--backend reference", "", "--backend reference "},
        Subject{"", "SLUICE_BACKEND=reference", "--backend reference "}}) {
    EXPECT_EQ(test::run_sluice(audit + arguments, environment).code, 1);
    const json report = json::parse(scratch.read("a.json"));
    const std::string command = report["failures"][0]["replay_command"];
    ASSERT_TRUE(command.starts_with("sluice ")) << command;
    EXPECT_TRUE(contains(command, replayed)) << command;
    const Outcome outcome = expect_success(command.substr(7) + " --json -");
    EXPECT_TRUE(contains(outcome.out, "!drop:routed_scaling_factor\"")) << outcome.out;
  }
}

TEST(AuditVerb, ComplaintsAboutADescriptionNameItsFile) {
  const ScratchDirectory scratch;
  const std::string description = scratch.write("mine.json", "{]");
  expect_refusal("audit --rate-test '" + description + "'",
                 "mine.json: the test's description is not JSON: ");
}

TEST(AuditVerb, EveryModeWritesItsJson) {
  const ScratchDirectory scratch;
  const auto written = [&](const std::string& mode) {
    const Outcome outcome =
        expect_success("audit " + mode + " --json '" + scratch.file("a.json") + "'");
    EXPECT_FALSE(outcome.out.empty()) << mode;
    return json::parse(scratch.read("a.json"));
  };
  EXPECT_GT(written("--list-mutants")["mutants"].size(), 60u);
  const json alarms = written("--backend reference --false-alarms 1");
  EXPECT_EQ(alarms["backend"], "reference");
  EXPECT_EQ(alarms["seeds"], 1);
  EXPECT_GT(alarms["cases"], 10);
  EXPECT_EQ(alarms["failures"], json::array());
  const std::string description = scratch.write("T.json", R"({"name": "small", "tokens": [2],
      "spec": {"router": {"num_experts": 4, "top_k": 2, "routed_scaling_factor": 2.5},
               "experts": {"hidden_size": 16, "intermediate_size": 16}},
      "comparator": {"kind": "bound"}})");
  const json rating = written("--rate-test '" + description + "'");
  EXPECT_EQ(rating["test"], "small");
  EXPECT_EQ(rating["backend"], "reference");
  EXPECT_TRUE(rating["correct_passes"]);
  EXPECT_GT(rating["killed"], 0);
  EXPECT_EQ(rating["mutants"].size(), written("--list-mutants")["mutants"].size());
  EXPECT_EQ(written("--backend cpu --rate-test '" + description + "'")["backend"], "cpu");
}

// An option that a mode would not apply is refused, not accepted and forgotten.
TEST(AuditVerb, ModesRefuseWhatTheyDoNotUse) {
  for (const char* two : {"--mutants --false-alarms 3", "--mutants --list-mutants",
                          "--rate-test x --list-mutants", "--rate-test x --false-alarms 1"}) {
    expect_refusal(std::string("audit ") + two, "at most 1");
  }
  expect_refusal("audit --mutants --suite A", "--suite does nothing beside --mutants: a mutant is");
  expect_refusal("audit --mutants --html x", "--html does nothing beside --mutants");
  expect_refusal("audit --mutants --replay x", "--replay does nothing beside --mutants");
  expect_refusal("audit --false-alarms 2 --suite A --html x --replay y",
                 "--suite, --html, --replay do nothing beside --false-alarms: it runs the check");
  expect_refusal("audit --false-alarms 2 --rounds 1", "--rounds does nothing beside");
  expect_refusal("audit --false-alarms 0", "at least 1");
  expect_refusal("audit --list-mutants --backend cpu", "--backend does nothing beside");
  for (const char* option : {"--plugin x", "--seed 2", "--threads 1", "--spec x",
                             "--inject scale-dropped", "--no-routing", "--slot-outputs-rounded"}) {
    const std::string name = std::string(option).substr(0, std::string(option).find(' '));
    expect_refusal(std::string("audit --rate-test x ") + option,
                   name + " does nothing beside --rate-test: the file describes");
    expect_refusal(std::string("audit --list-mutants ") + option,
                   name + " does nothing beside --list-mutants");
  }
  expect_refusal("audit --backend cpu --time-limit 3", "--time-limit requires --plugin");
}

}  // namespace
}  // namespace sluice
