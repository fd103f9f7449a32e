// Faults injected into the environment. Each must be a clear error, and leave a layer that works.
#include <cuda_runtime_api.h>

#include <atomic>
#include <chrono>
#include <sluice/layer.hpp>
#include <thread>

#include "audit/cases/regime.hpp"
#include "audit/compare.hpp"
#include "backends/cuda/device/error.hpp"
#include "device_case.hpp"
#include "section.hpp"

namespace sluice::gpu {
namespace {

using auditing::Case;
using cuda::check;

LayerOptions on_cuda() {
  LayerOptions options;
  options.backend = "cuda";
  options.load.executor = make_executor(1);
  return options;
}

Case small_case(std::int64_t tokens = 20) {
  Draw draw(29);
  const auditing::SpecSource source{backend("cuda"), std::nullopt};
  return auditing::plain_case(source.draw(auditing::neutral_spec({12, 4, 64, 96}), draw), 29,
                              tokens);
}

void expect_right(std::string_view after, Findings& findings) {
  const Case subject = small_case();
  const auditing::Oracle oracle(subject);
  auditing::RunOptions run;
  run.load.executor = make_executor(1);
  const auto comparison =
      auditing::compare(subject, oracle, auditing::run_case(backend("cuda"), subject, run));
  findings.expect(comparison.ok(), "a layer after {}: {}", after, comparison.message);
}

// Takes all of the device's memory but `left` bytes.
class Hog {
 public:
  explicit Hog(std::size_t left) {
    for (std::size_t piece = std::size_t{1} << 36; piece >= (std::size_t{1} << 20);) {
      std::size_t free = 0;
      std::size_t total = 0;
      check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
      void* memory = nullptr;
      if (free > left + piece && cudaMalloc(&memory, piece) == cudaSuccess) {
        pieces_.push_back(memory);
      } else {
        cudaGetLastError();
        piece /= 2;
      }
    }
  }
  ~Hog() {
    for (void* memory : pieces_) cudaFree(memory);
  }
  Hog(const Hog&) = delete;
  Hog& operator=(const Hog&) = delete;

 private:
  std::vector<void*> pieces_;
};

void check_memory(Findings& findings) {
  const Case subject = small_case();
  MoeLayer layer(subject.spec, subject.weights(), on_cuda());
  {
    const Hog hog(std::size_t{16} << 20);
    MoeSpec large = auditing::neutral_spec({8, 4, 512, 1024});
    large.router.routed_scaling_factor = 2.5;
    const Case big = auditing::plain_case(large, 1, 1);
    findings.expect_error("weights larger than free memory", {"bytes free", "needed"},
                          [&] { MoeLayer(big.spec, big.weights(), on_cuda()); });
    const Case many = auditing::plain_case(subject.spec, 2, 100000);
    std::vector<std::byte> output(100000 * 64 * 4);
    findings.expect_error("tokens larger than free memory", {"bytes free", "needed"}, [&] {
      layer.forward(many.input(), {{output.data(), many.output_dtype(), {100000, 64}, {}}, {}, {}});
    });
  }
  expect_right("memory ran out", findings);
}

// A stream that waits for the host: forward must come back at once, and be right when it goes on.
void check_busy_stream(Findings& findings) {
  const Case subject = small_case();
  MoeLayer layer(subject.spec, subject.weights(), on_cuda());
  DeviceCase there(subject);
  layer.forward(there.input(), there.output());
  there.result(1);
  there.poison();
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
  std::atomic<bool> go{false};
  check(cudaLaunchHostFunc(
            stream,
            [](void* flag) {
              while (!*static_cast<std::atomic<bool>*>(flag)) std::this_thread::yield();
            },
            &go),
        "cudaLaunchHostFunc");
  layer.forward(there.input(), there.output(), stream);
  const bool still_waiting = cudaStreamQuery(stream) == cudaErrorNotReady;
  cudaGetLastError();
  go = true;
  check(cudaStreamSynchronize(stream), "a busy stream");
  findings.expect(still_waiting, "forward waited for a busy stream");
  const auditing::Oracle oracle(subject);
  const auto comparison = auditing::compare(subject, oracle, there.result(subject.tokens()));
  findings.expect(comparison.ok(), "on a busy stream: {}", comparison.message);
  cudaStreamDestroy(stream);
}

// No call before the capture: the workspace would have to be made inside it.
void check_capture_without_workspace(Findings& findings) {
  const Case subject = small_case();
  MoeLayer layer(subject.spec, subject.weights(), on_cuda());
  DeviceCase there(subject);
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capturing");
  findings.expect_error("a first call inside a capture", {"before the capture"},
                        [&] { layer.forward(there.input(), there.output(), stream); });
  cudaGraph_t graph = nullptr;
  cudaStreamEndCapture(stream, &graph);
  if (graph != nullptr) cudaGraphDestroy(graph);
  cudaGetLastError();
  cudaStreamDestroy(stream);
  expect_right("a capture that failed", findings);
}

void check_places(Findings& findings) {
  const Case subject = small_case();
  LayerOptions elsewhere = on_cuda();
  elsewhere.load.device = 99;
  findings.expect_error("a device that is not there", {"99"},
                        [&] { MoeLayer(subject.spec, subject.weights(), elsewhere); });
  MoeLayer layer(subject.spec, subject.weights(), on_cuda());
  DeviceCase there(subject);
  ForwardInput mixed = there.input();
  mixed.router_logits = subject.input().router_logits;
  findings.expect_error("tensors in two places", {"cuda:0", "cpu", "router_logits"},
                        [&] { layer.forward(mixed, there.output()); });
  ForwardInput unaligned = there.input();
  unaligned.hidden_states.data = static_cast<const std::byte*>(unaligned.hidden_states.data) + 2;
  unaligned.hidden_states.shape = {subject.tokens() - 1, subject.spec.experts.hidden_size};
  unaligned.router_logits.shape = {subject.tokens() - 1, subject.spec.router.num_experts};
  ForwardOutput output = there.output();
  output.output.shape = unaligned.hidden_states.shape;
  output.topk_ids = {};
  output.topk_weights = {};
  findings.expect_error("hidden states at an odd address", {"hidden_states", "16"},
                        [&] { layer.forward(unaligned, output); });
  expect_right("wrong places", findings);
}

}  // namespace

void run_errors(const Settings& settings, Findings& findings) {
  check_places(findings);
  check_busy_stream(findings);
  if (settings.brief) return;
  check_capture_without_workspace(findings);
  check_memory(findings);
}

}  // namespace sluice::gpu
