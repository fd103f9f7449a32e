#include "cuda/device_bench.hpp"

#include <algorithm>
#include <cstring>
#include <set>

#include "backends/cuda/device/error.hpp"
#include "base/fail.hpp"
#include "clock.hpp"
#include "cuda/bench_tensors.hpp"
#include "cuda/check_tokens.hpp"
#include "cuda/device.hpp"
#include "cuda/device_ceilings.hpp"
#include "cuda/stream_kernels.hpp"
#include "machine.hpp"
#include "memory_need.hpp"
#include "spread.hpp"

namespace sluice::bench {
namespace {

constexpr int kReplaysPerRound = 4;

using cuda::check;

std::string device_name(int device) {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties");
  return properties.name;
}

// A tensor of the benchmark on the device.
class DeviceTensor {
 public:
  DeviceTensor(const std::shared_ptr<const DeviceMemory>& memory, Device device, DType dtype,
               const sluice::Shape& shape)
      : buffer_(memory, static_cast<std::size_t>(shape.elements() * bits(dtype) / 8)),
        view_{buffer_.data(), dtype, shape, device} {}
  MutableTensorView view() const { return view_; }
  std::size_t bytes() const { return buffer_.size(); }
  std::byte* row(std::int64_t index) const {
    return buffer_.data() +
           static_cast<std::size_t>(index * view_.shape[1] * bits(view_.dtype) / 8);
  }
  void fill(std::uint64_t tensor, float spread, cudaStream_t stream) const {
    launch_fill(reinterpret_cast<std::uint16_t*>(buffer_.data()), view_.shape.elements(), tensor,
                spread, stream);
  }

 private:
  DeviceBuffer buffer_;
  MutableTensorView view_;
};

// The tensors of one number of tokens.
struct Tokens {
  std::int64_t count;
  std::vector<std::vector<float>> host_logits;  // of each routing
  std::vector<DeviceTensor> logits, ids, weights;
  DeviceTensor hidden, output;
};

class DeviceBench {
 public:
  explicit DeviceBench(const MoeBenchOptions& options)
      : options_(options),
        spec_(bench_spec(options.shape)),
        executor_(make_executor(options.threads)),
        choice_(choose_backend(spec_, options.backend)),
        load_{executor_, 0, options.may_round_slot_outputs},
        device_(choice_.backend->device(load_)),
        memory_(choice_.backend->device_memory(load_)),
        stream_(make_stream()),
        experts_(load()),
        ceilings_(memory_, stream_.get()) {}

  MoeBenchReport report() const {
    MoeBenchReport report;
    report.shape = options_.shape;
    report.draw = options_.draw;
    report.variant = choice_.variant;
    report.may_round_slot_outputs = load_.may_round_slot_outputs;
    report.machine = device_name(device_.index);
    report.arithmetic_source = ceilings_.dense_source();
    report.weight_bytes = experts_->weight_bytes();
    return report;
  }

  MoeBenchRow row(std::int64_t count) {
    const Tokens tokens = make_tokens(count);
    const DeviceBuffer workspace(memory_, experts_->workspace_bytes(count));
    const auto forward = [&](std::size_t routing) {
      experts_->forward(
          {tokens.hidden.view(), tokens.logits[routing].view(), {}, {}},
          {tokens.output.view(), tokens.ids[routing].view(), tokens.weights[routing].view()},
          {workspace.data(), workspace.size()}, stream_.get());
    };
    MoeBenchRow row;
    row.tokens = count;
    row.workspace_bytes = workspace.size();
    row.checked_tokens = check_samples(tokens, forward);
    const Graph graph = capture(stream_.get(), [&] {
      for (std::size_t routing = 0; routing < kRoutings; ++routing) forward(routing);
    });
    check_replay(tokens, forward, graph);
    count_work(tokens, row);
    measure(graph, row);
    return row;
  }

 private:
  double most_tokens() const {
    return static_cast<double>(*std::max_element(options_.tokens.begin(), options_.tokens.end()));
  }

