#include "device_case.hpp"

#include <vector>

namespace sluice::gpu {

using auditing::Case;
using auditing::OwnedTensor;

DeviceCase::DeviceCase(const Case& subject)
    : device_(backend("cuda").device({})), memory_(backend("cuda").device_memory({})) {
  for (const auto& [name, tensor] : subject.tensors) {
    if (auditing::is_input(name)) add(name, tensor.dtype(), tensor.shape());
  }
  const std::int64_t tokens = subject.tokens();
  add("output", subject.output_dtype(), {tokens, subject.spec.experts.hidden_size});
  add("out_ids", DType::i32, {tokens, subject.spec.router.top_k});
  add("out_weights", DType::f32, {tokens, subject.spec.router.top_k});
  set(subject);
  poison();
}

void DeviceCase::add(const std::string& name, DType dtype, const Shape& shape) {
  const auto bytes = static_cast<std::size_t>(shape.elements() * bits(dtype) / 8);
  tensors_[name] = {DeviceBuffer(memory_, bytes), dtype, shape};
}

void DeviceCase::set(const Case& subject) {
  for (const auto& [name, tensor] : subject.tensors) {
    if (!auditing::is_input(name)) continue;
    memory_->copy_in(tensors_.at(name).buffer.data(), tensor.data(), tensor.size_bytes(), nullptr);
  }
}

void DeviceCase::poison() {
  for (const char* name : {"output", "out_ids", "out_weights"}) {
    const Tensor& tensor = tensors_.at(name);
    const std::vector<std::byte> poison(tensor.buffer.size(), std::byte{0xff});
    memory_->copy_in(tensor.buffer.data(), poison.data(), poison.size(), nullptr);
  }
}

MutableTensorView DeviceCase::view(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) return {};
  const Tensor& tensor = found->second;
  return {tensor.buffer.data(), tensor.dtype, tensor.shape, device_};
}

ForwardInput DeviceCase::input() const {
  return {view("hidden_states"), view("router_logits"), view("topk_ids"), view("topk_weights")};
}

ForwardOutput DeviceCase::output() const {
  return {view("output"), view("out_ids"), view("out_weights")};
}

OwnedTensor DeviceCase::bring(const std::string& name, std::int64_t rows) const {
  const Tensor& tensor = tensors_.at(name);
  OwnedTensor host(tensor.dtype, {rows, tensor.shape[1]});
  memory_->copy_out(host.data(), tensor.buffer.data(), host.size_bytes(), nullptr);
  return host;
}

auditing::RunResult DeviceCase::result(std::int64_t tokens) const {
  auditing::RunResult result;
  result.output = bring("output", tokens);
  result.ids = bring("out_ids", tokens);
  result.weights = bring("out_weights", tokens);
  return result;
}

}  // namespace sluice::gpu
