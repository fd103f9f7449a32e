#include <fmt/ranges.h>

#include <sluice/layer.hpp>
#include <utility>

#include "base/aligned_buffer.hpp"
#include "base/element.hpp"
#include "base/fail.hpp"
#include "layer/check_forward.hpp"
#include "layer/rank_share.hpp"
#include "layer/router_linear.hpp"

namespace sluice {
namespace {

struct Chosen {
  const Backend* backend;
  std::string variant;
};

Chosen negotiate_instance(const Backend& instance, const MoeSpec& spec) {
  if (const auto reason = instance.unavailable()) {
    fail(ErrorKind::unsupported, "backend {} is not available: {}", instance.name(), *reason);
  }
  Support support = negotiate(instance, spec);
  if (support.ok()) return {&instance, std::move(support.variant)};
  std::vector<std::string> lines;
  for (const Refusal& refusal : support.refusals) {
    lines.push_back(fmt::format("{} {}", refusal.field, refusal.reason));
  }
  fail(ErrorKind::unsupported, "backend {} cannot compute this layer:\n  {}", instance.name(),
       fmt::join(lines, "\n  "));
}

Chosen choose(const LayerOptions& options, const MoeSpec& spec) {
  if (options.instance != nullptr) return negotiate_instance(*options.instance, spec);
  Choice choice = choose_backend(spec, options.backend);
  return {choice.backend, std::move(choice.variant)};
}

// Parts of the layer's workspace, each aligned to kWorkspaceAlignment.
struct WorkspaceLayout {
  std::size_t experts = 0;  // bytes of Experts::forward
  std::size_t logits = 0;   // [tokens, E] f32, when the layer computes them
  std::size_t partial = 0;  // [tokens, H] f32, when ranks sum into another dtype
  std::size_t total() const { return experts + logits + partial; }
};

std::size_t align_up(std::size_t bytes) {
  return (bytes + kWorkspaceAlignment - 1) / kWorkspaceAlignment * kWorkspaceAlignment;
}

std::size_t matrix_bytes(std::int64_t rows, std::int64_t columns) {
  return align_up(static_cast<std::size_t>(rows * columns) * sizeof(float));
}

}  // namespace

struct MoeLayer::Impl {
  MoeSpec spec;  // as given; the rank's own share is with the experts
  Chosen chosen;
  std::shared_ptr<Collective> collective;
  std::unique_ptr<Experts> experts;
  std::unique_ptr<RouterLinear> router;  // null: no router_weight was given
  AlignedBuffer workspace;

  WorkspaceLayout layout(std::int64_t tokens) const {
    WorkspaceLayout layout;
    layout.experts = align_up(experts->workspace_bytes(tokens));
    if (router) layout.logits = matrix_bytes(tokens, spec.router.num_experts);
    if (collective->size() > 1) layout.partial = matrix_bytes(tokens, spec.experts.hidden_size);
    return layout;
  }

  DType output_dtype(DType hidden) const {
    switch (spec.layer.output_dtype) {
      case OutputDType::f32:
        return DType::f32;
      case OutputDType::bf16:
        return DType::bf16;
      case OutputDType::f16:
        return DType::f16;
      case OutputDType::as_input:
        break;
    }
    return hidden;
  }

  void compute_logits(ForwardInput& input, std::byte* memory) {
    if (!router) {
      fail(ErrorKind::user,
           "neither router_logits nor topk_ids are given, and the layer was made without "
           "router_weight; give one of the three");
    }
    auto* logits = reinterpret_cast<float*>(memory);
    router->forward(input.hidden_states, logits);
    input.router_logits = {
        logits, DType::f32, {input.hidden_states.shape[0], spec.router.num_experts}, {}};
  }

  void sum_over_ranks(const ForwardInput& input, const ForwardOutput& output,
                      std::span<std::byte> scratch, std::byte* memory, void* stream) {
    const auto count = output.output.shape.elements();
    const bool in_place = output.output.dtype == DType::f32;
    auto* partial =
        in_place ? static_cast<float*>(output.output.data) : reinterpret_cast<float*>(memory);
    ForwardOutput own = output;
    own.output = {partial, DType::f32, output.output.shape, output.output.device};
    experts->forward(input, own, scratch, stream);
    collective->sum({partial, static_cast<std::size_t>(count)});
    if (in_place) return;
    for (std::int64_t i = 0; i < count; ++i) {
      store_float(output.output.data, output.output.dtype, i, partial[i]);
    }
  }
};

MoeLayer::MoeLayer(const MoeSpec& spec, const MoeWeights& weights, const LayerOptions& options)
    : impl_(std::make_unique<Impl>()) {
  validate(spec);
  impl_->spec = spec;
  impl_->collective = options.collective ? options.collective : make_self_collective();
  const RankShare share = rank_share(spec, weights, *impl_->collective);
  check_weights(share.spec, share.weights);
  impl_->chosen = choose(options, share.spec);

  LoadOptions load = options.load;
  if (!load.executor) load.executor = make_executor();
  if (impl_->chosen.backend->device(load).kind != DeviceKind::cpu) {
    // Workspace and rank sums live in host memory here.
    fail(ErrorKind::unsupported, "MoeLayer runs host backends; backend {} computes on a device",
         impl_->chosen.backend->name());
  }
  impl_->experts = impl_->chosen.backend->load(share.spec, share.weights, load);
  if (weights.router_weight) {
    impl_->router = std::make_unique<RouterLinear>(weights.router_weight, load.executor);
  }
}

MoeLayer::~MoeLayer() = default;
MoeLayer::MoeLayer(MoeLayer&&) noexcept = default;
MoeLayer& MoeLayer::operator=(MoeLayer&&) noexcept = default;

void MoeLayer::forward(const ForwardInput& input, const ForwardOutput& output, void* stream) {
  const Entry entry =
      check_forward(impl_->spec, output_dtype(input.hidden_states.dtype), input, output);
  const std::int64_t tokens = input.hidden_states.shape[0];
  if (tokens == 0) return;
  const WorkspaceLayout layout = impl_->layout(tokens);
  if (layout.total() > impl_->workspace.size()) {
    impl_->workspace = {};  // before the new one, so that both never stand in memory together
    impl_->workspace = AlignedBuffer(layout.total());
  }
  std::byte* logits = impl_->workspace.data() + layout.experts;
  std::byte* partial = logits + layout.logits;
  const std::span scratch(impl_->workspace.data(), impl_->experts->workspace_bytes(tokens));

  ForwardInput routed = input;
  if (entry == Entry::router_weight) impl_->compute_logits(routed, logits);
  if (impl_->collective->size() > 1) {
    impl_->sum_over_ranks(routed, output, scratch, partial, stream);
  } else {
    impl_->experts->forward(routed, output, scratch, stream);
  }
}

const MoeSpec& MoeLayer::spec() const { return impl_->spec; }
const Backend& MoeLayer::backend() const { return *impl_->chosen.backend; }
const std::string& MoeLayer::variant() const { return impl_->chosen.variant; }

std::size_t MoeLayer::weight_bytes() const {
  return impl_->experts->weight_bytes() + (impl_->router ? impl_->router->weight_bytes() : 0);
}

std::size_t MoeLayer::workspace_bytes(std::int64_t tokens) const {
  return impl_->layout(tokens).total();
}

DType MoeLayer::output_dtype(DType hidden) const { return impl_->output_dtype(hidden); }

}  // namespace sluice
