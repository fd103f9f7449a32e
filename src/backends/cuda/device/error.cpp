#include "backends/cuda/device/error.hpp"

#include "base/fail.hpp"

namespace sluice::cuda {
namespace {

const char* advice(cudaError_t result) {
  switch (result) {
    case cudaErrorMemoryAllocation:
      return "free device memory or use fewer experts per rank";
    case cudaErrorInsufficientDriver:
      return "update the NVIDIA driver";
    case cudaErrorNoDevice:
      return "check that a GPU is visible (CUDA_VISIBLE_DEVICES)";
    case cudaErrorInvalidValue:
      return "check that every tensor and the workspace lie in this device's memory";
    case cudaErrorStreamCaptureUnsupported:
    case cudaErrorStreamCaptureImplicit:
      return "give the stream that is being captured, and load layers before";
    default:
      return "an earlier kernel on this device may have failed; run under compute-sanitizer";
  }
}

}  // namespace

void check(cudaError_t result, std::string_view what) {
  if (result == cudaSuccess) return;
  cudaGetLastError();  // so that the next call does not report this one again
  fail(ErrorKind::device, "{} failed: {} ({}); {}", what, cudaGetErrorName(result),
       cudaGetErrorString(result), advice(result));
}

}  // namespace sluice::cuda
