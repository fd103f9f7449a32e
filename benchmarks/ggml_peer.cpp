#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml.h>

#include <algorithm>
#include <vector>

#include "base/aligned_buffer.hpp"
#include "base/fail.hpp"
#include "base/float_types.hpp"
#include "ggml_flavour.hpp"
#include "peer.hpp"

namespace sluice::bench {
namespace {

struct FreeContext {
  void operator()(ggml_context* context) const { ggml_free(context); }
};
struct FreeAllocator {
  void operator()(ggml_gallocr* allocator) const { ggml_gallocr_free(allocator); }
};
using Context = std::unique_ptr<ggml_context, FreeContext>;

// Holds descriptions of tensors; their memory comes from elsewhere.
Context make_context() {
  constexpr std::size_t kGraphNodes = 256;
  Context context(ggml_init(
      {kGraphNodes * ggml_tensor_overhead() + ggml_graph_overhead() + ggml_tensor_overhead(),
       nullptr, true}));
  if (!context) fail(ErrorKind::internal, "ggml_init failed");
  return context;
}

// A graph, what it needs besides its tensors' memory, and the call.
struct Graph {
  Context context = make_context();
  ggml_cgraph* graph = ggml_new_graph(context.get());
  std::vector<std::uint8_t> work;
  ggml_cplan plan{};

  void make_plan(int threads, std::int64_t tokens) {
    plan = ggml_flavour_plan(graph, threads, tokens);
    work.resize(plan.work_size);
    plan.work_data = work.data();
  }
  void compute() {
    if (ggml_graph_compute(graph, &plan) != GGML_STATUS_SUCCESS) {
      fail(ErrorKind::internal, "ggml_graph_compute failed");
    }
  }
};

class GgmlPeer final : public Peer {
 public:
  explicit GgmlPeer(const PeerInput& input)
      : shape_(input.shape), threads_(input.threads), tensors_(make_context()) {
    const std::int64_t h = shape_.hidden;
    const std::int64_t i = shape_.intermediate;
    const auto half = static_cast<std::size_t>(i * h);
    gate_ = load(h, i, [&](std::int64_t e) { return input.weights.gate_up(e).first(half); });
    up_ = load(h, i, [&](std::int64_t e) { return input.weights.gate_up(e).last(half); });
    down_ = load(i, h, [&](std::int64_t e) { return input.weights.down(e); });
    allocator_.reset(ggml_gallocr_new(ggml_backend_cpu_buffer_type()));
    make_graph(input.most_tokens);
    make_waker();
  }

  std::string name() const override {
    return ggml_flavour_name() + " (" + ggml_type_name(gate_->type) + ")";
  }

  void prepare(const ExpertPlan& plan) override {
    if (plan.tokens != tokens_) make_graph(plan.tokens);
    std::vector<std::int32_t> expert_of(static_cast<std::size_t>(plan.rows()));
    for (std::size_t e = 0; e + 1 < plan.expert_offsets.size(); ++e) {
      std::fill(expert_of.begin() + plan.expert_offsets[e],
                expert_of.begin() + plan.expert_offsets[e + 1], static_cast<std::int32_t>(e));
    }
    for (std::size_t slot = 0; slot < ids_.size(); ++slot) {
      const auto row = static_cast<std::size_t>(plan.slot_row[slot]);
      ids_[slot] = expert_of[row];
      weights_[slot] = plan.row_weight[row];
    }
    waker_.compute();
  }

  void forward(const std::uint16_t* hidden, const ExpertPlan&) override {
    hidden_->data = const_cast<std::uint16_t*>(hidden);
    layer_->compute();
  }

  std::vector<std::uint16_t> output(std::int64_t token) const override {
    const float* row = static_cast<const float*>(output_->data) + token * shape_.hidden;
    std::vector<std::uint16_t> rounded(static_cast<std::size_t>(shape_.hidden));
    std::transform(row, row + shape_.hidden, rounded.begin(), float_to_bf16);
    return rounded;
  }

 private:
  // Memory that asks for huge pages, as ours does: ggml's own would not.
  template <typename F>
  ggml_tensor* load(std::int64_t columns, std::int64_t rows, F weights_of) {
    ggml_tensor* tensor =
        ggml_new_tensor_3d(tensors_.get(), GGML_TYPE_BF16, columns, rows, shape_.experts);
    const auto count = static_cast<std::size_t>(columns * rows);
    memory_.emplace_back(ggml_nbytes(tensor));
    tensor->data = memory_.back().data();
    for (std::int64_t e = 0; e < shape_.experts; ++e) {
      std::copy_n(
          weights_of(e).data(), count,
          memory_.back().template as<std::uint16_t>() + static_cast<std::size_t>(e) * count);
    }
    ggml_flavour_pack(tensor);
    return tensor;
  }

  void make_graph(std::int64_t tokens) {
    tokens_ = tokens;
    ids_.resize(static_cast<std::size_t>(tokens * shape_.top_k));
    weights_.resize(ids_.size());
    layer_ = std::make_unique<Graph>();
    ggml_context* context = layer_->context.get();
    // Tensors that have memory are not given any. The hidden states' follows at every call.
    hidden_ = ggml_new_tensor_3d(context, GGML_TYPE_BF16, shape_.hidden, 1, tokens);
    hidden_->data = memory_.front().data();
    ggml_tensor* ids = ggml_new_tensor_2d(context, GGML_TYPE_I32, shape_.top_k, tokens);
    ids->data = ids_.data();
    ggml_tensor* weights = ggml_new_tensor_3d(context, GGML_TYPE_F32, 1, shape_.top_k, tokens);
    weights->data = weights_.data();
    output_ = ggml_flavour_experts(context, {gate_, up_, down_, hidden_, ids, weights});
    ggml_build_forward_expand(layer_->graph, output_);
    if (!ggml_gallocr_alloc_graph(allocator_.get(), layer_->graph)) {
      fail(ErrorKind::device, "ggml found no memory for {} tokens", tokens);
    }
    layer_->make_plan(threads_, tokens);
  }

  // The least that all threads take part in: after it they wait awake for the graph that is timed.
  void make_waker() {
    ggml_tensor* ones = ggml_new_tensor_2d(waker_.context.get(), GGML_TYPE_F32, 16, threads_);
    ones->data = waker_memory_.data();
    ggml_tensor* sum = ggml_add(waker_.context.get(), ones, ones);
    sum->data = waker_memory_.data() + waker_memory_.size() / 2;
    ggml_build_forward_expand(waker_.graph, sum);
    waker_.make_plan(threads_, 1);
  }

  Shape shape_;
  int threads_;
  Context tensors_;
  std::vector<AlignedBuffer> memory_;  // of the weights
  ggml_tensor *gate_, *up_, *down_;
  std::unique_ptr<ggml_gallocr, FreeAllocator> allocator_;
  std::int64_t tokens_ = 0;
  std::vector<std::int32_t> ids_;
  std::vector<float> weights_;
  std::unique_ptr<Graph> layer_;
  ggml_tensor* hidden_ = nullptr;
  ggml_tensor* output_ = nullptr;
  Graph waker_;
  std::vector<float> waker_memory_ =
      std::vector<float>(std::size_t{2} * 16 * static_cast<std::size_t>(threads_));
};

}  // namespace

std::unique_ptr<Peer> make_ggml_peer(const PeerInput& input) {
  return std::make_unique<GgmlPeer>(input);
}

}  // namespace sluice::bench
