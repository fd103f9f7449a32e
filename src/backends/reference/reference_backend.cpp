#include "backends/reference/reference_backend.hpp"

#include <algorithm>
#include <cmath>

#include "backends/reference/activation.hpp"
#include "backends/reference/routing.hpp"
#include "backends/reference/unpack_weights.hpp"
#include "base/element.hpp"
#include "base/given_executor.hpp"
#include "base/workspace.hpp"

namespace sluice {
namespace {

using reference::ExpertWeights;
using reference::RouterTensors;
using reference::RoutingScratch;

// One worker's scratch: a token at a time needs no more.
struct TokenScratch {
  std::span<double> logits, scores, choice;             // [E]
  std::span<std::int64_t> order;                        // [E]
  std::span<double> group_scores;                       // [n_group]
  std::span<std::int64_t> ids;                          // [K]
  std::span<double> weights;                            // [K]
  std::span<double> input, expert_out, routed, shared;  // [H]
  std::span<double> hidden;                             // [I] or the shared width

  TokenScratch(const MoeSpec& spec, Workspace& workspace) {
    const std::int64_t experts = spec.router.num_experts;
    for (auto* part : {&logits, &scores, &choice}) *part = workspace.take<double>(experts);
    order = workspace.take<std::int64_t>(experts);
    group_scores = workspace.take<double>(spec.router.n_group);
    ids = workspace.take<std::int64_t>(spec.router.top_k);
    weights = workspace.take<double>(spec.router.top_k);
    for (auto* part : {&input, &expert_out, &routed, &shared}) {
      *part = workspace.take<double>(spec.experts.hidden_size);
    }
    hidden = workspace.take<double>(std::max(local_width(spec), local_shared_width(spec)));
  }

  static std::size_t bytes(const MoeSpec& spec) {
    Workspace counted;
    TokenScratch(spec, counted);
    return counted.used();
  }
};

void read_row(const TensorView& tensor, std::int64_t row, std::span<double> to) {
  const auto columns = static_cast<std::int64_t>(to.size());
  for (std::int64_t i = 0; i < columns; ++i) {
    to[static_cast<std::size_t>(i)] = load_float(tensor.data, tensor.dtype, row * columns + i);
  }
}

class ReferenceExperts final : public Experts {
 public:
  ReferenceExperts(const MoeSpec& spec, const MoeWeights& weights,
                   std::shared_ptr<Executor> executor)
      : spec_(spec),
        plain_(plain_activation(spec.experts)),
        executor_(std::move(executor)),
        router_bias_(reference::unpack_vector(weights.router_bias)),
        correction_bias_(reference::unpack_vector(weights.e_score_correction_bias)),
        shared_gate_(reference::unpack_vector(weights.shared_expert_gate)),
        experts_(reference::unpack_experts(spec, weights)),
        shared_(reference::unpack_shared(spec, weights)) {}

  std::size_t workspace_bytes(std::int64_t) const override {
    return static_cast<std::size_t>(executor_->workers()) * TokenScratch::bytes(spec_);
  }

  std::size_t weight_bytes() const override {
    std::size_t total = shared_.bytes();
    for (const ExpertWeights& expert : experts_) total += expert.bytes();
    return total +
           sizeof(float) * (router_bias_.size() + correction_bias_.size() + shared_gate_.size());
  }

  void forward(const ForwardInput& input, const ForwardOutput& output,
               std::span<std::byte> workspace, void*) const override {
    const std::int64_t tokens = input.hidden_states.shape[0];
    const std::int64_t workers = executor_->workers();
    auto work = [&](int worker) {
      Workspace own(workspace.data() +
                    static_cast<std::size_t>(worker) * TokenScratch::bytes(spec_));
      TokenScratch scratch(spec_, own);
      for (std::int64_t token = worker; token < tokens; token += workers) {
        forward_token(input, output, token, scratch);
      }
    };
    executor_->run(work);
  }

 private:
  // Shared experts know no alpha, beta and limit.
  static ExpertSpec plain_activation(ExpertSpec experts) {
    const ExpertSpec neutral;
    experts.swiglu_alpha = neutral.swiglu_alpha;
    experts.swiglu_beta = neutral.swiglu_beta;
    experts.swiglu_limit = neutral.swiglu_limit;
    return experts;
  }

  void forward_token(const ForwardInput& input, const ForwardOutput& output, std::int64_t token,
                     TokenScratch& scratch) const {
    route(input, token, scratch);
    add_routed_experts(input, token, scratch);
    add_shared_experts(input, token, scratch);
    write(output, token, scratch);
  }

  void route(const ForwardInput& input, std::int64_t token, TokenScratch& scratch) const {
    if (input.router_logits) {
      read_row(input.router_logits, token, scratch.logits);
      reference::route_token(
          spec_.router, RouterTensors{router_bias_, correction_bias_}, scratch.logits,
          RoutingScratch{scratch.scores, scratch.choice, scratch.group_scores, scratch.order},
          scratch.ids, scratch.weights);
      return;
    }
    read_row(input.topk_weights, token, scratch.weights);
    const auto top_k = static_cast<std::int64_t>(scratch.ids.size());
    for (std::int64_t slot = 0; slot < top_k; ++slot) {
      scratch.ids[static_cast<std::size_t>(slot)] =
          load_int(input.topk_ids.data, input.topk_ids.dtype, token * top_k + slot);
    }
  }