  void check_memory() const {
    const Shape& shape = options_.shape;
    const double logits = 4.0 * static_cast<double>(kRoutings) * static_cast<double>(shape.experts);
    const MemoryPart host[] = {{"the comparison", comparison_bytes(shape, executor_->workers())},
                               {"router logits", most_tokens() * logits}};
    require_memory(shape, "memory", host, available_memory());
    // Each routing's ids and weights; hidden states and output in bf16.
    const double routings = 8.0 * static_cast<double>(kRoutings) * static_cast<double>(shape.top_k);
    const double tokens =
        most_tokens() * (logits + routings + 4.0 * static_cast<double>(shape.hidden));
    // Tokens come when the values that were packed are gone.
    const MemoryPart device[] = {
        {"packed weights", weight_bytes(shape)},
        {"the values that are packed, then tokens", std::max(weight_bytes(shape), tokens)}};
    std::size_t free = 0;
    std::size_t total = 0;
    check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
    require_memory(shape, "memory of the GPU", device, static_cast<double>(free));
  }

  std::unique_ptr<Experts> load() const {
    check_memory();
    const Shape& shape = options_.shape;
    const std::int64_t rows = 2 * shape.intermediate;
    const DeviceTensor gate_up(memory_, device_, DType::bf16, {shape.experts, rows, shape.hidden});
    const DeviceTensor down(memory_, device_, DType::bf16,
                            {shape.experts, shape.hidden, shape.intermediate});
    MoeWeights weights;
    weights.gate_up_proj = split_experts(gate_up.view());
    weights.down_proj = split_experts(down.view());
    for (std::int64_t e = 0; e < shape.experts; ++e) {
      const auto fill = [&](const TensorView& matrix, std::uint64_t tensor) {
        launch_fill(static_cast<std::uint16_t*>(const_cast<void*>(matrix.data)),
                    matrix.shape.elements(), tensor, kWeightSpread, stream_.get());
      };
      fill(weights.gate_up_proj[static_cast<std::size_t>(e)], gate_up_tensor(e));
      fill(weights.down_proj[static_cast<std::size_t>(e)], down_tensor(e));
    }
    check(cudaStreamSynchronize(stream_.get()), "making weights");
    return choice_.backend->load(spec_, weights, load_);
  }

  Tokens make_tokens(std::int64_t count) const {
    const Shape& shape = options_.shape;
    const auto tensor = [&](DType dtype, std::int64_t columns) {
      return DeviceTensor(memory_, device_, dtype, {count, columns});
    };
    Tokens tokens{count,
                  std::vector<std::vector<float>>(kRoutings),
                  {},
                  {},
                  {},
                  tensor(DType::bf16, shape.hidden),
                  tensor(DType::bf16, shape.hidden)};
    auto draw = [&](int worker) {
      for (std::size_t i = static_cast<std::size_t>(worker); i < kRoutings;
           i += static_cast<std::size_t>(executor_->workers())) {
        tokens.host_logits[i] =
            draw_logits(shape, options_.draw, count, options_.seed + static_cast<std::uint32_t>(i));
      }
    };
    executor_->run(draw);
    for (std::size_t i = 0; i < kRoutings; ++i) {
      tokens.logits.push_back(tensor(DType::f32, shape.experts));
      tokens.ids.push_back(tensor(DType::i32, shape.top_k));
      tokens.weights.push_back(tensor(DType::f32, shape.top_k));
      memory_->copy_in(tokens.logits[i].row(0), tokens.host_logits[i].data(),
                       tokens.logits[i].bytes(), stream_.get());
    }
    tokens.hidden.fill(kHiddenTensor, kHiddenSpread, stream_.get());
    return tokens;
  }

  template <typename T>
  std::vector<T> bring(const DeviceTensor& tensor, std::int64_t row, std::int64_t rows) const {
    const std::int64_t columns = tensor.view().shape[1];
    std::vector<T> values(static_cast<std::size_t>(rows * columns));
    memory_->copy_out(values.data(), tensor.row(row), values.size() * sizeof(T), stream_.get());
    return values;
  }

  // The first, the middle and the last token, each in another routing.
  template <typename Forward>
  std::int64_t check_samples(const Tokens& tokens, const Forward& forward) const {
    const std::set<std::int64_t> samples{0, tokens.count / 2, tokens.count - 1};
    std::vector<ComputedToken> computed;
    for (const std::int64_t token : samples) {
      const std::size_t routing = computed.size();
      check(cudaMemsetAsync(tokens.output.row(0), 0xff, tokens.output.bytes(), stream_.get()),
            "poisoning the output");
      forward(routing);
      const float* logits = tokens.host_logits[routing].data() + token * options_.shape.experts;
      computed.push_back({token,
                          {logits, logits + options_.shape.experts},
                          bring<std::int32_t>(tokens.ids[routing], token, 1),
                          bring<float>(tokens.weights[routing], token, 1),
                          bring<std::uint16_t>(tokens.output, token, 1)});
    }
    check_tokens(options_.shape, spec_, computed, load_.may_round_slot_outputs, *executor_);
    return static_cast<std::int64_t>(computed.size());
  }

