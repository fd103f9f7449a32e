#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "cli/sluice_program.hpp"

namespace sluice {
namespace {

using test::contains;
using test::expect_refusal;
using test::expect_success;
using test::Outcome;
using test::ScratchDirectory;

const std::string kDemo = SLUICE_SOURCE_DIR "/demo";
const std::string kEval = "eval gsm8k --model '" + kDemo + "/trinity-tiny' --data '" + kDemo +
                          "/problems/test.jsonl' --batch 2 ";
const std::string kShort = "--max-new-tokens 16 ";

TEST(EvalVerb, LaysRightBackendOursAndTheBrokenOneSideBySide) {
  const ScratchDirectory scratch;
  const Outcome outcome = expect_success(
      kEval + kShort +
      "--limit 3 --backends reference,cpu --inject drop:router.routed_scaling_factor " +
      "--json '" + scratch.file("e.json") + "'");
  EXPECT_TRUE(contains(outcome.out, "cpu + drop:router.routed_scaling_factor")) << outcome.out;
  EXPECT_TRUE(contains(outcome.out, "with router.routed_scaling_factor lost it still runs"))
      << outcome.out;
  const auto json = nlohmann::json::parse(scratch.read("e.json"));
  ASSERT_EQ(json["runs"].size(), 3u);
  EXPECT_EQ(json["problems"], 3);
  const double right = json["runs"][0]["gold_nll"];
  EXPECT_NEAR(json["runs"][1]["gold_nll"], right, 1e-3 * right);
  EXPECT_LT(json["runs"][1]["mean_kl"], 1e-6);
  EXPECT_EQ(json["runs"][1]["identical_answers"], 1.0);
  // The lost factor is seen by the likelihood even where no answer changes.
  EXPECT_GT(json["runs"][2]["mean_kl"], 1e-4);
  EXPECT_GT(json["runs"][2]["decode_tokens"], 10);
  // A header, three answers of three runs, and the times of three runs in one batch.
  const std::string records = scratch.read("e.json.records.jsonl");
  EXPECT_EQ(std::count(records.begin(), records.end(), '\n'), 1 + 9 + 3);
}

TEST(EvalVerb, ResumesItsRecordsAndRefusesOthers) {
  const ScratchDirectory scratch;
  const std::string common =
      kEval + "--backends cpu --records '" + scratch.file("r.jsonl") + "' --resume ";
  expect_success(common + kShort + "--limit 2");
  const std::string records = scratch.read("r.jsonl");
  EXPECT_TRUE(contains(expect_success(common + kShort + "--limit 2").out,
                       "2 problems came from the records"));
  EXPECT_EQ(scratch.read("r.jsonl"), records);
  expect_refusal(common + kShort + "--limit 3", "problems: 2 in the records, 3 now");
  expect_refusal(common + "--limit 2 --max-new-tokens 8", "max_new_tokens: 16 in the records");
}

TEST(EvalVerb, AnEpsilonOfZeroIsNotTheDefault) {
  const ScratchDirectory scratch;
  const std::string common = "eval gsm8k --model '" + kDemo + "/kimi-linear-tiny' --data '" +
                             kDemo + "/problems/test.jsonl' --limit 1 --max-new-tokens 2" +
                             " --backends cpu --records '" + scratch.file("r.jsonl") + "' --resume";
  expect_success(common + " --kv-a-layernorm-eps 0");
  expect_refusal(common, "kv_a_layernorm_eps: 0.0 in the records, null now");
}

// The weights are not all that answers depend on.
TEST(EvalVerb, RefusesRecordsOfAnotherTokenizerOrOtherStopIds) {
  const ScratchDirectory scratch;
  const std::string model = scratch.file("model");
  std::filesystem::copy(kDemo + "/trinity-tiny", model);
  const std::string common = "eval gsm8k --model '" + model + "' --data '" + kDemo +
                             "/problems/test.jsonl' --limit 1 --max-new-tokens 2 --backends cpu" +
                             " --records '" + scratch.file("r.jsonl") + "' --resume";
  expect_success(common);
  scratch.write("model/generation_config.json", R"({"eos_token_id": [1655, 3]})");
  expect_refusal(common, "stop_ids: [1655] in the records, [1655,3] now");
  std::filesystem::copy(kDemo + "/trinity-tiny/generation_config.json", model,
                        std::filesystem::copy_options::overwrite_existing);
  scratch.write("model/chat_template.jinja", "Q: {{ messages[0].content }}");
  expect_refusal(common, "tokenizer: ");
  expect_refusal(common + " --chat", "first_prompt: ");
}

TEST(EvalVerb, ScoresCompletionsMadeElsewhere) {
  const ScratchDirectory scratch;
  const std::string file =
      scratch.write("c.jsonl",
                    "{\"answer\": \"6*7\\n#### 42\", \"completion\": \"... #### 42\"}\n"
                    "{\"answer\": \"42\", \"completion\": \"so it is 42.\"}\n"
                    "{\"answer\": \"1,042\", \"completion\": \"#### $1,042\"}\n");
  expect_success("eval gsm8k --score '" + file + "' --json '" + scratch.file("s.json") + "'");
  const auto accuracy = nlohmann::json::parse(scratch.read("s.json"))["accuracy"];
  EXPECT_EQ(accuracy["gsm8k"]["correct"], 1);
  EXPECT_EQ(accuracy["lm-eval-strict"]["correct"], 1);
  EXPECT_EQ(accuracy["lm-eval-flexible"]["correct"], 3);
  EXPECT_EQ(accuracy["vllm"]["correct"], 3);
  EXPECT_EQ(accuracy["vllm"]["of"], 3);
  const auto on_stdout =
      nlohmann::json::parse(expect_success("eval gsm8k --score '" + file + "' --json -").out);
  EXPECT_EQ(on_stdout["accuracy"], accuracy);
}

TEST(EvalVerb, ShotsComeFirst) {
  const ScratchDirectory scratch;
  const std::string records = " --records '" + scratch.file("r.jsonl") + "'";
  const std::string shots = " --shots 2 --shots-file '" + kDemo + "/problems/few_shot.jsonl'";
  const Outcome one = expect_success(kEval + kShort + "--limit 1 --backends cpu" + records + shots);
  EXPECT_TRUE(one.out.starts_with("GSM8K, 1 problem, ")) << one.out;
  expect_refusal(kEval + kShort + "--limit 1 --backends cpu --shots 2" + records, "--shots-file");
  expect_refusal(kEval + kShort + "--limit 1 --backends cpu --shots 99" + records +
                     " --shots-file '" + kDemo + "/problems/few_shot.jsonl'",
                 "--shots asks for 99");
}

// Once, however many problems there are.
TEST(EvalVerb, WarnsWhereAnswersMayBecomeLongerThanTheModelWasMadeFor) {
  const ScratchDirectory scratch;
  const std::string eval = kEval + "--limit 3 --backends cpu --records '" +
                           scratch.file("r.jsonl") + "' --max-new-tokens ";
  const std::string err = expect_success(eval + "1024").err;
  const std::string_view made = "sluice: warning: the longest prompt has ";
  EXPECT_TRUE(err.starts_with(made)) << err;
  EXPECT_EQ(err.rfind(made), 0u) << err;
  EXPECT_TRUE(contains(err, " tokens and 1024 may follow, and the model was made for 1024 "))
      << err;
  EXPECT_EQ(expect_success(eval + "16").err, "");
}

TEST(EvalVerb, RefusesFaultsThatWriteOutsideTheirBuffers) {
  for (const std::string fault : {"output-overrun", "workspace-overrun", "zero-tokens-write"}) {
    expect_refusal(kEval + kShort + "--limit 1 --backends cpu --inject double:x --inject " + fault,
                   "sluice audit --inject " + fault);
  }
}

// Loading takes minutes where a model is large; this one cannot be loaded at all.
TEST(EvalVerb, RefusesRunsBeforeItLoadsAny) {
  const std::string eval =
      "eval gsm8k --model /nowhere --data '" + kDemo + "/problems/test.jsonl' --limit 1 ";
  expect_refusal(eval + "--inject drop:router.routed_scaling_facto", "routed_scaling_factor");
  expect_refusal(eval + "--backends cpu,reference,cpu", "\"cpu\" is to be evaluated twice");
  expect_refusal(eval + "--inject double:experts.down_bias --inject double:experts.down_bias",
                 "\"double:experts.down_bias\" is to be evaluated twice");
}

TEST(EvalVerb, RefusesUnknownNames) {
  const ScratchDirectory scratch;
  const std::string records = " --records '" + scratch.file("r.jsonl") + "'";
  expect_refusal(kEval + kShort + "--limit 1 --backends cppu" + records, "cpu");
  expect_refusal(kEval + kShort + "--limit 1 --inject drop:router.routed_scaling_facto" + records,
                 "routed_scaling_factor");
  const std::string bad = scratch.write("p.jsonl", "{\"question\": \"x\"}\n");
  expect_refusal("eval gsm8k --model '" + kDemo + "/trinity-tiny' --data '" + bad + "'", "line 1");
}

}  // namespace
}  // namespace sluice
