// The contract between the layer and whatever computes it.
//
// A backend starts by honouring nothing. It claims fields by name; a field that is not neutral and
// not claimed is refused, by name, before any weight is packed (negotiate). A field added to the
// spec tomorrow is therefore refused everywhere until each backend opts in.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <sluice/executor.hpp>
#include <sluice/fields.hpp>
#include <sluice/spec.hpp>
#include <sluice/tensor.hpp>
#include <sluice/weights.hpp>

namespace sluice {

struct Refusal {
  std::string field;   // full registry name
  std::string reason;  // shows the value and what would be accepted
};

struct Support {
  std::string variant;  // the kernel that would run, e.g. "gemm_bf16_bf16_avx512_bf16"
  std::vector<Refusal> refusals;
  bool ok() const { return refusals.empty(); }
};

// How the tokens' experts are given. Exactly one of (router_logits), (topk_ids and topk_weights).
// Hidden + router weight is MoeLayer's business: it computes logits first, on the host. Experts
// that say computes_logits() also take neither, if they were loaded with router_weight. Host
// tensors reach experts cut to their token_count; only those that say reads_token_count() see one.
struct ForwardInput {
  TensorView hidden_states;  // [tokens, H] f32|bf16|f16
  TensorView router_logits;  // [tokens, E] f32|bf16, without router_bias
  TensorView topk_ids;       // [tokens, K] i32|i64, global expert ids, distinct within a row
  TensorView topk_weights;   // [tokens, K] f32|bf16; final: normalised and scaled by the router,
                             // except that apply_routed_scale_to_output still applies to the output
  // Optional, [1] i32: rows at and beyond it are as if they were not there; their outputs stay as
  // they are. On a device it is read when the work runs, so that one captured graph serves every
  // count up to its rows; counts outside of [0, tokens] are taken as the nearer end.
  TensorView token_count = {};
};

struct ForwardOutput {
  MutableTensorView output;        // [tokens, H], dtype by LayerSpec::output_dtype
  MutableTensorView topk_ids;      // optional, [tokens, K] i32: what the router chose
  MutableTensorView topk_weights;  // optional, [tokens, K] f32: as applied
};

// One layer's weights, packed by and for one backend.
class Experts {
 public:
  virtual ~Experts() = default;
  // Exact, monotone in tokens; the caller provides it or more, aligned to kWorkspaceAlignment, on
  // the device of the tokens. Contents need no initialisation and mean nothing between calls.
  virtual std::size_t workspace_bytes(std::int64_t tokens) const = 0;
  // Computes the layer of `spec` on this rank's experts, shared experts included. Never allocates,
  // never blocks on a device. `stream` is a cudaStream_t for device backends, else ignored.
  // The same inputs give the same bits. Not thread-safe for one workspace; safe for several.
  virtual void forward(const ForwardInput& input, const ForwardOutput& output,
                       std::span<std::byte> workspace, void* stream = nullptr) const = 0;
  virtual std::size_t weight_bytes() const = 0;  // held by this object
  // forward multiplies by router_weight itself where neither logits nor ids are given.
  virtual bool computes_logits() const { return false; }
  // forward honours token_count, on the device of its tensors.
  virtual bool reads_token_count() const { return false; }
};

inline constexpr std::size_t kWorkspaceAlignment = 256;

// Memory that the host cannot touch, for those who have host tensors and a device backend.
class DeviceMemory {
 public:
  virtual ~DeviceMemory() = default;
  // Aligned to kWorkspaceAlignment. Throws Error(device) with the bytes asked for and those free.
  virtual void* allocate(std::size_t bytes) const = 0;
  virtual void release(void* memory) const noexcept = 0;
  // In the order of `stream`; both return when the host memory may be used again.
  virtual void copy_in(void* device, const void* host, std::size_t bytes, void* stream) const = 0;
  virtual void copy_out(void* host, const void* device, std::size_t bytes, void* stream) const = 0;
  // Whether work for `stream` is being recorded (a CUDA graph's capture), to run later and often.
  virtual bool recording(void* stream) const {
    static_cast<void>(stream);
    return false;
  }
};

struct LoadOptions {
  std::shared_ptr<Executor> executor;  // null: make_executor()
  int device = 0;                      // CUDA ordinal
  // A permission: a backend that profits may keep each expert's output in the activation format
  // until it is summed, and changes nothing else. An audit must be told of it
  // (AuditAllowances::slot_outputs_rounded).
  bool may_round_slot_outputs = false;
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view name() const = 0;
  // nullopt: usable here. Otherwise why not, on this machine.
  virtual std::optional<std::string> unavailable() const = 0;
  virtual FieldSet claims() const = 0;
  // Limits beyond the claims (sizes, combinations): called by negotiate() only after every
  // non-neutral field was found claimed.
  virtual Support supports(const MoeSpec& spec) const = 0;
  // `weights` passed check_weights for `spec`, and negotiate() found no refusal.
  virtual std::unique_ptr<Experts> load(const MoeSpec& spec, const MoeWeights& weights,
                                        const LoadOptions& options) const = 0;
  virtual Device device(const LoadOptions&) const { return {}; }
  // Null: tokens, weights and workspace live in host memory. Else forward takes pointers of this
  // device's memory only; load takes host or device weights.
  virtual std::shared_ptr<const DeviceMemory> device_memory(const LoadOptions&) const {
    return nullptr;
  }
  // A token's bits do not depend on the other tokens of the call. Audited where claimed.
  virtual bool batch_invariant() const = 0;
};

// Every non-neutral field that `backend` does not claim, then what supports() refuses. The spec is
// one that validate() accepts.
Support negotiate(const Backend& backend, const MoeSpec& spec);

// Fastest first, reference last. One line per backend in backends/backend_list.cpp.
std::span<const Backend* const> backends();
// Throws Error(user) with the known names.
const Backend& backend(std::string_view name);

struct Candidate {
  const Backend* backend;
  std::optional<std::string> unavailable;
  Support support;
  bool usable() const { return !unavailable && support.ok(); }
};

struct Choice {
  const Backend* backend;  // the first usable one, or the forced one
  std::string variant;
  std::vector<Candidate> candidates;  // all, in order, with every refusal: `sluice inspect`
};

// `forced` empty: SLUICE_BACKEND if set, else the first usable. A forced backend that is not usable
// is Error(unsupported) naming each refused field; nothing is substituted. A spec that contradicts
// itself is Error(user), as validate() words it.
Choice choose_backend(const MoeSpec& spec, std::string_view forced = {});

}  // namespace sluice
