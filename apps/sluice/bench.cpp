// sluice bench moe: whole layers against what this machine could do at most.
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "at_least.hpp"
#include "backends/asked_backend.hpp"
#include "base/write_target.hpp"
#include "moe_bench.hpp"
#include "number_checks.hpp"
#include "output/files.hpp"
#include "output/progress.hpp"
#include "refuse_beside.hpp"
#include "verb.hpp"
#include "writable.hpp"

namespace sluice::cli {
namespace {

constexpr const char* kFooter =
    R"(One row per number of tokens: the time from router logits to output, and how near it is to the
floor, the larger of (bytes of the experts that were hit / read bandwidth) and (operations /
arithmetic rate), both measured in the same rounds. A few tokens of every row are compared with the
reference before it is timed. On a GPU the rate is that of a large product of cuBLAS, and times are
of graphs of eight routings.

On the CPU a peer computes the same experts in the same rounds; its routing is not timed. What it
makes is compared with the reference too. Which peers there are was decided when this was built:
  onednn   two matrix products of oneDNN per expert; taken where no other is named
  ggml     the MoE layer of ik_llama.cpp or of upstream's ggml (docs/performance.md, How to measure)

Examples:
  sluice bench moe --shape trinity-mini
  sluice bench moe --shape trinity-mini --tokens 1,64 --draw zipf --threads 1 --json bench.json
  sluice bench moe --shape qwen3-30b --peer ggml
  sluice bench moe --backend cuda --shape deepseek-v3 --tokens 1,64,4096 --routing hot
  sluice bench moe --backend cuda --shape 4096,1536,64,6
  sluice bench moe --shapes                    the layers that have names)";

struct Options {
  std::string shape;
  std::string draw = "uniform";
  std::string backend;
  std::string json;
  bool shapes = false;
  bool no_peer = false;
  bench::MoeBenchOptions bench;
};

int list_shapes() {
  for (const bench::Shape& shape : bench::shapes()) {
    fmt::print("{:<24} hidden {}, intermediate {}, {} of {} experts\n", shape.name, shape.hidden,
               shape.intermediate, shape.top_k, shape.experts);
  }
  return kOk;
}

void write_report(const std::string& path, const bench::MoeBenchReport& report) {
  write_json(path, nlohmann::ordered_json::parse(bench::to_json(report)));
}

int run_bench(const CLI::App& moe, Options& options) {
  refuse_beside(moe, "--shapes", {}, "it lists the layers and measures nothing");
  if (options.shapes) return list_shapes();
  if (const std::string asked = asked_backend(options.backend); !asked.empty()) {
    options.bench.backend = backend(asked).name();  // known, before memory for the layer is taken
  }
  options.bench.shape = bench::shape(options.shape);
  options.bench.draw = bench::parse_draw(options.draw);
  if (options.no_peer) options.bench.peer = "none";
  // After every row where that replaces a file; a pipe, say, gets one report.
  const bool given = !options.json.empty();
  const bool replaced = given && options.json != "-" && !write_target(options.json).in_place;
  bench::MoeBenchReport report;
  {
    ProgressLine line("measuring");
    const auto keep = [&](const bench::MoeBenchReport& so_far) {
      line.update(static_cast<double>(so_far.rows.size()),
                  static_cast<double>(options.bench.tokens.size()));
      // Whoever stops the run, or a later row that fails, loses none of them.
      if (replaced) write_report(options.json, so_far);
    };
    report = bench::run_moe_bench(options.bench, keep);
  }
  if (given && !replaced) write_report(options.json, report);
  if (options.json != "-") fmt::print("{}", bench::to_text(report));
  return kOk;
}

}  // namespace

Run declare_bench(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.require_subcommand(1);
  CLI::App& moe = *app.add_subcommand("moe", "MoE layers of known models");
  auto* what = moe.add_option_group("what", "one of");
  what->add_option("--shape", options->shape, "The layer, by its model's name, or H,I,E,K");
  what->add_flag("--shapes", options->shapes, "List the layers");
  what->require_option(1);
  moe.add_option("--tokens", options->bench.tokens, "Numbers of tokens, one row each")
      ->delimiter(',')
      ->check(at_least(1))
      ->capture_default_str();
  moe.add_option("--routing,--draw", options->draw, "How tokens spread over experts")
      ->check(CLI::IsMember({"uniform", "zipf", "hot"}))
      ->capture_default_str();
  moe.add_option("--backend", options->backend,
                 "Who computes; default: SLUICE_BACKEND, or else " + options->bench.backend);
  moe.add_option("--threads", options->bench.threads, "Worker threads; 0: one per core")
      ->check(at_least(0));
  moe.add_option("--seconds", options->bench.seconds_per_row, "Time for each row")
      ->check(seconds_check())
      ->capture_default_str();
  moe.add_option("--seed", options->bench.seed, "Of the routing")->check(seed_check());
  auto* peer =
      moe.add_option("--peer", options->bench.peer, "Who else computes the same, on the CPU")
          ->check(CLI::IsMember({"onednn", "ggml", "none"}));
  moe.add_flag("--no-peer", options->no_peer, "As --peer none")->excludes(peer);
  moe.add_flag("--round-slot-outputs", options->bench.may_round_slot_outputs,
               "Let the backend keep expert outputs in bf16 until it sums them, as most others do; "
               "cuda does. The comparison with the reference allows for it");
  moe.add_option("--json", options->json, "Write the figures here, after every row; - is stdout")
      ->check(writable());
  moe.footer(kFooter);
  app.footer("Example:\n  sluice bench moe --help");
  return [options, &moe] { return run_bench(moe, *options); };
}

}  // namespace sluice::cli
