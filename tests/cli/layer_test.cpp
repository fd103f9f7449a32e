#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>
#include <sluice/checkpoint.hpp>
#include <sluice/layer.hpp>
#include <vector>

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

// A layer that transformers computed (tools/goldens/moe_layer.py), cut into the verb's files.
class LayerVerb : public ::testing::Test {
 protected:
  LayerVerb() : golden(Checkpoint::open(SLUICE_TEST_DATA "/moe_layer/kimi_linear.safetensors")) {
    std::vector<NamedTensor> weights;
    for (const TensorInfo& tensor : golden.tensors()) {
      if (is_weight(tensor.name)) weights.push_back({tensor.name, golden.tensor(tensor.name)});
    }
    write_safetensors(scratch.file("W.safetensors"), weights);
    weights.push_back({"router.weight", golden.tensor("router_weight")});
    write_safetensors(scratch.file("WR.safetensors"), weights);
    write_inputs("logits.safetensors", {"router_logits"});
    write_inputs("ids.safetensors", {"topk_ids", "topk_weights"});
    write_inputs("hidden.safetensors", {});
  }

  static bool is_weight(const std::string& name) {
    return contains(name, "proj") || contains(name, "bias");
  }

  void write_inputs(const std::string& file, const std::vector<std::string>& names) const {
    std::vector<NamedTensor> tensors{{"hidden_states", golden.tensor("hidden_states")}};
    for (const std::string& name : names) tensors.push_back({name, golden.tensor(name)});
    write_safetensors(scratch.file(file), tensors);
  }

  std::string arguments(const std::string& weights, const std::string& input,
                        const std::string& out, const std::string& backend) const {
    return "layer --spec '" + spec + "' --weights '" + scratch.file(weights) + "' --input '" +
           scratch.file(input) + "' --out '" + scratch.file(out) + "' --backend " + backend;
  }

  void expect_golden(const std::string& out) const {
    const Checkpoint file = Checkpoint::open(scratch.file(out));
    const TensorView ids = file.tensor("topk_ids");
    const TensorView output = file.tensor("output");
    const TensorView wanted_ids = golden.tensor("topk_ids");
    const TensorView wanted = golden.tensor("output");
    ASSERT_EQ(ids.shape, wanted_ids.shape);
    ASSERT_EQ(output.shape, wanted.shape);
    ASSERT_EQ(file.tensor("topk_weights").dtype, DType::f32);
    // The order of a token's experts is the backend's; which they are is not.
    for (std::int64_t token = 0; token < ids.shape[0]; ++token) {
      EXPECT_EQ(row_set(ids, token), row_set(wanted_ids, token)) << token;
    }
    for (std::int64_t i = 0; i < output.shape.elements(); ++i) {
      const float expected = load_float(wanted.data, wanted.dtype, i);
      // fp32 sums of 5 experts of 8 products, in another order.
      EXPECT_NEAR(load_float(output.data, output.dtype, i), expected,
                  2e-5 * (1 + std::abs(expected)))
          << i;
    }
  }

  static std::multiset<std::int64_t> row_set(const TensorView& ids, std::int64_t row) {
    std::multiset<std::int64_t> set;
    for (std::int64_t k = 0; k < ids.shape[1]; ++k) {
      set.insert(load_int(ids.data, ids.dtype, row * ids.shape[1] + k));
    }
    return set;
  }

  const ScratchDirectory scratch;
  const std::string spec = SLUICE_TEST_DATA "/moe_layer/kimi_linear.json";
  const Checkpoint golden;
};

TEST_F(LayerVerb, EqualsTransformersFromEveryEntry) {
  for (const char* backend : {"reference", "cpu"}) {
    expect_success(arguments("W.safetensors", "logits.safetensors", "a.safetensors", backend));
    expect_golden("a.safetensors");
    expect_success(arguments("W.safetensors", "ids.safetensors", "b.safetensors", backend));
    expect_golden("b.safetensors");
    expect_success(arguments("WR.safetensors", "hidden.safetensors", "c.safetensors", backend));
    expect_golden("c.safetensors");
  }
}

TEST_F(LayerVerb, SaysWhatRan) {
  const Outcome outcome =
      expect_success(arguments("W.safetensors", "logits.safetensors", "y.safetensors", "cpu") +
                     " --threads 1 --json '" + scratch.file("run.json") + "'");
  EXPECT_TRUE(contains(outcome.out, "cpu")) << outcome.out;
  const auto json = nlohmann::json::parse(scratch.read("run.json"));
  EXPECT_EQ(json["backend"], "cpu");
  EXPECT_EQ(json["tokens"], 12);
  EXPECT_EQ(json["spec"]["router"]["routed_scaling_factor"], 2.446);
  EXPECT_EQ(Checkpoint::open(scratch.file("y.safetensors")).metadata().at("backend"), "cpu");
}

