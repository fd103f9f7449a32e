// A case whose tokens and results are on the device, for calls without staging.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "audit/run_case.hpp"
#include "backends/device_buffer.hpp"

namespace sluice::gpu {

class DeviceCase {
 public:
  // Room for the tokens of `subject`.
  explicit DeviceCase(const auditing::Case& subject);

  // Overwrites the device's tokens with those of another case of the same shapes.
  void set(const auditing::Case& subject);
  // Fills results with bytes that are NaN and -1.
  void poison();
  ForwardInput input() const;
  ForwardOutput output() const;
  // `tokens` first rows of the results, as the audit compares them. Waits for the device.
  auditing::RunResult result(std::int64_t tokens) const;

  const std::shared_ptr<const DeviceMemory>& memory() const { return memory_; }

 private:
  struct Tensor {
    DeviceBuffer buffer;
    DType dtype;
    Shape shape;
  };
  MutableTensorView view(const std::string& name) const;
  void add(const std::string& name, DType dtype, const Shape& shape);
  auditing::OwnedTensor bring(const std::string& name, std::int64_t rows) const;

  Device device_;
  std::shared_ptr<const DeviceMemory> memory_;
  std::map<std::string, Tensor> tensors_;
};

}  // namespace sluice::gpu
