// What a failed audit leaves behind: text, JSON, a page, and files that replay it.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sluice/checkpoint.hpp>

#include "small_audit.hpp"

namespace sluice::auditing {
namespace {

// One bug shows in dozens of findings: the text begins with what they have in common.
TEST(Audit, TextSumsUpWhatFindingsHaveInCommon) {
  AuditReport report;
  const auto add = [&](const char* field, const char* looks_like, const char* matched) {
    AuditFailure failure;
    failure.check = "exact";
    failure.field = field;
    failure.looks_like = looks_like;
    failure.matched = matched;
    report.failures.push_back(failure);
  };
  add("", "", "");
  add("router.n_group", "behaves as if there were one group", "drop:router.n_group");
  for (int i = 0; i < 2; ++i) add("router.norm_eps", "behaves as if norm_eps were 0", "no-eps");
  const std::string text = audit_text(report);
  const std::size_t total = text.find("FAIL: 4 findings");
  const std::size_t most =
      text.find("2 of the findings examined: behaves as if norm_eps were 0 (no-eps)");
  const std::size_t less =
      text.find("1 of the findings examined: behaves as if there were one group");
  const std::size_t fields = text.find("name: router.norm_eps (2), router.n_group (1)");
  ASSERT_NE(fields, std::string::npos) << text;
  EXPECT_TRUE(total < most && most < less && less < fields && fields < text.find("1. exact"))
      << text;
}

TEST(Audit, WritesReplaysThatFailAgain) {
  const auto directory = std::filesystem::temp_directory_path() / "sluice_audit_replay";
  std::filesystem::remove_all(directory);
  const auto faulty = inject(backend("reference"), "drop:down_bias");
  AuditOptions options = quick_options();
  options.replay_directory = directory.string();
  const AuditReport report = audit(*faulty, options);
  ASSERT_FALSE(report.ok());
  const AuditFailure& failure = report.failures.front();
  ASSERT_EQ(failure.replay_files.size(), 3u);
  EXPECT_NE(failure.replay_command.find("sluice layer --spec"), std::string::npos);
  // The command line knows no backend of the faulty one's name, nor where else to find it.
  EXPECT_NE(failure.replay_command.find(" --backend reference --out "), std::string::npos);

  Case again;
  again.spec = parse_spec(failure.spec_json);
  for (const std::string& file : {failure.replay_files[1], failure.replay_files[2]}) {
    const Checkpoint tensors = Checkpoint::open(file);
    for (const TensorInfo& info : tensors.tensors()) {
      again.tensors[info.name] = OwnedTensor::copy_of(tensors.tensor(info.name));
    }
  }
  EXPECT_FALSE(judge(again, run_case(*faulty, again, one_thread())).ok());
  EXPECT_TRUE(judge(again, run_case(backend("reference"), again, one_thread())).ok());
  std::filesystem::remove_all(directory);
}

TEST(Audit, ReportsInThreeForms) {
  const auto faulty = inject(backend("reference"), "halves-swapped");
  const AuditReport report = audit(*faulty, quick_options());
  const auto json = nlohmann::json::parse(audit_json(report));
  EXPECT_EQ(json["schema"], 1);
  EXPECT_EQ(json["ok"], false);
  EXPECT_EQ(json["failures"][0]["looks_like"], report.failures[0].looks_like);
  EXPECT_TRUE(json["failures"][0]["spec"].is_object());
  const std::string html = audit_html(report);
  EXPECT_EQ(html.find("http"), std::string::npos) << "the page must stand alone";
  EXPECT_NE(html.find("halves-swapped"), std::string::npos);
  EXPECT_NE(audit_text(report).find("FAIL"), std::string::npos);
}

}  // namespace
}  // namespace sluice::auditing