  // A replay must leave what plain calls leave: the last routing's output.
  template <typename Forward>
  void check_replay(const Tokens& tokens, const Forward& forward, const Graph& graph) const {
    for (std::size_t routing = 0; routing < kRoutings; ++routing) forward(routing);
    const auto plain = bring<std::uint16_t>(tokens.output, 0, tokens.count);
    check(cudaMemsetAsync(tokens.output.row(0), 0xff, tokens.output.bytes(), stream_.get()),
          "poisoning the output");
    check(cudaGraphLaunch(graph.get(), stream_.get()), "cudaGraphLaunch");
    if (bring<std::uint16_t>(tokens.output, 0, tokens.count) == plain) return;
    fail(ErrorKind::internal,
         "not timed, because it is wrong: with {} tokens a graph's replay "
         "gives other bits than plain calls",
         tokens.count);
  }

  // Averages over the routings.
  void count_work(const Tokens& tokens, MoeBenchRow& row) const {
    const Shape& shape = options_.shape;
    double hit = 0.0;
    for (const DeviceTensor& ids : tokens.ids) {
      const auto chosen = bring<std::int32_t>(ids, 0, tokens.count);
      hit += static_cast<double>(std::set<std::int32_t>(chosen.begin(), chosen.end()).size());
    }
    hit /= static_cast<double>(kRoutings);
    row.experts_hit = static_cast<std::int64_t>(hit + 0.5);
    row.bytes = hit * static_cast<double>(shape.expert_bytes());
    row.operations = 6.0 * static_cast<double>(tokens.count * shape.top_k * shape.hidden) *
                     static_cast<double>(shape.intermediate);
  }

  void measure(const Graph& graph, MoeBenchRow& row) const {
    const auto replay = [&] { check(cudaGraphLaunch(graph.get(), stream_.get()), "replaying"); };
    replay();
    std::vector<double> times, bandwidths, rates;
    const double until = seconds() + options_.seconds_per_row;
    for (int round = 0; round < options_.least_rounds || seconds() < until; ++round) {
      bandwidths.push_back(ceilings_.read_bandwidth());
      rates.push_back(ceilings_.dense_rate());
      for (int i = 0; i < kReplaysPerRound; ++i) {
        times.push_back(timer_(stream_.get(), replay) * 1e3 / static_cast<double>(kRoutings));
      }
    }
    // Power limits the products' rate from round to round, and the layer's with it; the best read
    // is what memory can do.
    const double bandwidth = *std::max_element(bandwidths.begin(), bandwidths.end());
    std::vector<double> floors, percents;
    for (std::size_t i = 0; i < times.size(); ++i) {
      const double rate = rates[i / kReplaysPerRound];
      floors.push_back(std::max(row.bytes / bandwidth, row.operations / rate) * 1e3);
      percents.push_back(100.0 * floors.back() / times[i]);
    }
    row.rounds = static_cast<int>(times.size());
    row.milliseconds = spread_of(times);
    row.floor_milliseconds = spread_of(floors);
    row.percent_of_floor = spread_of(percents);
    row.bandwidth = spread_of(bandwidths);
    row.arithmetic = spread_of(rates);
  }

  MoeBenchOptions options_;
  MoeSpec spec_;
  std::shared_ptr<Executor> executor_;
  Choice choice_;
  LoadOptions load_;
  Device device_;
  std::shared_ptr<const DeviceMemory> memory_;
  Stream stream_;
  std::unique_ptr<Experts> experts_;
  DeviceCeilings ceilings_;
  Timer timer_;
};

}  // namespace

MoeBenchReport run_device_bench(const MoeBenchOptions& options,
                                const std::function<void(const MoeBenchReport&)>& progress) {
  DeviceBench bench(options);
  MoeBenchReport report = bench.report();
  for (const std::int64_t tokens : options.tokens) {
    report.rows.push_back(bench.row(tokens));
    if (progress) progress(report);
  }
  return report;
}

}  // namespace sluice::bench
