// A device without a GPU: memory of its own that is tagged cuda:1, and a backend that computes
// there and nowhere else, by the arithmetic of a host backend.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <sluice/backend.hpp>

namespace sluice::test {

inline constexpr Device kFakeDevice{DeviceKind::cuda, 1};

class FakeMemory final : public DeviceMemory {
 public:
  ~FakeMemory() override;
  void* allocate(std::size_t bytes) const override;
  void release(void* memory) const noexcept override;
  void copy_in(void* device, const void* host, std::size_t bytes, void* stream) const override;
  void copy_out(void* host, const void* device, std::size_t bytes, void* stream) const override;

  bool recording(void* stream) const override { return stream != nullptr && stream == recorded; }

  void* recorded = nullptr;  // the stream that is being recorded

  bool owns(const void* memory, std::size_t bytes) const;
  std::size_t live_bytes() const;
  int allocations() const { return allocations_; }
  std::size_t limit = std::size_t{1} << 40;

 private:
  void check(const void* memory, std::size_t bytes, const char* what) const;
  mutable std::mutex mutex_;
  mutable std::map<const std::byte*, std::size_t> blocks_;
  mutable int allocations_ = 0;
};

// A tensor or a buffer in fake memory.
class FakeArray {
 public:
  FakeArray(std::shared_ptr<const FakeMemory> memory, const TensorView& host);
  ~FakeArray();
  FakeArray(const FakeArray&) = delete;
  FakeArray& operator=(const FakeArray&) = delete;
  TensorView view() const { return {data_, host_.dtype, host_.shape, kFakeDevice}; }
  MutableTensorView mutable_view() const { return {data_, host_.dtype, host_.shape, kFakeDevice}; }
  void copy_out(void* to) const;

 private:
  std::shared_ptr<const FakeMemory> memory_;
  TensorView host_;
  void* data_;
};

class FakeBackend final : public Backend {
 public:
  FakeBackend();
  std::string_view name() const override { return "fake"; }
  std::optional<std::string> unavailable() const override { return std::nullopt; }
  FieldSet claims() const override { return inner_.claims(); }
  Support supports(const MoeSpec& spec) const override { return inner_.supports(spec); }
  // Throws Error(internal) for weights that are neither here nor on the host.
  std::unique_ptr<Experts> load(const MoeSpec& spec, const MoeWeights& weights,
                                const LoadOptions& options) const override;
  Device device(const LoadOptions&) const override { return kFakeDevice; }
  std::shared_ptr<const DeviceMemory> device_memory(const LoadOptions&) const override {
    return memory;
  }
  bool batch_invariant() const override { return true; }

  std::shared_ptr<FakeMemory> memory;
  bool computes_logits = false;
  bool reads_token_count = false;
  // Called after each forward with what it was given.
  std::function<void(const ForwardInput&, const ForwardOutput&, std::span<std::byte>)> afterwards;
  mutable std::atomic<void*> last_stream = nullptr;

 private:
  const Backend& inner_;
};

}  // namespace sluice::test
