#include "layer/check_overlap.hpp"

#include <span>
#include <string_view>

#include "base/fail.hpp"

namespace sluice {
namespace {

struct Named {
  std::string_view name;
  TensorView tensor;
};

std::int64_t bytes(const TensorView& tensor) {
  return tensor.shape.elements() * bits(tensor.dtype) / 8;
}

void check_disjoint(const Named& output, const Named& other) {
  if (!output.tensor || !other.tensor) return;
  const auto* out = static_cast<const char*>(output.tensor.data);
  const auto* begin = static_cast<const char*>(other.tensor.data);
  if (begin >= out + bytes(output.tensor) || out >= begin + bytes(other.tensor)) return;
  fail(ErrorKind::user, "{} overlaps {} in memory; give it memory of its own", output.name,
       other.name);
}

}  // namespace

void check_overlap(const ForwardInput& input, const ForwardOutput& output) {
  const Named inputs[] = {{"hidden_states", input.hidden_states},
                          {"router_logits", input.router_logits},
                          {"topk_ids", input.topk_ids},
                          {"topk_weights", input.topk_weights},
                          {"token_count", input.token_count}};
  const Named outputs[] = {{"output", output.output},
                           {"output topk_ids", output.topk_ids},
                           {"output topk_weights", output.topk_weights}};
  const std::span<const Named> all(outputs);
  for (std::size_t i = 0; i < all.size(); ++i) {
    for (const Named& named : inputs) check_disjoint(all[i], named);
    for (const Named& named : all.subspan(i + 1)) check_disjoint(all[i], named);
  }
}

}  // namespace sluice
