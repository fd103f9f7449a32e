#include "eval/records.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <sluice/error.hpp>

#include "eval/scratch_directory.hpp"

namespace sluice {
namespace {

using test::ScratchDirectory;

const std::vector<std::string> kSubjects{"reference", "cpu + drop:router.routed_scaling_factor"};
constexpr std::size_t kProblems = 6;
constexpr const char* kSettings = R"({"model": "m1", "shots": 5})";

EvalAnswer answer(TokenId id) {
  EvalAnswer made;
  made.completion = "α \"quoted\"\n#### " + std::to_string(id);
  made.ids = {id, 7, 8};
  made.finish = FinishReason::stop_string;
  made.correct = {true, false, true, false};
  made.gold_tokens = 30 + id;
  made.gold_nll = 1.0 / (3 + id);
  made.kl = 0.1 * id;
  return made;
}

EvalTimes times(double scale) {
  return {{100, 0.5 * scale}, {40, 0.25 * scale}, {140, scale, 2 * scale, 3, 4, 5, 6}};
}

void expect_equal(const EvalAnswer& a, const EvalAnswer& b) {
  EXPECT_EQ(a.completion, b.completion);
  EXPECT_EQ(a.ids, b.ids);
  EXPECT_EQ(a.finish, b.finish);
  EXPECT_EQ(a.correct, b.correct);
  EXPECT_EQ(a.gold_tokens, b.gold_tokens);
  EXPECT_EQ(a.gold_nll, b.gold_nll);
  EXPECT_EQ(a.kl, b.kl);
}

class Records : public ::testing::Test {
 protected:
  void write_two_problems() {
    EvalRecords records(path, kSettings, kSubjects, kProblems, false);
    const std::vector<std::size_t> problems{3, 0};
    const std::vector<std::vector<EvalAnswer>> answers{{answer(1), answer(2)},
                                                       {answer(3), answer(4)}};
    records.append(problems, answers, std::vector{times(1), times(2)});
  }
  std::string resume_error(const std::string& settings = kSettings) {
    try {
      EvalRecords(path, settings, kSubjects, kProblems, true);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::user);
      return error.what();
    }
    return "accepted";
  }

