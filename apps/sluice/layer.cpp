// sluice layer: one MoE layer on given tensors.
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <sluice/audit.hpp>
#include <sluice/layer.hpp>
#include <sluice/plugin_backend.hpp>

#include "at_least.hpp"
#include "base/fail.hpp"
#include "layer_tensors.hpp"
#include "output/files.hpp"
#include "output/table.hpp"
#include "output/to_stderr.hpp"
#include "refuse_overrun.hpp"
#include "refuse_shared_files.hpp"
#include "spec_file.hpp"
#include "verb.hpp"
#include "writable.hpp"

namespace sluice::cli {
namespace {

constexpr const char* kFooter =
    R"(Tensors in W ([E, I, H] and [S, H] if the activation is not gated). Experts come stacked: all E in
global order, as in a checkpoint, whatever expert_map says; or only this rank's, in local order:
  gate_up_proj [E, 2I, H]   down_proj [E, H, I]   in the spec's weight_format; F32 is rounded to it
  gate_up_scale, down_scale       if weight_format has scales, for a matrix [R, C] of each expert:
    fp8_e4m3_tensor [E]   fp8_e4m3_channel [E, R]   fp8_e4m3_block128 [E, R/128, C/128], rounded up
    int4 [E, R, C/32] or [E, R, C/128]   mxfp4 [E, R, C/32]
    nvfp4 [E, R, C/16] and gate_up_global_scale [E], down_global_scale [E]
  e_score_correction_bias [E]   router_bias [E]   gate_up_bias [E, 2I]   down_bias [E, H]
  shared.gate_up_proj [2S, H]   shared.down_proj [H, S]   shared_expert_gate [H]
  router.weight [E, H]      only if X gives neither logits nor ids
Tensors in X:  hidden_states [T, H], and one of
  router_logits [T, E]      or   topk_ids [T, K] with topk_weights [T, K]      or neither
  (ids packed with their weights into one int32 must be split first: id = packed >> 16, the weight
  is a BF16 of the low 16 bits)
Tensors in Y:  output [T, H], topk_ids [T, K] I32, topk_weights [T, K] F32

Example: is the answer of this layer the same on two backends?
  echo '{"router": {"num_experts": 8, "top_k": 2, "routing_method": "DeepSeekV3",
         "routed_scaling_factor": 2.5},
         "experts": {"hidden_size": 64, "intermediate_size": 128}}' > S.json
  sluice layer --spec S.json --weights W.safetensors --input X.safetensors \
               --backend reference --out reference.safetensors
  sluice layer --spec S.json --weights W.safetensors --input X.safetensors \
               --backend cpu --out cpu.safetensors)";

struct Options {
  std::string spec;
  std::string weights;
  std::string input;
  std::string backend;
  std::string plugin;
  std::string inject;
  std::string out;
  std::string json;
  int threads = 0;
  bool round_slot_outputs = false;
};

struct OutputBuffers {
  OutputBuffers(const MoeSpec& spec, std::int64_t tokens, DType dtype)
      : output_shape{tokens, spec.experts.hidden_size},
        routing_shape{tokens, spec.router.top_k},
        dtype(dtype),
        // One byte more than nothing, so that T = 0 has an address too.
        output(static_cast<std::size_t>(output_shape.elements() * bits(dtype) / 8 + 1)),
        ids(static_cast<std::size_t>(routing_shape.elements() + 1)),
        weights(static_cast<std::size_t>(routing_shape.elements() + 1)) {}

  ForwardOutput views() {
    return {{output.data(), dtype, output_shape, {}},
            {ids.data(), DType::i32, routing_shape, {}},
            {weights.data(), DType::f32, routing_shape, {}}};
  }

  Shape output_shape;
  Shape routing_shape;
  DType dtype;
  AlignedBuffer output;
  std::vector<std::int32_t> ids;
  std::vector<float> weights;
};

const char* entry_name(const ForwardInput& input) {
  if (input.router_logits) return "hidden_states + router_logits";
  return input.topk_ids ? "hidden_states + topk_ids + topk_weights"
                        : "hidden_states + router.weight";
}

// A backend that is on no list, with what keeps it alive; null where a name says enough.
struct Unlisted {
  std::unique_ptr<Backend> plugin;
  std::unique_ptr<Backend> faulty;
  const Backend* backend = nullptr;
};

Unlisted unlisted_backend(const Options& options, const MoeSpec& spec) {
  Unlisted chosen;
  if (!options.plugin.empty()) {
    chosen.plugin = load_plugin(options.plugin);
    chosen.backend = chosen.plugin.get();
  }
  if (!options.inject.empty()) {
    refuse_overrun(options.inject, "the program itself");
    const Backend* inner =
        chosen.plugin ? chosen.backend : choose_backend(spec, options.backend).backend;
    chosen.faulty = inject(*inner, options.inject);
    chosen.backend = chosen.faulty.get();
  }
  return chosen;
}

