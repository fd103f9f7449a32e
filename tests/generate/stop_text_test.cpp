#include "generate/stop_text.hpp"

#include <gtest/gtest.h>

#include <sluice/error.hpp>

namespace sluice {
namespace {

struct Outcome {
  std::string text;
  bool stopped;
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

Outcome run(const std::vector<std::string>& stops, const std::vector<std::string>& pieces) {
  StopText filter(stops);
  Outcome outcome{};
  for (const std::string& piece : pieces) outcome.text += filter.push(piece);
  outcome.stopped = filter.stopped();
  outcome.text += filter.finish();
  return outcome;
}

TEST(StopText, TheSameWhereverPiecesBegin) {
  const std::string text = "a###b##\n#### 42\nQuestion";
  const std::vector<std::vector<std::string>> rules{
      {"####"}, {"\nQ"}, {"Question:", "\nQ"}, {"##\n##", "###"}, {"zz"}, {"t", "stio"}, {}};
  const std::vector<Outcome> expected{{"a###b##\n", true},
                                      {"a###b##\n#### 42", true},
                                      {"a###b##\n#### 42", true},
                                      {"a", true},
                                      {text, false},
                                      {"a###b##\n#### 42\nQues", true},
                                      {text, false}};
  for (std::size_t rule = 0; rule < rules.size(); ++rule) {
    for (std::size_t size = 1; size <= text.size(); ++size) {
      std::vector<std::string> pieces;
      for (std::size_t at = 0; at < text.size(); at += size)
        pieces.push_back(text.substr(at, size));
      EXPECT_EQ(run(rules[rule], pieces), expected[rule]) << "rule " << rule << " size " << size;
    }
  }
}

TEST(StopText, OfMatchesThatEndTogetherTheLongest) {
  EXPECT_EQ(run({"c", "abc", "bc"}, {"xabcd"}), (Outcome{"x", true}));
  // "bc" is complete before "abcd" is.
  EXPECT_EQ(run({"abcd", "bc"}, {"xabcd"}), (Outcome{"xa", true}));
}

TEST(StopText, ShowsWhatCannotBecomeAStopAtOnce) {
  StopText filter({"abab!"});
  EXPECT_EQ(filter.push("xab"), "x");
  EXPECT_EQ(filter.push("ab"), "");
  EXPECT_EQ(filter.push("ab"), "ab");  // "abab" may still begin one, the first "ab" not
  EXPECT_EQ(filter.push("c"), "ababc");
  EXPECT_EQ(filter.push("abab!rest"), "");
  EXPECT_TRUE(filter.stopped());
  EXPECT_EQ(filter.push("more"), "");
  EXPECT_EQ(filter.finish(), "");
}

TEST(StopText, RefusesAnEmptyStop) { EXPECT_THROW(StopText({"a", ""}), Error); }

}  // namespace
}  // namespace sluice
