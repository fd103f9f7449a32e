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

// A larger call inside a capture: refused, and the memory of smaller ones is still there.
void check_growth_inside_a_capture(Findings& findings) {
  const Case subject = small_case();
  const Case larger = small_case(700);
  MoeLayer layer(subject.spec, subject.weights(), on_cuda());
  DeviceCase there(subject);
  DeviceCase more(larger);
  layer.forward(there.input(), there.output());
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capturing");
  findings.expect_error("a larger call inside a capture", {"before the capture", "workspace"},
                        [&] { layer.forward(more.input(), more.output(), stream); });
  layer.forward(there.input(), there.output(), stream);
  cudaGraph_t graph = nullptr;
  check(cudaStreamEndCapture(stream, &graph), "a capture in which a call was refused");
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
  there.poison();
  layer.forward(there.input(), there.output());
  const auditing::Oracle oracle(subject);
  const auto comparison = auditing::compare(subject, oracle, there.result(subject.tokens()));
  findings.expect(comparison.ok(), "after a call that was refused: {}", comparison.message);
}

// Weights that are still being made on the device when the layer is.
void check_unfinished_weights(Findings& findings) {
  const Case subject = small_case();
  const auto memory = backend("cuda").device_memory({});
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
  check(cudaLaunchHostFunc(
            stream, [](void*) { std::this_thread::sleep_for(std::chrono::milliseconds(200)); },
            nullptr),
        "cudaLaunchHostFunc");
  std::vector<DeviceBuffer> made;
  const auto on_device = [&](TensorView& tensor) {
    if (!tensor) return;
    const auto bytes = static_cast<std::size_t>(tensor.shape.elements() * bits(tensor.dtype) / 8);
    const DeviceBuffer& source = made.emplace_back(memory, bytes);
    memory->copy_in(source.data(), tensor.data, bytes, nullptr);
    const DeviceBuffer& target = made.emplace_back(memory, bytes);
    check(cudaMemset(target.data(), 0xff, bytes), "cudaMemset");
    check(cudaMemcpyAsync(target.data(), source.data(), bytes, cudaMemcpyDeviceToDevice, stream),
          "cudaMemcpyAsync");
    tensor.data = target.data();
    tensor.device = backend("cuda").device({});
  };
  made.reserve(256);
  MoeWeights weights = subject.weights();
  for (auto* matrices : {&weights.gate_up_proj, &weights.down_proj}) {
    for (TensorView& matrix : *matrices) on_device(matrix);
  }
  for (auto* tensor : {&weights.router_bias, &weights.e_score_correction_bias,
                       &weights.gate_up_bias, &weights.down_bias, &weights.shared_gate_up_proj,
                       &weights.shared_down_proj, &weights.shared_expert_gate}) {
    on_device(*tensor);
  }
  MoeLayer layer(subject.spec, weights, on_cuda());
  DeviceCase there(subject);
  layer.forward(there.input(), there.output());
  const auditing::Oracle oracle(subject);
  const auto comparison = auditing::compare(subject, oracle, there.result(subject.tokens()));
  findings.expect(comparison.ok(), "weights that were being made: {}", comparison.message);
  check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
  cudaStreamDestroy(stream);
}

// An error that the caller has dealt with is not the layer's.
void check_errors_of_others(Findings& findings) {
  void* memory = nullptr;
  const cudaError_t result = cudaMalloc(&memory, std::size_t{1} << 60);
  findings.expect(result == cudaErrorMemoryAllocation, "2^60 bytes: {}", cudaGetErrorName(result));
  expect_right("an error of the caller's own", findings);
  cudaGetLastError();
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
  unaligned.hidden_states.data = there.input().hidden_states.data;
  unaligned.router_logits.data = static_cast<const std::byte*>(unaligned.router_logits.data) + 1;
  findings.expect_error("logits at an odd address", {"router_logits", "multiple of"},
                        [&] { layer.forward(unaligned, output); });
  expect_right("wrong places", findings);
}

}  // namespace

void run_errors(const Settings& settings, Findings& findings) {
  check_places(findings);
  check_busy_stream(findings);
  check_unfinished_weights(findings);
  check_errors_of_others(findings);
  if (settings.brief) return;
  check_capture_without_workspace(findings);
  check_growth_inside_a_capture(findings);
  check_memory(findings);
}

}  // namespace sluice::gpu
