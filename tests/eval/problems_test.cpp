#include <gtest/gtest.h>

#include <filesystem>
#include <sluice/error.hpp>
#include <sluice/eval.hpp>

#include "eval/scratch_directory.hpp"

namespace sluice {
namespace {

using test::ScratchDirectory;

std::string error_of(const std::string& text) {
  const ScratchDirectory scratch;
  try {
    read_problems(scratch.write("p.jsonl", text));
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::user);
    return error.what();
  }
  return "accepted";
}

constexpr const char* kGood = R"({"question": "2 + 2?", "answer": "#### 4", "source": 1})";

TEST(Problems, ReadsLinesAndSkipsBlankOnes) {
  const ScratchDirectory scratch;
  const auto path = scratch.write(
      "p.jsonl", std::string(kGood) + "\r\n\n  \n" + R"({"question": "é?", "answer": "7"})");
  const auto problems = read_problems(path);
  ASSERT_EQ(problems.size(), 2u);
  EXPECT_EQ(problems[0].question, "2 + 2?");
  EXPECT_EQ(problems[1].question, "é?");
  EXPECT_EQ(problems[1].answer, "7");
  EXPECT_EQ(read_problems(path, 1).size(), 1u);
}

TEST(Problems, NamesTheHostileLine) {
  const std::string good = std::string(kGood) + "\n";
  const std::pair<const char*, const char*> cases[] = {
      {"{\"question\": \"x\", ", "line 3: not JSON"},
      {"[1, 2]", "line 3: not a JSON object but array"},
      {R"({"question": "x", "answer": "1", "question": "y"})", "line 3 gives \"question\" twice"},
      {R"({"question": "x"})", "line 3: no \"answer\""},
      {R"({"question": 5, "answer": "1"})", "line 3: \"question\" is number"},
      {R"({"question": "x", "answer": "none"})", "line 3: \"answer\" holds no number"},
      {"{\"question\": \"\xff\", \"answer\": \"1\"}", "line 3: not JSON"},
  };
  for (const auto& [line, message] : cases) {
    EXPECT_NE(error_of(good + "\n" + line + "\n" + good).find(message), std::string::npos)
        << line << " gave " << error_of(good + "\n" + line);
  }
  const std::string deep(100000, '[');
  EXPECT_NE(error_of(deep).find("line 1: not JSON"), std::string::npos);
}

TEST(Problems, ALineThatNeverEndsDoesNotTakeTheMemory) {
  try {
    read_problems("/dev/zero");
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("line 1: longer than"), std::string::npos);
  }
}

TEST(Problems, SaysSoWhenThereAreNone) {
  EXPECT_NE(error_of("\n \n").find("holds no problems"), std::string::npos);
  EXPECT_THROW(read_problems("/nonexistent/p.jsonl"), Error);
}

TEST(Problems, ReadsCompletionsMadeElsewhere) {
  const ScratchDirectory scratch;
  const auto path =
      scratch.write("c.jsonl", R"({"completion": "", "answer": "#### 4"})"
                               "\n"
                               R"({"answer": "42", "completion": "so 42", "model": "x"})"
                               "\n");
  const auto completions = read_completions(path);
  ASSERT_EQ(completions.size(), 2u);
  EXPECT_EQ(completions[1].completion, "so 42");
  EXPECT_THROW(read_completions(scratch.write("d.jsonl", kGood)), Error);
}

TEST(Problems, ReadsTheRealDataSetWherePresent) {
  const std::string path = SLUICE_SOURCE_DIR "/../shared/gsm8k/test.jsonl";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no GSM8K beside the project";
  const auto problems = read_problems(path);
  EXPECT_EQ(problems.size(), 1319u);
  std::vector<JudgedCompletion> gold;
  for (const Problem& problem : problems) gold.push_back({problem.answer, problem.answer});
  // Every rule reads the gold answers themselves, apart from what it is known to misread.
  for (const Proportion& accuracy : score(gold)) EXPECT_GE(accuracy.value(), 0.98);
}

}  // namespace
}  // namespace sluice
