// MoeLayer: one MoE layer, from hidden states to hidden states, on one backend.
#pragma once

#include <memory>
#include <string>

#include <sluice/backend.hpp>
#include <sluice/collective.hpp>

namespace sluice {

// Host memory for the workspaces of layers whose calls never overlap, as those of one model: it
// grows to what the largest call needs, once for all of them.
class LayerWorkspace;
std::shared_ptr<LayerWorkspace> make_layer_workspace();

struct LayerOptions {
  std::string backend;  // empty: choose_backend's rules
  // A backend outside the list (plugin, mutant); wins. It must outlive the layer.
  const Backend* instance = nullptr;
  LoadOptions load;
  std::shared_ptr<Collective> collective;  // null: one rank
  // Bytes that the experts' workspace may take: longer calls go through in pieces that fit, each of
  // which reads the weights again. 0: no bound.
  std::size_t workspace_limit = 0;
  std::shared_ptr<LayerWorkspace> workspace;  // null: one of its own
};

class MoeLayer {
 public:
  // Validates the spec, checks the weights, negotiates, packs. Throws Error(user) for
  // contradictions, bad tensors and a workspace_limit that no single token fits into,
  // Error(unsupported) naming every refused field.
  // With a collective this is a collective call: every rank constructs its layer, or all wait.
  MoeLayer(const MoeSpec& spec, const MoeWeights& weights, const LayerOptions& options = {});
  ~MoeLayer();
  // Of a layer that was moved from, nothing may be called: destroy it, or assign another to it.
  MoeLayer(MoeLayer&&) noexcept;
  MoeLayer& operator=(MoeLayer&&) noexcept;

  // Checks shapes, dtypes and, for given routing on the host, ids (distinct, in range) and weights
  // (finite); Error(user) names the first offending token. With neither logits nor ids in `input`,
  // logits come from router_weight. Tokens may be 0. Sums over ranks when a collective was given.
  // With one, every rank calls it, with as many tokens. No output may overlap an input or another
  // output in memory: Error(user).
  // Grows an internal workspace when tokens exceed every earlier call; otherwise does not allocate.
  // Two calls of one layer, or of layers that share a LayerWorkspace, must not overlap in time, nor
  // come from a task of the layer's own executor. (In Python layers lock, so there they may.)
  //
  // A token_count on the host is checked to be in [0, tokens]. On a device it needs experts that
  // read it and a call that goes through whole: Error(unsupported) otherwise.
  //
  // All tensors of a call are in one place. On the backend's device they go straight to it, in the
  // order of `stream`, and the call returns before the work is done; then entering from hidden
  // states alone needs experts that compute the logits. Host tensors work with every backend: for
  // one on a device they are copied there and back, and the call returns when the result is here.
  void forward(const ForwardInput& input, const ForwardOutput& output, void* stream = nullptr);

  const MoeSpec& spec() const;
  const Backend& backend() const;
  const std::string& variant() const;
  std::size_t weight_bytes() const;  // packed, the router's too
  // What a call of so many tokens holds, on host and device together: the experts' workspace (which
  // alone workspace_limit bounds), the logits where the layer computes them, the partial sums of
  // ranks. Error(user) for a negative count.
  std::size_t workspace_bytes(std::int64_t tokens) const;
  // The dtype that forward expects of `output` for hidden states of the given dtype.
  DType output_dtype(DType hidden) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice
