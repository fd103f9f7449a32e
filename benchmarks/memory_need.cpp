#include "memory_need.hpp"

#include <algorithm>

#include "base/fail.hpp"
#include "machine.hpp"

namespace sluice::bench {
namespace {

double matrix_elements(const Shape& shape) {
  return 3.0 * static_cast<double>(shape.hidden) * static_cast<double>(shape.intermediate);
}

std::string gigabytes(double bytes) { return fmt::format("{:.1f} GB", bytes * 1e-9); }

// What oneDNN's peer keeps of every slot between its products: inputs and activations in bf16, both
// outputs in fp32. ggml's graph takes about as much.
double peer_token_bytes(const Shape& shape) {
  return static_cast<double>(shape.top_k) *
         (6.0 * static_cast<double>(shape.hidden) + 10.0 * static_cast<double>(shape.intermediate));
}

}  // namespace

void require_memory(const Shape& shape, std::string_view memory, std::span<const MemoryPart> parts,
                    double available) {
  double needed = 0.0;
  std::string list;
  for (const MemoryPart& part : parts) {
    needed += part.bytes;
    constexpr double kShown = 0.05e9;  // what would be "0.0 GB"
    if (part.bytes < kShown) continue;
    list += fmt::format("{}{} {}", list.empty() ? " (" : ", ", part.what, gigabytes(part.bytes));
  }
  if (needed <= available) return;
  fail(
      ErrorKind::user,
      "{}, H {}, I {}, E {}, needs {} of {}{}, and {} are available; take a smaller layer or fewer "
      "tokens",
      shape.name, shape.hidden, shape.intermediate, shape.experts, gigabytes(needed), memory,
      list.empty() ? "" : list + ")", gigabytes(available));
}

void require_host_memory(const MoeBenchOptions& options, bool with_peer, int workers) {
  const Shape& shape = options.shape;
  const auto tokens =
      static_cast<double>(*std::max_element(options.tokens.begin(), options.tokens.end()));
  // Hidden states and output in bf16; logits of every routing; ids and weights.
  const double token_bytes = 4.0 * static_cast<double>(shape.hidden) +
                             4.0 * kRoutings * static_cast<double>(shape.experts) +
                             8.0 * static_cast<double>(shape.top_k);
  const MemoryPart parts[] = {
      {"packed weights", weight_bytes(shape)},
      {"the peer's", with_peer ? weight_bytes(shape) + tokens * peer_token_bytes(shape) : 0.0},
      {"the values that are packed", 2.0 * matrix_elements(shape)},
      {"the comparison", comparison_bytes(shape, workers)},
      {"tokens", tokens * token_bytes},
      {"what is read for the bandwidth", static_cast<double>(options.ceiling_bytes)}};
  require_memory(shape, "memory", parts, available_memory());
}

double weight_bytes(const Shape& shape) {
  return 2.0 * matrix_elements(shape) * static_cast<double>(shape.experts);
}

// An expert in fp32 for every slot of the three tokens that is being computed.
double comparison_bytes(const Shape& shape, int workers) {
  return 4.0 * matrix_elements(shape) *
         std::min(static_cast<double>(workers), 3.0 * static_cast<double>(shape.top_k));
}

}  // namespace sluice::bench
