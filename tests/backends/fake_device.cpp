#include "backends/fake_device.hpp"

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "base/element.hpp"
#include "base/fail.hpp"
#include "base/token_rows.hpp"

namespace sluice::test {
namespace {

std::size_t bytes_of(const TensorView& tensor) {
  return static_cast<std::size_t>((tensor.shape.elements() * bits(tensor.dtype) + 7) / 8);
}

class FakeExperts final : public Experts {
 public:
  FakeExperts(const FakeBackend& owner, std::unique_ptr<Experts> inner, const MoeWeights& weights)
      : owner_(owner), inner_(std::move(inner)) {
    if (!weights.router_weight) return;
    columns_ = weights.router_weight.shape[1];
    for (std::int64_t i = 0; i < weights.router_weight.shape.elements(); ++i) {
      router_.push_back(load_float(weights.router_weight.data, weights.router_weight.dtype, i));
    }
  }

  // Something of its own, so that a caller who forgets it is seen.
  std::size_t workspace_bytes(std::int64_t tokens) const override {
    return inner_->workspace_bytes(tokens) + 64 * static_cast<std::size_t>(tokens);
  }
  std::size_t weight_bytes() const override { return inner_->weight_bytes(); }
  bool computes_logits() const override { return owner_.computes_logits; }
  bool reads_token_count() const override { return owner_.reads_token_count; }

  void forward(const ForwardInput& input, const ForwardOutput& output,
               std::span<std::byte> workspace, void* stream) const override {
    owner_.last_stream = stream;
    const std::int64_t tokens = input.hidden_states.shape[0];
    if (workspace.size() != workspace_bytes(tokens)) {
      fail(ErrorKind::internal, "a workspace of {} bytes, not {}", workspace.size(),
           workspace_bytes(tokens));
    }
    if (!workspace.empty() &&
        (!owner_.memory->owns(workspace.data(), workspace.size()) ||
         reinterpret_cast<std::uintptr_t>(workspace.data()) % kWorkspaceAlignment != 0)) {
      fail(ErrorKind::internal, "the workspace is not on the device, or not aligned");
    }
    if (input.token_count) {
      if (!owner_.reads_token_count) fail(ErrorKind::internal, "a token_count that nobody reads");
      const TensorView count = here(input.token_count);
      const std::int64_t live = load_int(count.data, count.dtype, 0);
      const std::size_t enough = workspace_bytes(live);
      return forward(token_rows(input, 0, live), token_rows(output, 0, live),
                     workspace.first(enough), stream);
    }
    ForwardInput own{here(input.hidden_states),
                     here(input.router_logits),
                     here(input.topk_ids),
                     here(input.topk_weights),
                     {}};
    std::vector<float> logits;
    if (owner_.computes_logits && !own.router_logits && !own.topk_ids) {
      logits = logits_of(own.hidden_states);
      own.router_logits = {logits.data(), DType::f32, {tokens, std::ssize(router_) / columns_}, {}};
    }
    const std::size_t bytes = inner_->workspace_bytes(tokens);
    inner_->forward(own, {here(output.output), here(output.topk_ids), here(output.topk_weights)},
                    workspace.first(bytes), nullptr);
    if (owner_.afterwards) owner_.afterwards(input, output, workspace);
  }

 private:
  template <typename View>
  View here(View view) const {
    if (view && (view.device != kFakeDevice || !owner_.memory->owns(view.data, bytes_of(view)))) {
      fail(ErrorKind::internal, "a tensor of shape {} is on {} and not in the device's memory",
           to_string(view.shape), to_string(view.device));
    }
    view.device = {};
    return view;
  }

  std::vector<float> logits_of(const TensorView& hidden) const {
    std::vector<float> logits;
    for (std::int64_t token = 0; token < hidden.shape[0]; ++token) {
      for (std::int64_t row = 0; row < std::ssize(router_) / columns_; ++row) {
        float sum = 0;
        for (std::int64_t i = 0; i < columns_; ++i) {
          sum += router_[static_cast<std::size_t>(row * columns_ + i)] *
                 load_float(hidden.data, hidden.dtype, token * columns_ + i);
        }
        logits.push_back(sum);
      }
    }
    return logits;
  }