  // routed = sum over the slots of this rank: weight * (expert(x) + down_bias), in slot order.
  void add_routed_experts(const ForwardInput& input, std::int64_t token,
                          TokenScratch& scratch) const {
    const bool on_input = spec_.router.apply_router_weight_on_input;
    std::ranges::fill(scratch.routed, 0.0);
    for (std::size_t slot = 0; slot < scratch.ids.size(); ++slot) {
      const std::int64_t local = local_expert(spec_, scratch.ids[slot]);
      if (local < 0) continue;
      const ExpertWeights& expert = experts_[static_cast<std::size_t>(local)];
      const double weight = scratch.weights[slot];
      read_input(input, token, on_input ? weight : 1.0, scratch.input);
      reference::run_expert(spec_.experts, expert, scratch.input,
                            scratch.hidden.first(static_cast<std::size_t>(expert.width)),
                            scratch.expert_out);
      for (std::size_t i = 0; i < scratch.routed.size(); ++i) {
        double term = on_input ? scratch.expert_out[i] : weight * scratch.expert_out[i];
        // A bias that is not there is no bias of 0, of which an infinite weight makes NaN.
        if (!expert.down_bias.empty()) term += weight * expert.down_bias[i];
        scratch.routed[i] += term;
      }
    }
    if (spec_.router.apply_routed_scale_to_output) {
      for (double& value : scratch.routed) value *= spec_.router.routed_scaling_factor;
    }
  }

  void add_shared_experts(const ForwardInput& input, std::int64_t token,
                          TokenScratch& scratch) const {
    std::ranges::fill(scratch.shared, 0.0);
    if (shared_.width == 0) return;
    double gate = 1.0;
    if (!shared_gate_.empty()) {
      read_row(input.hidden_states, token, scratch.input);
      gate = 1.0 / (1.0 + std::exp(-reference::dot(shared_gate_, scratch.input)));
    }
    read_input(input, token, 1.0, scratch.input);
    reference::run_expert(plain_, shared_, scratch.input,
                          scratch.hidden.first(static_cast<std::size_t>(shared_.width)),
                          scratch.shared);
    for (double& value : scratch.shared) value *= gate;
  }

  void read_input(const ForwardInput& input, std::int64_t token, double weight,
                  std::span<double> x) const {
    read_row(input.hidden_states, token, x);
    for (double& value : x) {
      value = reference::round_activation(spec_.experts.activation_format, weight * value);
    }
  }

  void write(const ForwardOutput& output, std::int64_t token, const TokenScratch& scratch) const {
    const auto width = static_cast<std::int64_t>(scratch.routed.size());
    for (std::int64_t i = 0; i < width; ++i) {
      const auto at = static_cast<std::size_t>(i);
      store_float(output.output.data, output.output.dtype, token * width + i,
                  static_cast<float>(scratch.routed[at] + scratch.shared[at]));
    }
    const auto top_k = static_cast<std::int64_t>(scratch.ids.size());
    for (std::int64_t slot = 0; slot < top_k; ++slot) {
      const auto at = static_cast<std::size_t>(slot);
      if (output.topk_ids.data != nullptr) {
        store_unaligned(output.topk_ids.data, token * top_k + slot,
                        static_cast<std::int32_t>(scratch.ids[at]));
      }
      if (output.topk_weights.data != nullptr) {
        store_unaligned(output.topk_weights.data, token * top_k + slot,
                        static_cast<float>(scratch.weights[at]));
      }
    }
  }

  MoeSpec spec_;
  ExpertSpec plain_;
  std::shared_ptr<Executor> executor_;
  std::vector<float> router_bias_, correction_bias_, shared_gate_;
  std::vector<ExpertWeights> experts_;
  ExpertWeights shared_;
};

class ReferenceBackend final : public Backend {
 public:
  std::string_view name() const override { return "reference"; }
  std::optional<std::string> unavailable() const override { return std::nullopt; }
  FieldSet claims() const override { return FieldSet::all(); }
  bool batch_invariant() const override { return true; }

  Support supports(const MoeSpec& spec) const override {
    Support support{"double", {}};
    if (spec.experts.activation_format == ActivationFormat::fp8_e4m3) {
      support.refusals.push_back(
          {"experts.activation_format", "is fp8_e4m3; backend reference takes bf16, f16, f32"});
    }
    return support;
  }

  std::unique_ptr<Experts> load(const MoeSpec& spec, const MoeWeights& weights,
                                const LoadOptions& options) const override {
    return std::make_unique<ReferenceExperts>(spec, weights, given_executor(options.executor));
  }
};

}  // namespace

const Backend& reference_backend() {
  static const ReferenceBackend instance;
  return instance;
}

}  // namespace sluice
