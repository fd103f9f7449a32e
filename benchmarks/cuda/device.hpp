// What the benchmark holds on the device: memory, a stream, events, a captured graph.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <utility>

#include "backends/cuda/device/error.hpp"

namespace sluice::bench {

template <typename Handle, cudaError_t (*destroy)(Handle)>
class Owned {
 public:
  Owned() = default;
  explicit Owned(Handle handle) : handle_(handle) {}
  Owned(Owned&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Owned& operator=(Owned&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Owned() {
    if (handle_ != nullptr) destroy(handle_);
  }
  Handle get() const { return handle_; }

 private:
  Handle handle_ = nullptr;
};

using Stream = Owned<cudaStream_t, cudaStreamDestroy>;
using Event = Owned<cudaEvent_t, cudaEventDestroy>;
using Graph = Owned<cudaGraphExec_t, cudaGraphExecDestroy>;

inline Stream make_stream() {
  cudaStream_t stream = nullptr;
  cuda::check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
  return Stream(stream);
}

inline Event make_event() {
  cudaEvent_t event = nullptr;
  cuda::check(cudaEventCreate(&event), "cudaEventCreate");
  return Event(event);
}

// What `record` puts on the stream, to be launched as one.
template <typename Record>
Graph capture(cudaStream_t stream, const Record& record) {
  cuda::check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capturing");
  cudaGraph_t graph = nullptr;
  try {
    record();
  } catch (...) {
    cudaStreamEndCapture(stream, &graph);
    if (graph != nullptr) cudaGraphDestroy(graph);
    throw;
  }
  cuda::check(cudaStreamEndCapture(stream, &graph), "capturing");
  cudaGraphExec_t executable = nullptr;
  const cudaError_t result = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  cuda::check(result, "cudaGraphInstantiate");
  return Graph(executable);
}

// Seconds that the device takes for what `work` puts on the stream.
class Timer {
 public:
  template <typename Work>
  double operator()(cudaStream_t stream, const Work& work) const {
    cuda::check(cudaEventRecord(begin_.get(), stream), "cudaEventRecord");
    work();
    cuda::check(cudaEventRecord(end_.get(), stream), "cudaEventRecord");
    cuda::check(cudaEventSynchronize(end_.get()), "waiting for the device");
    float milliseconds = 0.0f;
    cuda::check(cudaEventElapsedTime(&milliseconds, begin_.get(), end_.get()), "timing");
    return static_cast<double>(milliseconds) * 1e-3;
  }

 private:
  Event begin_ = make_event();
  Event end_ = make_event();
};

}  // namespace sluice::bench
