#include "moe_bench.hpp"

#include <algorithm>
#include <memory>

#include "base/aligned_buffer.hpp"
#include "base/fail.hpp"
#include "base/workspace.hpp"
#include "bench_weights.hpp"
#include "ceilings.hpp"
#include "clock.hpp"
#include "compare_tokens.hpp"
#include "kernels/isa_list.hpp"
#include "machine.hpp"
#include "memory_need.hpp"
#include "peer.hpp"
#include "routing/plan.hpp"
#ifdef SLUICE_HAVE_CUDA_BENCH
#include "cuda/device_bench.hpp"
#endif

namespace sluice::bench {
namespace {

// Samples of the rounds of one row.
struct Samples {
  std::vector<double> time, floor, percent, bandwidth, arithmetic, peer, ratio, hit, bytes;
};

class Bench {
 public:
  Bench(const MoeBenchOptions& options, const PeerEntry* peer, std::shared_ptr<Executor> executor)
      : options_(options),
        peer_entry_(peer),
        spec_(bench_spec(options.shape)),
        weights_(options.shape),
        executor_(std::move(executor)),
        ceilings_(*executor_, options.ceiling_bytes),
        most_tokens_(*std::max_element(options.tokens.begin(), options.tokens.end())) {
    const Choice choice = choose_backend(spec_, options.backend);
    variant_ = choice.variant;
    LoadOptions load;
    load.executor = executor_;
    load.may_round_slot_outputs = options.may_round_slot_outputs;
    experts_ = choice.backend->load(spec_, weights_.views(), load);
    workspace_ = AlignedBuffer(experts_->workspace_bytes(most_tokens_));
    if (peer_entry_ != nullptr) {
      peer_ = peer_entry_->make(
          {options_.shape, weights_, executor_->workers(), *executor_, most_tokens_});
    }
    hidden_ = random_bf16_values(most_tokens_ * options.shape.hidden, 1.0f, 4);
    output_.resize(hidden_.size());
  }

  MoeBenchRow row(std::int64_t tokens) {
    std::vector<std::vector<float>> routings;
    for (std::size_t i = 0; i < kRoutings; ++i) {
      routings.push_back(draw_logits(options_.shape, options_.draw, tokens,
                                     options_.seed + static_cast<std::uint32_t>(i)));
    }
    Samples samples;
    double until = 0.0;
    for (int round = -1; round < options_.least_rounds || seconds() < until; ++round) {
      if (round == 0) until = seconds() + options_.seconds_per_row;
      measure(tokens, routings[static_cast<std::size_t>(round + 1) % kRoutings],
              round < 0 ? nullptr : &samples);
    }
    MoeBenchRow row;
    row.tokens = tokens;
    row.rounds = static_cast<int>(samples.time.size());
    row.experts_hit = static_cast<std::int64_t>(spread_of(samples.hit).median);
    row.milliseconds = spread_of(samples.time);
    row.floor_milliseconds = spread_of(samples.floor);
    row.percent_of_floor = spread_of(samples.percent);
    row.bandwidth = spread_of(samples.bandwidth);
    row.arithmetic = spread_of(samples.arithmetic);
    row.peer_milliseconds = spread_of(samples.peer);
    row.ratio = spread_of(samples.ratio);
    row.bytes = spread_of(samples.bytes).median;
    row.operations = operations(tokens);
    row.workspace_bytes = experts_->workspace_bytes(tokens);
    row.checked_tokens = checked_;
    return row;
  }

  MoeBenchReport report() const {
    MoeBenchReport report;
    report.shape = options_.shape;
    report.draw = options_.draw;
    report.threads = executor_->workers();
    report.variant = variant_;
    report.may_round_slot_outputs = options_.may_round_slot_outputs;
    report.peer = peer_ ? peer_->name() : "";
    report.machine = machine_name();
    report.arithmetic_source = "products in registers, this run";
    report.weight_bytes = experts_->weight_bytes();
    return report;
  }

 private:
  double operations(std::int64_t tokens) const {
    const Shape& shape = options_.shape;
    return 6.0 * static_cast<double>(tokens * shape.top_k * shape.hidden) *
           static_cast<double>(shape.intermediate);
  }

  // The first, middle and last token of what was just computed, ours and the peer's.
  void check(std::int64_t tokens, const std::vector<float>& logits,
             const std::vector<std::int32_t>& ids, const std::vector<float>& weights) {
    const Shape& shape = options_.shape;
    const LayerValues values = weights_.values(hidden_);
    std::vector<ComputedToken> computed =
        sample_tokens(shape, tokens, logits, ids, weights, output_);
    const auto slots = define_slots(variant_, shape, spec_, values, computed, *executor_);
    compare_outputs(variant_, computed, slots, options_.may_round_slot_outputs);
    checked_ = static_cast<std::int64_t>(computed.size());
    if (!peer_) return;
    for (ComputedToken& token : computed) token.output = peer_->output(token.token);
    compare_outputs(peer_->name(), computed, slots, false);
  }

