// A captured layer: replays over other tokens, other routings and fewer tokens.
#include <cuda_runtime_api.h>

#include <algorithm>

#include "audit/cases/regime.hpp"
#include "audit/checks/check.hpp"
#include "audit/compare.hpp"
#include "backends/cuda/device/error.hpp"
#include "device_case.hpp"
#include "loading.hpp"

namespace sluice::gpu {
namespace {

using auditing::Case;
using cuda::check;

class Captured {
 public:
  template <typename Record>
  explicit Captured(const Record& record) {
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
    check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "capturing");
    record(stream_);
    cudaGraph_t graph = nullptr;
    check(cudaStreamEndCapture(stream_, &graph), "capturing");
    check(cudaGraphInstantiate(&executable_, graph, 0), "cudaGraphInstantiate");
    cudaGraphDestroy(graph);
  }
  ~Captured() {
    if (executable_ != nullptr) cudaGraphExecDestroy(executable_);
    cudaStreamDestroy(stream_);
  }
  Captured(const Captured&) = delete;
  Captured& operator=(const Captured&) = delete;
  void replay() const {
    check(cudaGraphLaunch(executable_, stream_), "cudaGraphLaunch");
    check(cudaStreamSynchronize(stream_), "replaying");
  }

 private:
  cudaStream_t stream_ = nullptr;
  cudaGraphExec_t executable_ = nullptr;
};

MoeSpec drawn_spec(std::uint64_t seed) {
  Draw draw(seed * 131 + 7);
  const auditing::SpecSource source{backend("cuda"), std::nullopt};
  return source.draw(auditing::neutral_spec({24, 5, 136, 72}), draw);
}

// The weights of `first` with the tokens of a case drawn from another seed.
Case other_tokens(const Case& first, std::uint64_t seed) {
  Case other = first;
  const Case drawn = auditing::plain_case(first.spec, seed, first.tokens());
  for (auto& [name, tensor] : other.tensors) {
    if (!auditing::is_input(name)) continue;
    const auditing::OwnedTensor& values = *drawn.find(name);
    // Seeds draw the dtype of hidden states too; a graph has one.
    for (std::int64_t i = 0; i < tensor.elements(); ++i) tensor.set(i, values.get(i));
  }
  return other;
}

void check_one(std::int64_t tokens, std::uint64_t seed, const Settings& settings,
               Findings& findings) {
  const Case first = auditing::plain_case(drawn_spec(seed), seed, tokens);
  MoeLayer layer(first.spec, first.weights(), on_cuda(settings));
  DeviceCase there(first);
  layer.forward(there.input(), there.output());  // makes the workspace
  const Captured graph(
      [&](cudaStream_t stream) { layer.forward(there.input(), there.output(), stream); });
  for (std::uint64_t round = 0; round < 3; ++round) {
    const Case next = other_tokens(first, seed + 1000 * (round + 1));
    there.set(next);
    there.poison();
    layer.forward(there.input(), there.output());
    const auto plain = there.result(tokens);
    there.poison();
    graph.replay();
    const auto replayed = there.result(tokens);
    findings.expect(auditing::same_bits(plain, replayed),
                    "T {}, seed {}, replay {}: other bits than a plain call", tokens, seed, round);
    const auditing::Oracle oracle(next, bound_of(settings));
    const auto comparison = auditing::compare(next, oracle, replayed);
    findings.expect(comparison.ok(), "T {}, seed {}, replay {}: {}", tokens, seed, round,
                    comparison.message);
  }
}

// Fewer tokens than were captured: the rows behind them hold ids of -1, which cost nothing.
void check_fewer(std::int64_t captured, const Settings& settings, Findings& findings) {
  const Case drawn = auditing::plain_case(drawn_spec(5), 5, captured);
  const auditing::Oracle routed(drawn);
  Case given = drawn;
  given.tensors.erase("router_logits");
  const std::int64_t top_k = drawn.spec.router.top_k;
  auditing::OwnedTensor ids(DType::i32, {captured, top_k});
  auditing::OwnedTensor weights(DType::f32, {captured, top_k});
  const auto set_rows = [&](std::int64_t tokens) {
    for (std::int64_t token = 0; token < captured; ++token) {
      const auto chosen = routed.ids(token);
      for (std::int64_t slot = 0; slot < top_k; ++slot) {
        const std::int64_t at = token * top_k + slot;
        store_unaligned(ids.data(), at,
                        token < tokens ? chosen[static_cast<std::size_t>(slot)] : -1);
        weights.set(at, 0.5f + 0.25f * static_cast<float>(slot));
      }
    }
    given.tensors["topk_ids"] = ids;
    given.tensors["topk_weights"] = weights;
  };
  set_rows(captured);
  MoeLayer layer(given.spec, given.weights(), on_cuda(settings));
  DeviceCase there(given);
  layer.forward(there.input(), there.output());
  const Captured graph(
      [&](cudaStream_t stream) { layer.forward(there.input(), there.output(), stream); });
  for (const std::int64_t tokens : {captured, captured - 1, captured / 2, std::int64_t{1}}) {
    set_rows(tokens);
    there.set(given);
    there.poison();
    graph.replay();
    const Case part = auditing::rows_of(given, 0, tokens);
    const auditing::Oracle oracle(part, bound_of(settings));
    const auto comparison = auditing::compare(part, oracle, there.result(tokens));
    findings.expect(comparison.ok(), "captured with {} tokens, replayed with {}: {}", captured,
                    tokens, comparison.message);
  }
}

// The same, entered with logits: a count on the device says how many rows there are.
void check_counted(std::int64_t captured, const Settings& settings, Findings& findings) {
  const Case drawn = auditing::plain_case(drawn_spec(6), 6, captured);
  MoeLayer layer(drawn.spec, drawn.weights(), on_cuda(settings));
  DeviceCase there(drawn);
  const DeviceBuffer count(there.memory(), sizeof(std::int32_t));
  ForwardInput input = there.input();
  input.token_count = {count.data(), DType::i32, {1}, input.hidden_states.device};
  const auto set_count = [&](std::int32_t tokens) {
    there.memory()->copy_in(count.data(), &tokens, sizeof tokens, nullptr);
  };
  set_count(static_cast<std::int32_t>(captured));
  layer.forward(input, there.output());
  const Captured graph([&](cudaStream_t stream) { layer.forward(input, there.output(), stream); });
  const auto untouched = [](const auditing::OwnedTensor& tensor, std::int64_t rows) {
    const std::byte* bytes = tensor.data();
    const std::int64_t row = static_cast<std::int64_t>(tensor.size_bytes()) / tensor.shape()[0];
    return std::all_of(bytes + rows * row, bytes + tensor.size_bytes(),
                       [](std::byte byte) { return byte == std::byte{0xff}; });
  };
  for (const std::int64_t tokens :
       {captured, captured - 1, captured / 2, std::int64_t{1}, std::int64_t{0}}) {
    set_count(static_cast<std::int32_t>(tokens));
    there.poison();
    graph.replay();
    const auto whole = there.result(captured);
    findings.expect(untouched(whole.output, tokens) && untouched(whole.ids, tokens) &&
                        untouched(whole.weights, tokens),
                    "captured with {} tokens, {} counted: rows behind them were written", captured,
                    tokens);
    if (tokens == 0) continue;
    const Case part = auditing::rows_of(drawn, 0, tokens);
    const auditing::Oracle oracle(part, bound_of(settings));
    const auto comparison = auditing::compare(part, oracle, there.result(tokens));
    findings.expect(comparison.ok(), "captured with {} tokens, {} counted: {}", captured, tokens,
                    comparison.message);
  }
}

// A larger call after the capture: replays use the memory that they were recorded with.
void check_outgrown(const Settings& settings, Findings& findings) {
  const Case first = auditing::plain_case(drawn_spec(9), 9, 16);
  const Case larger = auditing::plain_case(first.spec, 10, 900);
  MoeLayer layer(first.spec, first.weights(), on_cuda(settings));
  DeviceCase there(first);
  DeviceCase more(larger);
  layer.forward(there.input(), there.output());
  const auto plain = there.result(first.tokens());
  const std::size_t bytes = layer.workspace_bytes(first.tokens());
  const Captured graph(
      [&](cudaStream_t stream) { layer.forward(there.input(), there.output(), stream); });
  layer.forward(more.input(), more.output());
  more.result(1);
  // Whoever gets memory of that size next must keep what is in it.
  const std::vector<std::byte> mark(bytes, std::byte{0x5a});
  const DeviceBuffer other(there.memory(), bytes);
  there.memory()->copy_in(other.data(), mark.data(), bytes, nullptr);
  there.poison();
  graph.replay();
  findings.expect(auditing::same_bits(plain, there.result(first.tokens())),
                  "a replay after a larger call: other bits than before");
  std::vector<std::byte> now(bytes);
  there.memory()->copy_out(now.data(), other.data(), bytes, nullptr);
  findings.expect(now == mark, "a replay after a larger call wrote into memory of others");
}

}  // namespace

void run_graphs(const Settings& settings, Findings& findings) {
  const std::vector<std::int64_t> counts =
      settings.brief ? std::vector<std::int64_t>{1, 40}
                     : std::vector<std::int64_t>{1, 2, 7, 8, 9, 31, 32, 33, 64, 100, 257};
  for (const std::int64_t tokens : counts) {
    check_one(tokens, settings.seed + static_cast<std::uint64_t>(tokens), settings, findings);
  }
  check_outgrown(settings, findings);
  for (const std::int64_t captured : {8, 48}) check_fewer(captured, settings, findings);
  for (const std::int64_t captured : {5, 24, 48, 300}) check_counted(captured, settings, findings);
}

}  // namespace sluice::gpu
