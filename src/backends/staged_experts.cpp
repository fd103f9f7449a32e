#include "backends/staged_experts.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "base/fail.hpp"

namespace sluice {
namespace {

constexpr std::byte kMark{0xa5};
constexpr std::size_t kFence = 4096;  // a tile of 16 rows of 128 bf16 values

std::size_t bytes_of(const TensorView& tensor) {
  return static_cast<std::size_t>((tensor.shape.elements() * bits(tensor.dtype) + 7) / 8);
}

std::size_t align_up(std::size_t bytes) {
  return (bytes + kWorkspaceAlignment - 1) / kWorkspaceAlignment * kWorkspaceAlignment;
}

// One tensor of a call, or the workspace: where it is here, and where in the device's block.
struct Part {
  const char* name = nullptr;
  const void* source = nullptr;
  void* target = nullptr;  // null: only read
  std::size_t bytes = 0;
  std::size_t offset = 0;
};

}  // namespace

// Where everything of one call stands in a block at `base`. Over no base it only counts.
class StagedExperts::Layout {
 public:
  Layout(const ForwardInput& input, const ForwardOutput& output, std::span<std::byte> workspace,
         std::size_t workspace_bytes, Device device, std::byte* base)
      : fenced_(workspace.data() != nullptr), device_(device), base_(base) {
    input_ = {moved("hidden_states", input.hidden_states),
              moved("router_logits", input.router_logits), moved("topk_ids", input.topk_ids),
              moved("topk_weights", input.topk_weights)};
    output_ = {moved("output", output.output), moved("output topk_ids", output.topk_ids),
               moved("output topk_weights", output.topk_weights)};
    std::byte* scratch =
        place("the workspace", workspace.data(), workspace.data(), workspace_bytes);
    workspace_ = {scratch, workspace_bytes};
    if (fenced_) total_ += kFence;
  }

  bool fenced() const { return fenced_; }
  std::size_t total() const { return total_; }
  const ForwardInput& input() const { return input_; }
  const ForwardOutput& output() const { return output_; }
  std::span<std::byte> workspace() const { return workspace_; }
  std::span<const Part> parts() const { return {parts_.data(), count_}; }

 private:
  std::byte* place(const char* name, const void* source, void* target, std::size_t bytes) {
    if (fenced_) total_ += kFence;
    const std::size_t offset = total_;
    parts_[count_++] = {name, source, target, bytes, offset};
    total_ += align_up(bytes);
    return base_ == nullptr ? nullptr : base_ + offset;
  }

  TensorView moved(const char* name, TensorView view) {
    if (view) view.data = place(name, view.data, nullptr, bytes_of(view));
    view.device = device_;
    return view;
  }
  MutableTensorView moved(const char* name, MutableTensorView view) {
    if (view) view.data = place(name, view.data, view.data, bytes_of(view));
    view.device = device_;
    return view;
  }

  static constexpr std::size_t kMost = 8;
  bool fenced_;
  Device device_;
  std::byte* base_;
  std::array<Part, kMost> parts_;
  std::size_t count_ = 0;
  std::size_t total_ = 0;
  ForwardInput input_;
  ForwardOutput output_;
  std::span<std::byte> workspace_;
};

// A block for one call; back among the idle ones afterwards.
class StagedExperts::Lease {
 public:
  Lease(const StagedExperts& owner, std::size_t bytes) : owner_(owner) {
    {
      const std::lock_guard lock(owner.mutex_);
      const auto largest = std::max_element(
          owner.idle_.begin(), owner.idle_.end(),
          [](const auto& a, const auto& b) { return a->device.size() < b->device.size(); });
      if (largest != owner.idle_.end()) {
        block_ = std::move(*largest);
        owner.idle_.erase(largest);
      }
    }
    if (!block_) block_ = std::make_unique<Block>();
    block_->device.grow(owner.memory_, bytes);
  }
  ~Lease() {
    const std::lock_guard lock(owner_.mutex_);
    owner_.idle_.push_back(std::move(block_));
  }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  Block& block() { return *block_; }