int run_layer(const CLI::App& app, const Options& options) {
  refuse_shared_files(app, {"--out", "--json"}, {"--spec", "--weights", "--input", "--plugin"});
  const MoeSpec spec = read_spec(options.spec);
  validate(spec);
  const LayerInput input(options.input);
  LayerOptions layer_options;
  const Unlisted unlisted = unlisted_backend(options, spec);
  layer_options.backend = options.backend;
  layer_options.instance = unlisted.backend;
  layer_options.load.executor = make_executor(options.threads);
  layer_options.load.may_round_slot_outputs = options.round_slot_outputs;
  MoeLayer layer = [&] {
    const LayerWeights file(options.weights, spec);
    return MoeLayer(spec, file.weights(), layer_options);
  }();

  const TensorView& hidden = input.tensors.hidden_states;
  if (hidden.shape.rank() != 2) {
    fail(ErrorKind::user, "hidden_states has shape {}; the layer needs [tokens, {}]",
         to_string(hidden.shape), spec.experts.hidden_size);
  }
  const std::int64_t tokens = hidden.shape[0];
  OutputBuffers buffers(spec, tokens, layer.output_dtype(hidden.dtype));
  const ForwardOutput output = buffers.views();
  const auto start = std::chrono::steady_clock::now();
  layer.forward(input.tensors, output);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const NamedTensor named[] = {{"output", output.output},
                               {"topk_ids", output.topk_ids},
                               {"topk_weights", output.topk_weights}};
  write_safetensors(
      options.out, named,
      {{"backend", std::string(layer.backend().name())}, {"variant", layer.variant()}});

  if (!input.unread.empty()) {
    to_stderr(fmt::format("sluice: note: not read from {}: {}\n", options.input,
                          fmt::join(input.unread, ", ")));
  }
  if (!options.json.empty()) {
    write_json(options.json, {{"spec", nlohmann::ordered_json::parse(print_spec(spec))},
                              {"backend", layer.backend().name()},
                              {"variant", layer.variant()},
                              {"entry", entry_name(input.tensors)},
                              {"tokens", tokens},
                              {"output_dtype", to_string(buffers.dtype)},
                              {"seconds", seconds},
                              {"weight_bytes", layer.weight_bytes()},
                              {"workspace_bytes", layer.workspace_bytes(tokens)},
                              {"out", options.out}});
  }
  if (options.json == "-") return kOk;
  Table table({{"what"}, {"value"}});
  table.add({"backend", std::string(layer.backend().name())});
  table.add({"variant", layer.variant()});
  table.add({"entry", entry_name(input.tensors)});
  table.add({"tokens", fmt::format("{}", tokens)});
  table.add(
      {"output", fmt::format("{} {}", to_string(buffers.output_shape), to_string(buffers.dtype))});
  table.add({"time", fmt::format("{:.3f} ms", seconds * 1e3)});
  table.add({"packed weights", human_bytes(static_cast<double>(layer.weight_bytes()))});
  table.add({"workspace", human_bytes(static_cast<double>(layer.workspace_bytes(tokens)))});
  table.add({"written to", options.out});
  fmt::print("{}", table.text());
  return kOk;
}

}  // namespace

Run declare_layer(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("--spec", options->spec, "The layer's spec, JSON")->required();
  app.add_option("--weights", options->weights, "W: the layer's weights, safetensors")->required();
  app.add_option("--input", options->input, "X: the tokens, safetensors")->required();
  app.add_option("--out", options->out, "Y: where the result goes, safetensors")
      ->required()
      ->check(writable_file());
  auto* backend =
      app.add_option("--backend", options->backend,
                     "Use this backend or fail; without it the first that honours every field");
  app.add_option(
         "--plugin", options->plugin,
         "Use the backend in this shared object, in this process: what it does to memory, it "
         "does here")
      ->excludes(backend);
  app.add_option("--inject", options->inject,
                 "Make the backend wrong first, as `sluice audit --inject`");
  app.add_option("--json", options->json, "Write what ran and its figures here; - is stdout")
      ->check(writable());
  app.add_option("--threads", options->threads, "Worker threads; 0: one per core")
      ->check(at_least(0));
  app.add_flag("--round-slot-outputs", options->round_slot_outputs,
               "Let the backend keep expert outputs in the activation format until it sums them; "
               "cuda does");
  app.footer(kFooter);
  return [options, &app] { return run_layer(app, *options); };
}

}  // namespace sluice::cli