TEST_F(LayerVerb, RoundsF32WeightsToTheFormat) {
  auto json = nlohmann::json::parse(std::ifstream(spec));
  json["experts"]["weight_format"] = "bf16";
  const std::string narrow = scratch.write("narrow.json", json.dump());
  std::vector<NamedTensor> tensors;
  std::vector<std::vector<std::uint16_t>> rounded;
  for (const TensorInfo& tensor : golden.tensors()) {
    if (!is_weight(tensor.name)) continue;
    const TensorView view = golden.tensor(tensor.name);
    if (contains(tensor.name, "bias")) {
      tensors.push_back({tensor.name, view});
      continue;
    }
    auto& values = rounded.emplace_back();
    for (std::int64_t i = 0; i < view.shape.elements(); ++i) {
      values.push_back(float_to_bf16(load_float(view.data, view.dtype, i)));
    }
    tensors.push_back({tensor.name, {values.data(), DType::bf16, view.shape, {}}});
  }
  write_safetensors(scratch.file("bf16.safetensors"), tensors);
  const auto run = [&](const char* weights, const char* out) {
    expect_success("layer --spec '" + narrow + "' --weights '" + scratch.file(weights) +
                   "' --input '" + scratch.file("logits.safetensors") + "' --out '" +
                   scratch.file(out) + "' --backend reference");
    return scratch.read(out);
  };
  EXPECT_EQ(run("W.safetensors", "from_f32.safetensors"),
            run("bf16.safetensors", "from_bf16.safetensors"));
}

TEST_F(LayerVerb, ShardsTakeTheirExpertsFromAllAndAddUp) {
  std::vector<double> sum(12 * 24, 0.0);
  for (int offset : {0, 11}) {
    auto json = nlohmann::json::parse(std::ifstream(spec));
    json["layer"]["local_expert_offset"] = offset;
    json["layer"]["num_local_experts"] = offset == 0 ? 11 : 5;
    if (offset > 0) json["layer"]["num_shared_experts"] = 0;
    const std::string shard = scratch.write("shard.json", json.dump());
    std::vector<NamedTensor> tensors;
    for (const TensorInfo& tensor : golden.tensors()) {
      if (!is_weight(tensor.name) || (offset > 0 && contains(tensor.name, "shared"))) continue;
      tensors.push_back({tensor.name, golden.tensor(tensor.name)});
    }
    write_safetensors(scratch.file("all.safetensors"), tensors);
    expect_success("layer --spec '" + shard + "' --weights '" + scratch.file("all.safetensors") +
                   "' --input '" + scratch.file("logits.safetensors") + "' --out '" +
                   scratch.file("part.safetensors") + "' --backend reference");
    const Checkpoint part = Checkpoint::open(scratch.file("part.safetensors"));
    const TensorView output = part.tensor("output");
    for (std::size_t i = 0; i < sum.size(); ++i) {
      sum[i] += load_float(output.data, output.dtype, static_cast<std::int64_t>(i));
    }
  }
  const TensorView wanted = golden.tensor("output");
  for (std::size_t i = 0; i < sum.size(); ++i) {
    const float expected = load_float(wanted.data, wanted.dtype, static_cast<std::int64_t>(i));
    EXPECT_NEAR(sum[i], expected, 2e-5 * (1 + std::abs(expected))) << i;
  }
}

TEST_F(LayerVerb, RefusesByName) {
  const std::string y = "y.safetensors";
  expect_refusal(arguments("W.safetensors", "hidden.safetensors", y, "cpu"), "router.weight");
  expect_refusal(arguments("W.safetensors", "W.safetensors", y, "cpu"), "hidden_states");
  expect_refusal(arguments("ids.safetensors", "logits.safetensors", y, "cpu"), "hidden_states");
  expect_refusal(arguments("W.safetensors", "logits.safetensors", y, "gpu"), "reference");
  write_safetensors(
      scratch.file("misspelt.safetensors"),
      std::vector<NamedTensor>{{"e_score_corection_bias", golden.tensor("router_logits")}});
  expect_refusal(arguments("misspelt.safetensors", "logits.safetensors", y, "cpu"),
                 "did you mean \"e_score_correction_bias\"");
  // What the name keeps from its place, and whatever else is wrong, in the same error.
  for (const char* missing : {"e_score_correction_bias is missing", "gate_up_proj has 0 experts",
                              "down_proj has 0 experts", "shared.down_proj is missing"}) {
    expect_refusal(arguments("misspelt.safetensors", "logits.safetensors", y, "cpu"), missing);
  }
  expect_refusal(
      arguments("W.safetensors", "logits.safetensors", y, "cpu") + " --inject output-overrun",
      "would damage the program itself");
  scratch.write("bad.json", R"({"router": {"num_experts": 8, "top_kk": 2}})");
  expect_refusal("layer --spec '" + scratch.file("bad.json") + "' --weights w --input x --out y",
                 "did you mean \"top_k\"");
  EXPECT_NE(run_sluice("inspect --spec '" + scratch.file("bad.json") + "'").code, 0);
  EXPECT_FALSE(std::filesystem::exists(scratch.file(y)));
}

}  // namespace
}  // namespace sluice