  // The warm-up round has no samples: it is checked.
  void measure(std::int64_t tokens, const std::vector<float>& logits, Samples* samples) {
    const Shape& shape = options_.shape;
    std::vector<std::int32_t> ids(static_cast<std::size_t>(tokens * shape.top_k));
    std::vector<float> weights(ids.size());
    const double bandwidth = ceilings_.read_bandwidth();
    const double arithmetic = ceilings_.arithmetic(default_isa().bf16_loop);

    // NaN where nothing is written.
    if (samples == nullptr) std::fill(output_.begin(), output_.end(), std::uint16_t{0xffff});
    const double begin = seconds();
    experts_->forward({{hidden_.data(), DType::bf16, {tokens, shape.hidden}, {}},
                       {logits.data(), DType::f32, {tokens, shape.experts}, {}},
                       {},
                       {}},
                      {{output_.data(), DType::bf16, {tokens, shape.hidden}, {}},
                       {ids.data(), DType::i32, {tokens, shape.top_k}, {}},
                       {weights.data(), DType::f32, {tokens, shape.top_k}, {}}},
                      workspace_.bytes(), nullptr);
    const double time = seconds() - begin;

    std::vector<std::int32_t> local(static_cast<std::size_t>(shape.experts));
    for (std::size_t e = 0; e < local.size(); ++e) local[e] = static_cast<std::int32_t>(e);
    const PlanInput input{tokens, shape.top_k, ids, weights, local, shape.experts};
    Workspace counted;
    build_plan(input, counted);
    AlignedBuffer memory(counted.used());
    Workspace workspace(memory.data());
    const ExpertPlan plan = build_plan(input, workspace);
    std::int64_t hit = 0;
    for (std::size_t e = 0; e + 1 < plan.expert_offsets.size(); ++e) {
      hit += plan.expert_offsets[e + 1] > plan.expert_offsets[e];
    }
    double peer_time = 0.0;
    if (peer_) {
      peer_->prepare(plan);
      const double peer_begin = seconds();
      peer_->forward(hidden_.data(), plan);
      peer_time = seconds() - peer_begin;
    }
    if (samples == nullptr) {
      check(tokens, logits, ids, weights);
      return;
    }
    const double bytes = static_cast<double>(hit * shape.expert_bytes());
    const double floor = std::max(bytes / bandwidth, operations(tokens) / arithmetic);
    samples->time.push_back(time * 1e3);
    samples->floor.push_back(floor * 1e3);
    samples->percent.push_back(100.0 * floor / time);
    samples->bandwidth.push_back(bandwidth);
    samples->arithmetic.push_back(arithmetic);
    samples->hit.push_back(static_cast<double>(hit));
    samples->bytes.push_back(bytes);
    if (!peer_) return;
    samples->peer.push_back(peer_time * 1e3);
    samples->ratio.push_back(time / peer_time);
  }

  MoeBenchOptions options_;
  const PeerEntry* peer_entry_;  // null: none
  MoeSpec spec_;
  BenchWeights weights_;
  std::shared_ptr<Executor> executor_;
  Ceilings ceilings_;
  std::int64_t most_tokens_;
  std::string variant_;
  std::unique_ptr<Experts> experts_;
  AlignedBuffer workspace_;
  std::unique_ptr<Peer> peer_;
  std::vector<std::uint16_t> hidden_;
  std::vector<std::uint16_t> output_;
  std::int64_t checked_ = 0;
};

}  // namespace

MoeBenchReport run_moe_bench(const MoeBenchOptions& options,
                             const std::function<void(const MoeBenchReport&)>& progress) {
  if (options.tokens.empty()) fail(ErrorKind::user, "the list of tokens is empty");
  for (const std::int64_t tokens : options.tokens) {
    if (tokens < 1) fail(ErrorKind::user, "tokens is {}; it must be at least 1", tokens);
  }
#ifdef SLUICE_HAVE_CUDA_BENCH
  if (sluice::backend(options.backend).device({}).kind == DeviceKind::cuda) {
    if (!options.peer.empty() && options.peer != "none") {
      fail(ErrorKind::user,
           "peer {}: peers run on the CPU; for a GPU's see benchmarks/peers/compare_gpu.py",
           options.peer);
    }
    return run_device_bench(options, progress);
  }
#endif
  const PeerEntry* peer = find_peer(options.peer);
  const auto executor = make_executor(options.threads);
  require_host_memory(options, peer != nullptr, executor->workers());
  Bench bench(options, peer, executor);
  MoeBenchReport report = bench.report();
  for (const std::int64_t tokens : options.tokens) {
    report.rows.push_back(bench.row(tokens));
    if (progress) progress(report);
  }
  return report;
}

}  // namespace sluice::bench
