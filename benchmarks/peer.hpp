// A peer: somebody else's way to compute the same experts, timed in the same run.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <sluice/executor.hpp>
#include <sluice/plan.hpp>

#include "bench_weights.hpp"
#include "shapes.hpp"

namespace sluice::bench {

class Peer {
 public:
  virtual ~Peer() = default;
  // Which library, which version where it says so, and the format of its weights.
  virtual std::string name() const = 0;
  // Makes what `forward` of this plan will need and keeps: not timed.
  virtual void prepare(const ExpertPlan& plan) = 0;
  // The routed experts of one layer: hidden [tokens, H] bf16. Routing and the plan are given and
  // not timed.
  virtual void forward(const std::uint16_t* hidden, const ExpertPlan& plan) = 0;
  // What the last forward made of a token, [H] bf16: not timed, because the format in which a
  // library leaves its output is its own affair.
  virtual std::vector<std::uint16_t> output(std::int64_t token) const = 0;
};

// Held by the caller as long as the peer.
struct PeerInput {
  const Shape& shape;
  const BenchWeights& weights;  // copied
  int threads;
  Executor& executor;
  std::int64_t most_tokens;
};

// One oneDNN matmul per hit expert and product, weights packed ahead in the layout it asks for.
std::unique_ptr<Peer> make_onednn_peer(const PeerInput& input);
// ggml's graph of a MoE layer, of the library at SLUICE_GGML_DIR when this was built: upstream's
// ggml, or that of ik_llama.cpp with its weights repacked.
std::unique_ptr<Peer> make_ggml_peer(const PeerInput& input);

struct PeerEntry {
  std::string_view name;
  std::unique_ptr<Peer> (*make)(const PeerInput&);  // null: not in this build
  std::string_view how_to_build;
};

std::span<const PeerEntry> peers();
// "" is oneDNN where this build has it, "none" is none; null for none. Throws Error(user) for a
// name that is not known, or not in this build: then it says how to have it.
const PeerEntry* find_peer(std::string_view name);

}  // namespace sluice::bench