 private:
  const StagedExperts& owner_;
  std::unique_ptr<Block> block_;
};

StagedExperts::StagedExperts(std::shared_ptr<const Experts> inner, std::string backend,
                             Device device, std::shared_ptr<const DeviceMemory> memory)
    : inner_(std::move(inner)),
      backend_(std::move(backend)),
      device_(device),
      memory_(std::move(memory)) {}

void StagedExperts::forward(const ForwardInput& input, const ForwardOutput& output,
                            std::span<std::byte> workspace, void* stream) const {
  const std::size_t bytes = inner_->workspace_bytes(input.hidden_states.shape[0]);
  const Layout counted(input, output, workspace, bytes, device_, nullptr);
  Lease lease(*this, counted.total());
  Block& block = lease.block();
  const Layout layout(input, output, workspace, bytes, device_, block.device.data());
  if (layout.fenced()) return run_fenced(layout, block, stream);
  std::byte* base = block.device.data();
  for (const Part& part : layout.parts()) {
    if (part.source == nullptr || part.target != nullptr || part.bytes == 0) continue;
    memory_->copy_in(base + part.offset, part.source, part.bytes, stream);
  }
  inner_->forward(layout.input(), layout.output(), layout.workspace(), stream);
  for (const Part& part : layout.parts()) {
    if (part.target == nullptr || part.bytes == 0) continue;
    memory_->copy_out(part.target, base + part.offset, part.bytes, stream);
  }
}

// The whole block is made here, goes over in one copy and comes back in one.
void StagedExperts::run_fenced(const Layout& layout, Block& block, void* stream) const {
  if (block.image.size() < layout.total()) block.image = AlignedBuffer(layout.total());
  std::byte* image = block.image.data();
  std::memset(image, static_cast<int>(kMark), layout.total());
  for (const Part& part : layout.parts()) {
    if (part.bytes > 0) std::memcpy(image + part.offset, part.source, part.bytes);
  }
  memory_->copy_in(block.device.data(), image, layout.total(), stream);
  inner_->forward(layout.input(), layout.output(), layout.workspace(), stream);
  memory_->copy_out(image, block.device.data(), layout.total(), stream);

  std::size_t fence = 0;
  const Part* before = nullptr;
  const auto check_fence = [&](std::size_t end, const Part* after) {
    const bool whole =
        std::all_of(image + fence, image + end, [](std::byte b) { return b == kMark; });
    if (whole) return;
    fail(ErrorKind::internal, "backend {} wrote device memory {}{}{}{}", backend_,
         before == nullptr ? "" : "after ", before == nullptr ? "" : before->name,
         before == nullptr  ? "before "
         : after == nullptr ? ""
                            : " or before ",
         after == nullptr ? "" : after->name);
  };
  for (const Part& part : layout.parts()) {
    check_fence(part.offset, &part);
    fence = part.offset + part.bytes;
    before = &part;
    if (part.bytes == 0) continue;
    if (part.target != nullptr) {
      std::memcpy(part.target, image + part.offset, part.bytes);
    } else if (std::memcmp(part.source, image + part.offset, part.bytes) != 0) {
      fail(ErrorKind::internal, "backend {} changed {} in device memory; inputs are read-only",
           backend_, part.name);
    }
  }
  check_fence(layout.total(), nullptr);
}

std::unique_ptr<Experts> load_for_host(const Backend& backend, const MoeSpec& spec,
                                       const MoeWeights& weights, const LoadOptions& options) {
  auto experts = backend.load(spec, weights, options);
  auto memory = backend.device_memory(options);
  if (!memory) return experts;
  return std::make_unique<StagedExperts>(std::move(experts), std::string(backend.name()),
                                         backend.device(options), std::move(memory));
}

}  // namespace sluice