  const FakeBackend& owner_;
  std::unique_ptr<Experts> inner_;
  std::vector<float> router_;
  std::int64_t columns_ = 1;
};

}  // namespace

FakeMemory::~FakeMemory() {
  for (const auto& [memory, bytes] : blocks_) std::free(const_cast<std::byte*>(memory));
}

void* FakeMemory::allocate(std::size_t bytes) const {
  const std::size_t live = live_bytes();
  const std::lock_guard lock(mutex_);
  if (live + bytes > limit) {
    fail(ErrorKind::device, "cuda:1: {} bytes are needed and {} are free", bytes, limit - live);
  }
  ++allocations_;
  const std::size_t whole = (bytes / kWorkspaceAlignment + 1) * kWorkspaceAlignment;
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(kWorkspaceAlignment, whole));
  std::memset(memory, 0xcd, whole);
  blocks_[memory] = bytes;
  return memory;
}

void FakeMemory::release(void* memory) const noexcept {
  const std::lock_guard lock(mutex_);
  blocks_.erase(static_cast<std::byte*>(memory));
  std::free(memory);
}

bool FakeMemory::owns(const void* memory, std::size_t bytes) const {
  const std::lock_guard lock(mutex_);
  const auto* at = static_cast<const std::byte*>(memory);
  auto block = blocks_.upper_bound(at);
  if (block == blocks_.begin()) return false;
  --block;
  return at + bytes <= block->first + block->second;
}

std::size_t FakeMemory::live_bytes() const {
  const std::lock_guard lock(mutex_);
  std::size_t live = 0;
  for (const auto& [memory, bytes] : blocks_) live += bytes;
  return live;
}

void FakeMemory::check(const void* memory, std::size_t bytes, const char* what) const {
  if (!owns(memory, bytes)) fail(ErrorKind::internal, "{} outside of the device's memory", what);
}

void FakeMemory::copy_in(void* device, const void* host, std::size_t bytes, void*) const {
  check(device, bytes, "copy_in");
  std::memcpy(device, host, bytes);
}

void FakeMemory::copy_out(void* host, const void* device, std::size_t bytes, void*) const {
  check(device, bytes, "copy_out");
  std::memcpy(host, device, bytes);
}

FakeArray::FakeArray(std::shared_ptr<const FakeMemory> memory, const TensorView& host)
    : memory_(std::move(memory)), host_(host), data_(memory_->allocate(bytes_of(host))) {
  memory_->copy_in(data_, host.data, bytes_of(host), nullptr);
}

FakeArray::~FakeArray() { memory_->release(data_); }

void FakeArray::copy_out(void* to) const { memory_->copy_out(to, data_, bytes_of(host_), nullptr); }

FakeBackend::FakeBackend()
    : memory(std::make_shared<FakeMemory>()), inner_(sluice::backend("reference")) {}

std::unique_ptr<Experts> FakeBackend::load(const MoeSpec& spec, const MoeWeights& weights,
                                           const LoadOptions& options) const {
  MoeWeights own = weights;
  const auto here = [&](TensorView& view) {
    if (view.device == kFakeDevice && memory->owns(view.data, bytes_of(view))) view.device = {};
    if (view.device != Device{}) fail(ErrorKind::internal, "a weight is on another device");
  };
  for (TensorView* view : {&own.router_weight, &own.e_score_correction_bias}) here(*view);
  for (ExpertMatrices* list : {&own.gate_up_proj, &own.down_proj}) {
    for (TensorView& view : *list) here(view);
  }
  return std::make_unique<FakeExperts>(*this, inner_.load(spec, own, options), own);
}

}  // namespace sluice::test
