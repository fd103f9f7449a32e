#include <gtest/gtest.h>

#include <sluice/eval.hpp>

namespace sluice {
namespace {

TEST(Prompt, IsLmEvalsZeroAndFewShot) {
  EXPECT_EQ(build_prompt({}, "Why?"), "Question: Why?\nAnswer:");
  const PromptStyle style{{{"1+1?", "2\n#### 2"}, {"2+3?", "#### 5"}}, false};
  EXPECT_EQ(build_prompt(style, "Why?"),
            "Question: 1+1?\nAnswer: 2\n#### 2\n\n"
            "Question: 2+3?\nAnswer: #### 5\n\n"
            "Question: Why?\nAnswer:");
}

TEST(Prompt, ShotsBecomeTurnsOfAChat) {
  const PromptStyle style{{{"1+1?", "#### 2"}}, true};
  const auto chat = build_chat(style, "Why?");
  ASSERT_EQ(chat.size(), 3u);
  EXPECT_EQ(chat[0].role, "user");
  EXPECT_EQ(chat[1].role, "assistant");
  EXPECT_EQ(chat[1].content, "#### 2");
  EXPECT_EQ(chat[2].content, "Question: Why?\nAnswer:");
}

}  // namespace
}  // namespace sluice