  ScratchDirectory scratch;
  const std::string path = scratch.file("records.jsonl");
};

TEST_F(Records, ComeBackBitForBit) {
  write_two_problems();
  const EvalRecords records(path, kSettings, kSubjects, kProblems, true);
  ASSERT_TRUE(records.find(3));
  expect_equal(records.find(3)->at(0), answer(1));
  expect_equal(records.find(3)->at(1), answer(2));
  expect_equal(records.find(0)->at(1), answer(4));
  EXPECT_FALSE(records.find(1));
  EXPECT_EQ(records.times()[1].prefill.tokens, 100);
  EXPECT_EQ(records.times()[1].decode.seconds, 0.5);
  EXPECT_EQ(records.times()[1].parts.router, 4.0);
}

TEST_F(Records, AddUpOverSeveralRuns) {
  write_two_problems();
  {
    EvalRecords again(path, kSettings, kSubjects, kProblems, true);
    again.append(std::vector<std::size_t>{1},
                 std::vector<std::vector<EvalAnswer>>{{answer(5), answer(6)}},
                 std::vector{times(1), times(1)});
  }
  const EvalRecords records(path, kSettings, kSubjects, kProblems, true);
  expect_equal(records.find(1)->at(1), answer(6));
  expect_equal(records.find(0)->at(0), answer(3));
  EXPECT_EQ(records.times()[0].prefill.tokens, 200);
}

TEST_F(Records, ForgetOnlyTheLineThatWasBeingWritten) {
  write_two_problems();
  const std::string whole = scratch.read("records.jsonl");
  // Cut inside problem 0's second answer: its other answer alone does not count.
  const std::size_t third_line = whole.find("\"problem\":0");
  const std::size_t fourth_line = whole.find("\"problem\":0", third_line + 1);
  scratch.write("records.jsonl", whole.substr(0, fourth_line + 40));
  {
    EvalRecords records(path, kSettings, kSubjects, kProblems, true);
    EXPECT_TRUE(records.find(3));
    EXPECT_FALSE(records.find(0));
    records.append(std::vector<std::size_t>{0},
                   std::vector<std::vector<EvalAnswer>>{{answer(3), answer(4)}},
                   std::vector{times(1), times(1)});
  }
  expect_equal(EvalRecords(path, kSettings, kSubjects, kProblems, true).find(0)->at(1), answer(4));
  // A run that died before its first line was whole starts anew.
  scratch.write("records.jsonl", "{\"sluice_ev");
  EXPECT_FALSE(EvalRecords(path, kSettings, kSubjects, kProblems, true).find(3));
}

TEST_F(Records, KeepTheTimesOfEveryBatchWhoseAnswersTheyKeep) {
  write_two_problems();
  const std::string whole = scratch.read("records.jsonl");
  for (std::size_t end = whole.size(); end > 0; --end) {
    scratch.write("records.jsonl", whole.substr(0, end));
    const EvalRecords records(path, kSettings, kSubjects, kProblems, true);
    if (!records.find(3) && !records.find(0)) break;
    EXPECT_EQ(records.times()[0].prefill.tokens, 100) << end;
    EXPECT_EQ(records.times()[1].prefill.tokens, 100) << end;
  }
}

TEST_F(Records, RefuseOtherSettingsNamingBothValues) {
  write_two_problems();
  const std::string message = resume_error(R"({"shots": 8, "model": "m1", "chat": true})");
  EXPECT_NE(message.find("shots: 5 in the records, 8 now"), std::string::npos) << message;
  EXPECT_NE(message.find("chat: nothing in the records, true now"), std::string::npos) << message;
  EXPECT_EQ(message.find("model"), std::string::npos) << message;
}

TEST_F(Records, NameTheDamagedLine) {
  write_two_problems();
  const std::string whole = scratch.read("records.jsonl");
  scratch.write("records.jsonl", whole + "{\"problem\": 5}\n");
  EXPECT_NE(resume_error().find("line 8: damaged record"), std::string::npos) << resume_error();
  // Values that a cast would make others of.
  for (const auto& [was, is] : {std::pair{"\"problem\":0,", "\"problem\":-1,"},
                                {"\"problem\":0,", "\"problem\":0.5,"},
                                {"\"finish\":\"", "\"finish\":\"x"},
                                {"\"ids\":[", "\"ids\":[4294967297,"},
                                {"\"ids\":[", "\"ids\":[-1,"},
                                {"\"ids\":[", "\"ids\":[1.5,"},
                                {"\"gold_tokens\":", "\"gold_tokens\":-"},
                                {"\"gold_tokens\":", "\"gold_tokens\":1e3"},
                                {"\"gold_tokens\":", "\"gold_tokens\":9223372036854775"}}) {
    std::string damaged = whole;
    damaged.replace(damaged.rfind(was), std::string(was).size(), is);
    scratch.write("records.jsonl", damaged);
    EXPECT_NE(resume_error().find("line 7: damaged record"), std::string::npos) << is;
  }
  // Two of these would not add up in 64 bits.
  std::string damaged = whole;
  damaged.replace(damaged.find("100,"), 4, "9223372036854775807,");
  scratch.write("records.jsonl", damaged);
  EXPECT_NE(resume_error().find("line 2: damaged record"), std::string::npos) << resume_error();
  scratch.write("records.jsonl", whole + "{\"problem\": 5, \"subject\": \"gpu\"}\n");
  EXPECT_NE(resume_error().find("line 8: a record of \"gpu\""), std::string::npos);
  scratch.write("records.jsonl", "{\"question\": \"x\"}\n");
  EXPECT_NE(resume_error().find("does not hold records"), std::string::npos);
}

TEST_F(Records, RefuseProblemsThatThereAreNone) {
  write_two_problems();
  const std::string whole = scratch.read("records.jsonl");
  for (const std::string problem : {"6", "18446744073709551615"}) {
    std::string beyond = whole;
    beyond.replace(beyond.rfind("\"problem\":0,"), 12, "\"problem\":" + problem + ",");
    scratch.write("records.jsonl", beyond);
    EXPECT_NE(resume_error().find("line 7: a record of problem " + problem +
                                  " (counted from 0), and there are 6 problems"),
              std::string::npos)
        << resume_error();
  }
  std::string last = whole;
  last.replace(last.rfind("\"problem\":0,"), 12, "\"problem\":5,");
  scratch.write("records.jsonl", last);
  EXPECT_EQ(resume_error(), "accepted");
}

// Comparing, copying and printing values recurse.
TEST_F(Records, RefuseAHeaderOfAnyDepth) {
  const std::string deep(100'000, '[');
  const std::string closed = deep + std::string(deep.size(), ']');
  for (const std::string& header :
       {"{\"sluice_eval\":1,\"settings\":" + closed + "}",
        "{\"sluice_eval\":" + closed + ",\"settings\":{}}", "{\"sluice_eval\":" + deep}) {
    scratch.write("records.jsonl", header + "\n");
    EXPECT_NE(resume_error().find("line 1 nests deeper than 64 levels"), std::string::npos)
        << resume_error();
  }
  for (const std::string version : {"[1]", "\"1\"", "null", "2"}) {
    scratch.write("records.jsonl", "{\"sluice_eval\":" + version + ",\"settings\":{}}\n");
    EXPECT_NE(resume_error().find("does not hold records"), std::string::npos) << version;
  }
}

// Where each new key is compared with all before it, these take a quarter of an hour.
TEST_F(Records, ReadALineOfManyKeysAtOnce) {
  write_two_problems();
  std::string line = "{\"subject\": \"cpu\"";
  for (int key = 0; key < 500'000; ++key) line += ",\"" + std::to_string(key) + "\":0";
  scratch.write("records.jsonl", scratch.read("records.jsonl") + line + "}\n");
  EXPECT_NE(resume_error().find("line 8: a record of \"cpu\""), std::string::npos);
}

TEST_F(Records, AFreshRunMovesTheOldOneAside) {
  write_two_problems();
  const std::string whole = scratch.read("records.jsonl");
  { EvalRecords records(path, R"({"model": "m2"})", kSubjects, kProblems, false); }
  EXPECT_EQ(scratch.read("records.jsonl.old"), whole);
  EXPECT_EQ(scratch.read("records.jsonl").find("\"problem\""), std::string::npos);
  // Nor does a third lose the second.
  const std::string second = scratch.read("records.jsonl");
  { EvalRecords records(path, kSettings, kSubjects, kProblems, false); }
  EXPECT_EQ(scratch.read("records.jsonl.old"), whole);
  EXPECT_EQ(scratch.read("records.jsonl.old.2"), second);
}

TEST_F(Records, NeitherRunTouchesAFileThatIsBeingWritten) {
  EvalRecords first(path, kSettings, kSubjects, kProblems, false);
  EXPECT_THROW(EvalRecords(path, kSettings, kSubjects, kProblems, false), Error);
  EXPECT_EQ(scratch.read("records.jsonl.old"), "");
  EXPECT_NE(scratch.read("records.jsonl"), "");
}

TEST_F(Records, AStrangersFileIsNotCutOff) {
  scratch.write("records.jsonl", "dear diary");
  EXPECT_NE(resume_error().find("does not hold records"), std::string::npos);
  EXPECT_EQ(scratch.read("records.jsonl"), "dear diary");
}

// Reading /dev/full or /dev/zero never ends.
TEST_F(Records, ADeviceIsWrittenAndNeverRead) {
  for (const std::string device : {"/dev/zero", "/dev/null"}) {
    EvalRecords(device, kSettings, kSubjects, kProblems, false)
        .append(std::vector<std::size_t>{0},
                std::vector<std::vector<EvalAnswer>>{{answer(1), answer(2)}},
                std::vector{times(1), times(1)});
    try {
      EvalRecords(device, kSettings, kSubjects, kProblems, true);
      ADD_FAILURE() << device;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(device + " is not a regular file"),
                std::string::npos)
          << error.what();
    }
  }
  EXPECT_THROW(EvalRecords("/dev/full", kSettings, kSubjects, kProblems, false), Error);
}

TEST_F(Records, OneWriterAtATime) {
  const EvalRecords first(path, kSettings, kSubjects, kProblems, false);
  EXPECT_NE(resume_error().find("another evaluation"), std::string::npos);
}

TEST_F(Records, KeepNaNAsNaN) {
  {
    EvalRecords records(path, kSettings, kSubjects, kProblems, false);
    EvalAnswer broken = answer(1);
    broken.kl = std::numeric_limits<double>::quiet_NaN();
    records.append(std::vector<std::size_t>{0},
                   std::vector<std::vector<EvalAnswer>>{{broken, answer(2)}},
                   std::vector{times(1), times(1)});
  }
  const EvalRecords records(path, kSettings, kSubjects, kProblems, true);
  EXPECT_TRUE(std::isnan(records.find(0)->at(0).kl));
}

}  // namespace
}  // namespace sluice
