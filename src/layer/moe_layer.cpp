#include <fmt/ranges.h>

#include <algorithm>
#include <sluice/layer.hpp>
#include <utility>

#include "backends/staged_experts.hpp"
#include "base/aligned_buffer.hpp"
#include "base/element.hpp"
#include "base/fail.hpp"
#include "base/given_executor.hpp"
#include "base/token_rows.hpp"
#include "layer/check_devices.hpp"
#include "layer/check_forward.hpp"
#include "layer/device_workspace.hpp"
#include "layer/pieces.hpp"
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

class LayerWorkspace {
 public:
  void grow(std::size_t bytes) {
    if (bytes <= memory_.size()) return;
    memory_ = {};  // before the new one, so that both never stand in memory together
    memory_ = AlignedBuffer(bytes);
  }
  std::byte* data() { return memory_.data(); }

 private:
  AlignedBuffer memory_;
};

std::shared_ptr<LayerWorkspace> make_layer_workspace() {
  return std::make_shared<LayerWorkspace>();
}

struct MoeLayer::Impl {
  MoeSpec spec;  // as given; the rank's own share is with the experts
  Chosen chosen;
  std::shared_ptr<Collective> collective;
  Device device;                               // where the experts take their tensors
  std::shared_ptr<const DeviceMemory> memory;  // of that device; null: the host
  std::shared_ptr<const Experts> experts;
  std::unique_ptr<StagedExperts> staged;  // the same experts, for host tensors; null: the host
  bool router_weight_given = false;
  std::unique_ptr<RouterLinear> router;  // null: no router_weight, or the experts multiply by it
  std::size_t workspace_limit = 0;
  std::shared_ptr<LayerWorkspace> workspace;
  DeviceWorkspace device_workspace;

  // Of the largest piece. The last one is shorter, and should need no more; whoever made the
  // experts may see that otherwise.
  std::size_t experts_bytes(std::int64_t tokens) const {
    const std::int64_t most = piece_tokens(*experts, tokens, workspace_limit);
    const std::size_t bytes = experts->workspace_bytes(most);
    if (most == tokens || tokens % most == 0) return bytes;
    return std::max(bytes, experts->workspace_bytes(tokens % most));
  }

  // Calls `forward` with each piece of the tokens.
  template <typename Forward>
  void in_pieces(const ForwardInput& input, const ForwardOutput& output, const Forward& forward) {
    const std::int64_t tokens = input.hidden_states.shape[0];
    const std::int64_t most = piece_tokens(*experts, tokens, workspace_limit);
    if (most == tokens) return forward(input, output);
    for (std::int64_t first = 0; first < tokens; first += most) {
      const std::int64_t count = std::min(most, tokens - first);
      forward(token_rows(input, first, count), token_rows(output, first, count));
    }
  }

