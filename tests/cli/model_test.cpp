// inspect, tokenize, logits and run on the bundled model.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <filesystem>
#include <fstream>
#include <sluice/checkpoint.hpp>
#include <sluice/model.hpp>

#include "base/element.hpp"
#include "cli/sluice_program.hpp"

namespace sluice {
namespace {

using test::contains;
using test::expect_refusal;
using test::expect_success;
using test::Outcome;
using test::run_sluice;
using test::ScratchDirectory;

const std::string kModel = SLUICE_SOURCE_DIR "/demo/trinity-tiny";

TEST(InspectVerb, ShowsFieldsBackendsAndTensorsOfAModel) {
  const ScratchDirectory scratch;
  const Outcome outcome = expect_success("inspect '" + kModel + "' --tensors --load --json '" +
                                         scratch.file("i.json") + "'");
  EXPECT_TRUE(contains(outcome.out, "router.routed_scaling_factor")) << outcome.out;
  const auto json = nlohmann::json::parse(scratch.read("i.json"));
  EXPECT_EQ(json["model_type"], "afmoe");
  EXPECT_EQ(json["layers"][0]["mlp"], "dense");
  EXPECT_EQ(json["layers"][1]["backend"], "cpu");
  EXPECT_EQ(json["specs"].size(), 1u);
  EXPECT_EQ(json["specs"][0]["spec"]["router"]["routed_scaling_factor"], 2.826);
  EXPECT_EQ(json["tensors"].size(), json["tensor_count"]);
  EXPECT_GT(json["memory"]["weight_bytes"], json["memory"]["expert_bytes"]);
  std::size_t neutral = 0;
  for (const auto& field : json["specs"][0]["fields"]) neutral += field["is_neutral"] == true;
  EXPECT_GT(neutral, 10u);
  EXPECT_LT(neutral, json["specs"][0]["fields"].size());
}

TEST(InspectVerb, ExitsOneAndNamesTheFieldWhenNobodyTakesTheLayer) {
  const ScratchDirectory scratch;
  // num_experts beyond what the CPU backend documents as its limit is still legal for a spec.
  const std::string spec = scratch.write("s.json", R"({
      "router": {"num_experts": 8192, "top_k": 2},
      "experts": {"hidden_size": 64, "intermediate_size": 64}})");
  const Outcome outcome = run_sluice("inspect --spec '" + spec + "' --backend cpu");
  EXPECT_EQ(outcome.code, 1) << outcome.out << outcome.err;
  EXPECT_TRUE(contains(outcome.out, "router.num_experts")) << outcome.out;
  EXPECT_TRUE(contains(outcome.out, "refuses")) << outcome.out;
  // The reasons stand above it: no colon that announces what does not come.
  EXPECT_TRUE(contains(outcome.out, "\nbackend cpu was asked for and cannot compute this layer\n"))
      << outcome.out;
}

// The config alone has a backend for every layer; the files are another matter.
TEST(InspectVerb, ExitsOneAndListsTensorsThatContradictTheConfig) {
  const ScratchDirectory scratch;
  std::filesystem::copy(kModel, scratch.file("model"));
  auto config = nlohmann::json::parse(scratch.read("model/config.json"));
  config["moe_intermediate_size"] = config["moe_intermediate_size"].get<int>() + 8;
  config["num_hidden_layers"] = config["num_hidden_layers"].get<int>() + 1;
  config["layer_types"].push_back("full_attention");
  scratch.write("model/config.json", config.dump());
  const std::string inspect = "inspect '" + scratch.file("model") + "' ";
  for (const std::string options : {"", "--load"}) {
    const Outcome outcome = run_sluice(inspect + options);
    EXPECT_EQ(outcome.code, 1) << outcome.out << outcome.err;
    EXPECT_TRUE(contains(outcome.out, "the checkpoint's tensors are not those of its config:\n  "))
        << outcome.out;
    EXPECT_TRUE(contains(outcome.out, "\n  misshapen: \"model.layers.")) << outcome.out;
    EXPECT_TRUE(contains(outcome.out, " more\n")) << outcome.out;
  }
  const Outcome outcome = run_sluice(inspect + "--json -");
  EXPECT_EQ(outcome.code, 1) << outcome.err;
  const auto problems = nlohmann::json::parse(outcome.out)["tensor_problems"];
  ASSERT_EQ(problems.size(), 21u);
  EXPECT_TRUE(problems[0].get<std::string>().starts_with("misshapen: \"model.layers."))
      << problems[0];
  EXPECT_EQ(nlohmann::json::parse(
                expect_success("inspect '" + kModel + "' --json -").out)["tensor_problems"],
            nlohmann::json::array());
}

// A config says nothing of it, and backends take one and refuse the other.
TEST(InspectVerb, SaysWhatTheExpertsOfTheseFilesAreStoredIn) {
  const ScratchDirectory scratch;
  std::filesystem::copy(kModel, scratch.file("model"));
  const Checkpoint checkpoint = Checkpoint::open(kModel);
  std::vector<NamedTensor> tensors;
  std::deque<std::vector<float>> wide;
  for (const TensorInfo& info : checkpoint.tensors()) {
    TensorView view = checkpoint.tensor(info.name);
    std::vector<float>& values = wide.emplace_back();
    for (std::int64_t i = 0; i < view.shape.elements(); ++i) {
      values.push_back(load_float(view.data, view.dtype, i));
    }
    tensors.push_back({info.name, {values.data(), DType::f32, view.shape, {}}});
  }
  write_safetensors(scratch.file("model/model.safetensors"), tensors);
  const auto json =
      nlohmann::json::parse(expect_success("inspect '" + scratch.file("model") + "' --json -").out);
  EXPECT_EQ(json["specs"][0]["spec"]["experts"]["weight_format"], "f32") << json["specs"][0];
  const auto model = load_model(scratch.file("model"));
  EXPECT_EQ(json["specs"][0]["variant"], model->layer_variant(1));
}

// More experts than the CPU backend takes, in a model that is small otherwise.
TEST(InspectVerb, ReportsRefusalsWithLoadToo) {
  const ScratchDirectory scratch;
  const std::string golden = SLUICE_TEST_DATA "/afmoe/gqa_window";
  std::filesystem::create_directory(scratch.file("model"));
  const Checkpoint checkpoint = Checkpoint::open(golden);
  auto config = nlohmann::json::parse(checkpoint.config_text());
  constexpr std::int64_t kExperts = 8192;
  const std::int64_t hidden = config["hidden_size"], width = config["moe_intermediate_size"];
  config["num_experts"] = kExperts;
  scratch.write("model/config.json", config.dump());
  const std::vector<float> zeros(static_cast<std::size_t>(kExperts * width * hidden));
  const auto zero = [&](const Shape& shape) {
    return TensorView{zeros.data(), DType::f32, shape, {}};
  };
  std::vector<NamedTensor> tensors;
  for (const TensorInfo& info : checkpoint.tensors()) {
    if (info.name.find(".mlp.experts.") != std::string::npos) continue;
    TensorView view = checkpoint.tensor(info.name);
    if (info.name.ends_with("router.gate.weight")) view = zero({kExperts, hidden});
    if (info.name.ends_with("expert_bias")) {
      view = zero({kExperts});
      const std::string mlp = info.name.substr(0, info.name.size() - 11);
      tensors.push_back({mlp + "experts.gate_proj.weight", zero({kExperts, width, hidden})});
      tensors.push_back({mlp + "experts.up_proj.weight", zero({kExperts, width, hidden})});
      tensors.push_back({mlp + "experts.down_proj.weight", zero({kExperts, hidden, width})});
    }
    tensors.push_back({info.name, view});
  }
  write_safetensors(scratch.file("model/model.safetensors"), tensors);
  for (const std::string options : {"", " --load"}) {
    const Outcome outcome =
        run_sluice("inspect '" + scratch.file("model") + "' --backend cpu" + options);
    EXPECT_EQ(outcome.code, 1) << outcome.err;
    EXPECT_TRUE(contains(outcome.out, "router.num_experts is 8192")) << outcome.out;
  }
}

TEST(InspectVerb, ReadsAConfigOfAnyKnownFamily) {
  const std::string data = SLUICE_TEST_DATA "/configs/";
  EXPECT_TRUE(contains(expect_success("inspect --config '" + data + "glm_4_5.json'").out,
                       "router.routed_scaling_factor"));
  // Released in fp8: the reference unpacks it, whoever else does not.
  EXPECT_TRUE(contains(expect_success("inspect --config '" + data + "deepseek_v3.json'").out,
                       "fp8_e4m3_block128"));
  expect_refusal("inspect --config '" + data + "expected.json'",
                 "configs/expected.json has no model_type");
}

TEST(InspectVerb, ListsTheTensorsThatAConfigAsksFor) {
  const std::string data = SLUICE_TEST_DATA "/configs/";
  const auto tensors = [&](const std::string& config) {
    return nlohmann::json::parse(
        expect_success("inspect --config '" + data + config + "' --tensors --json -").out);
  };
  const auto kimi = tensors("kimi_linear_48b.json");
  EXPECT_EQ(kimi["tensor_count"], 20493);
  EXPECT_EQ(kimi["tensors"].size(), 20493u);
  EXPECT_EQ(kimi["layers"][3]["mixer"], "mla");
  EXPECT_EQ(tensors("trinity_mini.json")["tensors"].size(), 12031u);
}

TEST(TokenizeVerb, GoesThereAndBack) {
  const std::string text = "Question: Elena has 435 books.";
  const Outcome there = expect_success("tokenize --model '" + kModel + "' '" + text + "'");
  const auto ids = nlohmann::json::parse(there.out);
  ASSERT_GT(ids.size(), 3u);
  const ScratchDirectory scratch;
  const std::string file = scratch.write("ids.json", there.out);
  EXPECT_EQ(expect_success("tokenize --model '" + kModel + "' --decode --file '" + file + "'").out,
            text + "\n");
  const Outcome table = expect_success("tokenize --model '" + kModel + "' --tokens '" + text + "'");
  EXPECT_TRUE(contains(table.out, ids.back().dump())) << table.out;
  expect_refusal("tokenize --model '" + kModel + "' --decode '[1, -2]'", "list of ids");
  expect_refusal("tokenize --model '" + kModel + "' --decode '[5, 999999]'",
                 "id 999999 (number 2 of the list) is no token; ids of this tokenizer end at ");
}

TEST(LogitsVerb, WritesWhatTheLibraryComputes) {
  const ScratchDirectory scratch;
  const std::string ids = scratch.write("ids.json", "[[5, 6, 7, 300], [9]]");
  expect_success("logits --model '" + kModel + "' --ids '" + ids + "' --backend reference --out '" +
                 scratch.file("l.safetensors") + "'");
  const Checkpoint file = Checkpoint::open(scratch.file("l.safetensors"));
  EXPECT_EQ(file.tensor("logits.1").shape[0], 1);
  const TensorView logits = file.tensor("logits.0");

  const auto model = load_model(kModel, {.backend = "reference", .executor = make_executor(1)});
  const auto sequence = model->new_sequence();
  const std::vector<std::int32_t> list{5, 6, 7, 300};
  const SequenceInput input{sequence.get(), list, kAllPositions};
  Logits expected;
  model->forward({&input, 1}, expected);
  ASSERT_EQ(logits.shape, Shape({4, expected.vocab_size()}));
  double largest = 0.0;
  double worst = 0.0;
  for (std::int64_t i = 0; i < logits.shape.elements(); ++i) {
    const float value = expected.row(
        i / expected.vocab_size())[static_cast<std::size_t>(i % expected.vocab_size())];
    largest = std::max<double>(largest, std::abs(value));
    worst = std::max<double>(worst, std::abs(value - load_float(logits.data, logits.dtype, i)));
  }
  EXPECT_GT(largest, 1.0);
  EXPECT_LE(worst, 1e-5 * largest);

  expect_success("logits --model '" + kModel + "' --ids '" + ids + "' --pieces 2,1 --out '" +
                 scratch.file("p.safetensors") + "'");
  const Checkpoint pieces = Checkpoint::open(scratch.file("p.safetensors"));
  EXPECT_EQ(pieces.tensor("logits.1").shape, file.tensor("logits.1").shape);
  const TensorView again = pieces.tensor("logits.0");
  ASSERT_EQ(again.shape, logits.shape);
  for (std::int64_t i = 0; i < logits.shape.elements(); ++i) {
    ASSERT_NEAR(load_float(again.data, again.dtype, i), load_float(logits.data, logits.dtype, i),
                1e-5 * largest);
  }
  const std::string never = scratch.file("never.safetensors");
  const auto refused = [&](const std::string& ids_file, const std::string& reason) {
    expect_refusal("logits --model '" + kModel + "' --ids '" + ids_file + "' --out '" + never + "'",
                   reason);
    EXPECT_FALSE(std::filesystem::exists(never));
  };
  refused(scratch.write("bad.json", "[1.5]"), "no token id");
  const std::string deep = std::string(100000, '[') + std::string(100000, ']');
  refused(scratch.write("deep.json", deep), "array is no token id");
}

TEST(RunVerb, AnswersTheFirstDemoProblem) {
  const std::string golden = SLUICE_TEST_DATA "/demo/trinity_tiny_greedy.jsonl";
  std::ifstream file(golden);
  std::string line;
  std::getline(file, line);
  const auto json = nlohmann::json::parse(line);
  const ScratchDirectory scratch;
  const std::string prompt = scratch.write("prompt.txt", json["prompt"]);
  const Outcome outcome = expect_success("run --model '" + kModel + "' --file '" + prompt +
                                         "' --verbose --max-new-tokens 24");
  const std::string expected = json["completion"];
  ASSERT_GT(outcome.out.size(), 20u);
  EXPECT_EQ(outcome.out, expected.substr(0, outcome.out.size() - 1) + "\n");
  EXPECT_TRUE(contains(outcome.err, "tokens per second")) << outcome.err;
}

TEST(RunVerb, SameSeedSameText) {
  const std::string common =
      "run --model '" + kModel + "' --temperature 2 --max-new-tokens 16 'Question: Tess' --seed ";
  const std::string first = expect_success(common + "1").out;
  EXPECT_EQ(expect_success(common + "1").out, first);
  EXPECT_NE(expect_success(common + "2").out, first);
  expect_refusal(common + "1 --top-p 1.5", "top_p");
  expect_refusal("run --model '" + kModel + "' --system x hi", "--chat");
}

// The demo model was made for 1024 positions.
TEST(RunVerb, WarnsOnceWhereTheTextMayBecomeLongerThanTheModelWasMadeFor) {
  const std::string run = "run --model '" + kModel + "' --stop . 'Tess has 3.' --max-new-tokens ";
  const std::size_t prompt =
      nlohmann::json::parse(expect_success("tokenize --model '" + kModel + "' 'Tess has 3.'").out)
          .size();
  const auto warning = [&](std::size_t more) {
    return "sluice: warning: the prompt has " + std::to_string(prompt) + " tokens and " +
           std::to_string(more) + " may follow, and the model was made for 1024 ";
  };
  const Outcome longer = expect_success(run + std::to_string(1025 - prompt));
  EXPECT_TRUE(longer.err.starts_with(warning(1025 - prompt))) << longer.err;
  EXPECT_EQ(std::count(longer.err.begin(), longer.err.end(), '\n'), 1) << longer.err;
  EXPECT_EQ(expect_success(run + std::to_string(1024 - prompt)).err, "");
  EXPECT_TRUE(contains(expect_success(run + "9223372036854775807").err, "made for 1024"));
}

TEST(LogitsVerb, WarnsOfIdsBeyondTheModelsPositions) {
  const ScratchDirectory scratch;
  const auto warnings = [&](std::size_t ids) {
    const std::string file = scratch.write("ids.json", nlohmann::json(std::vector(ids, 5)).dump());
    return expect_success("logits --model '" + kModel + "' --ids '" + file + "' --out '" +
                          scratch.file("l.safetensors") + "'")
        .err;
  };
  EXPECT_EQ(warnings(1024), "");
  EXPECT_TRUE(warnings(1025).starts_with(
      "sluice: warning: the longest list has 1025 tokens, and the model was made for 1024 "));
}

}  // namespace
}  // namespace sluice