  // On the host. Experts on a device have their workspace there.
  WorkspaceLayout layout(std::int64_t tokens) const {
    WorkspaceLayout layout;
    if (!memory) layout.experts = align_up(experts_bytes(tokens));
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

  void make_router(const TensorView& weight, std::shared_ptr<Executor> executor) {
    if (!weight || experts->computes_logits()) return;
    TensorView host = weight;
    AlignedBuffer copy;
    if (weight.device.kind != DeviceKind::cpu) {
      copy =
          AlignedBuffer(static_cast<std::size_t>(weight.shape.elements() * bits(weight.dtype) / 8));
      memory->copy_out(copy.data(), weight.data, copy.size(), nullptr);
      host = {copy.data(), weight.dtype, weight.shape, {}};
    }
    router = std::make_unique<RouterLinear>(host, std::move(executor));
  }

  void compute_logits(ForwardInput& input, std::byte* memory) {
    if (!router) {
      fail(ErrorKind::user,
           "neither router_logits nor topk_ids are given, and the layer was made without "
           "router.weight; give one of the three");
    }
    auto* logits = reinterpret_cast<float*>(memory);
    router->forward(input.hidden_states, logits);
    input.router_logits = {
        logits, DType::f32, {input.hidden_states.shape[0], spec.router.num_experts}, {}};
  }

  // Host tensors; experts on a device get copies.
  void run(const ForwardInput& input, const ForwardOutput& output, void* stream) {
    in_pieces(input, output, [&](const ForwardInput& in, const ForwardOutput& out) {
      if (staged) return staged->forward(in, out, {}, stream);
      const std::size_t bytes = experts->workspace_bytes(in.hidden_states.shape[0]);
      experts->forward(in, out, {workspace->data(), bytes}, stream);
    });
  }

  void sum_over_ranks(const ForwardInput& input, const ForwardOutput& output, std::byte* memory,
                      void* stream) {
    const auto count = output.output.shape.elements();
    const bool in_place = output.output.dtype == DType::f32;
    auto* partial =
        in_place ? static_cast<float*>(output.output.data) : reinterpret_cast<float*>(memory);
    ForwardOutput own = output;
    own.output = {partial, DType::f32, output.output.shape, output.output.device};
    run(input, own, stream);
    collective->sum({partial, static_cast<std::size_t>(count)});
    if (in_place) return;
    for (std::int64_t i = 0; i < count; ++i) {
      store_float(output.output.data, output.output.dtype, i, partial[i]);
    }
  }

  void forward_on_host(Entry entry, const ForwardInput& input, const ForwardOutput& output,
                       void* stream) {
    const WorkspaceLayout parts = layout(input.hidden_states.shape[0]);
    workspace->grow(parts.total());
    std::byte* logits = workspace->data() + parts.experts;
    std::byte* partial = logits + parts.logits;
    ForwardInput routed = input;
    if (entry == Entry::router_weight && !loaded_router_weight()) compute_logits(routed, logits);
    if (collective->size() > 1) return sum_over_ranks(routed, output, partial, stream);
    run(routed, output, stream);
  }

  // The experts read it on the device, where pieces of a call cannot be told from the whole.
  void check_device_count(std::int64_t tokens) const {
    if (!experts->reads_token_count()) {
      fail(ErrorKind::unsupported,
           "token_count: backend {} does not read it on the device; cut the tensors to the tokens "
           "that are there",
           chosen.backend->name());
    }
    const std::int64_t most = piece_tokens(*experts, tokens, workspace_limit);
    if (most == tokens) return;
    fail(ErrorKind::unsupported,
         "token_count: {} tokens go through in pieces of {} by workspace_limit {}, and the count "
         "is of the whole call; give at most {} tokens, or raise workspace_limit",
         tokens, most, workspace_limit, most);
  }

  // The experts have it and use it.
  bool loaded_router_weight() const { return router_weight_given && experts->computes_logits(); }

  void forward_on_device(Entry entry, const ForwardInput& input, const ForwardOutput& output,
                         Device place, void* stream) {
    if (device.kind == DeviceKind::cpu) {
      fail(ErrorKind::unsupported,
           "hidden_states is on {}, and backend {} reads host memory; bring the tensors there, or "
           "choose a backend of that device",
           to_string(place), chosen.backend->name());
    }
    if (place != device) {
      fail(ErrorKind::user, "hidden_states is on {} and the layer was loaded on {}",
           to_string(place), to_string(device));
    }
    if (collective->size() > 1) {
      fail(ErrorKind::unsupported,
           "hidden_states is on {}, and this layer sums over {} ranks in host memory; give host "
           "tensors",
           to_string(place), collective->size());
    }
    if (entry == Entry::router_weight && !loaded_router_weight()) {
      fail(ErrorKind::unsupported,
           "router.weight: neither router_logits nor topk_ids are given, and {}; give "
           "router_logits on {}",
           router_weight_given
               ? fmt::format("backend {} does not multiply by it", chosen.backend->name())
               : "the layer was made without it",
           to_string(place));
    }
    if (input.token_count) check_device_count(input.hidden_states.shape[0]);
    std::byte* const base =
        device_workspace.at_least(experts_bytes(input.hidden_states.shape[0]), memory, stream);
    in_pieces(input, output, [&](const ForwardInput& in, const ForwardOutput& out) {
      const std::size_t bytes = experts->workspace_bytes(in.hidden_states.shape[0]);
      experts->forward(in, out, {base, bytes}, stream);
    });
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
  load.executor = given_executor(load.executor);
  const Backend& backend = *impl_->chosen.backend;
  impl_->device = backend.device(load);
  impl_->memory = backend.device_memory(load);
  check_weight_devices(share.weights, impl_->device, backend.name());
  impl_->experts = backend.load(share.spec, share.weights, load);
  if (impl_->memory) {
    impl_->staged = std::make_unique<StagedExperts>(impl_->experts, std::string(backend.name()),
                                                    impl_->device, impl_->memory);
  }
  impl_->workspace_limit = options.workspace_limit;
  impl_->workspace = options.workspace ? options.workspace : make_layer_workspace();
  piece_tokens(*impl_->experts, 1, options.workspace_limit);  // or one token does not fit
  impl_->router_weight_given = static_cast<bool>(weights.router_weight);
  impl_->make_router(weights.router_weight, load.executor);
}

MoeLayer::~MoeLayer() = default;
MoeLayer::MoeLayer(MoeLayer&&) noexcept = default;
MoeLayer& MoeLayer::operator=(MoeLayer&&) noexcept = default;

void MoeLayer::forward(const ForwardInput& input, const ForwardOutput& output, void* stream) {
  const Device place = common_device(input, output);
  const Entry entry =
      check_forward(impl_->spec, output_dtype(input.hidden_states.dtype), input, output);
  if (input.hidden_states.shape[0] == 0) return;
  if (place.kind == DeviceKind::cpu) {
    const std::int64_t tokens = counted_tokens(input);
    if (tokens == 0) return;
    return impl_->forward_on_host(entry, token_rows(input, 0, tokens),
                                  token_rows(output, 0, tokens), stream);
  }
  impl_->forward_on_device(entry, input, output, place, stream);
}

const MoeSpec& MoeLayer::spec() const { return impl_->spec; }
const Backend& MoeLayer::backend() const { return *impl_->chosen.backend; }
const std::string& MoeLayer::variant() const { return impl_->chosen.variant; }

std::size_t MoeLayer::weight_bytes() const {
  return impl_->experts->weight_bytes() + (impl_->router ? impl_->router->weight_bytes() : 0);
}

std::size_t MoeLayer::workspace_bytes(std::int64_t tokens) const {
  if (tokens < 0) fail(ErrorKind::user, "workspace_bytes of {} tokens; give 0 or more", tokens);
  const std::size_t on_device = impl_->memory ? impl_->experts_bytes(tokens) : std::size_t{0};
  return impl_->layout(tokens).total() + on_device;
}

DType MoeLayer::output_dtype(DType hidden) const { return impl_->output_dtype(hidden); }

}  // namespace sluice
