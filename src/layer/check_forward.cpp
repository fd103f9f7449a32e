#include "layer/check_forward.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <string>
#include <vector>

#include "base/element.hpp"
#include "base/fail.hpp"
#include "layer/check_overlap.hpp"

namespace sluice {
namespace {

void check_tensor(const char* name, const TensorView& tensor, const Shape& shape,
                  std::initializer_list<DType> dtypes) {
  if (tensor.shape != shape) {
    fail(ErrorKind::user, "{} has shape {}; the layer needs {}", name, to_string(tensor.shape),
         to_string(shape));
  }
  if (std::find(dtypes.begin(), dtypes.end(), tensor.dtype) != dtypes.end()) return;
  std::vector<std::string_view> names;  // here, because a forward must not allocate
  for (DType dtype : dtypes) names.push_back(to_string(dtype));
  fail(ErrorKind::user, "{} is {}; the layer needs {}", name, to_string(tensor.dtype),
       fmt::join(names, " or "));
}

void check_given_ids(const TensorView& ids, std::int64_t tokens, std::int64_t experts) {
  const std::int64_t top_k = ids.shape[1];
  for (std::int64_t token = 0; token < tokens; ++token) {
    for (std::int64_t slot = 0; slot < top_k; ++slot) {
      const std::int64_t id = load_int(ids.data, ids.dtype, token * top_k + slot);
      if (id < 0 || id >= experts) {
        fail(ErrorKind::user, "topk_ids: token {}, slot {} names expert {}; ids must be in [0, {})",
             token, slot, id, experts);
      }
      for (std::int64_t other = 0; other < slot; ++other) {
        if (load_int(ids.data, ids.dtype, token * top_k + other) == id) {
          fail(ErrorKind::user,
               "topk_ids: token {} names expert {} in slots {} and {}; the ids of a token must be "
               "distinct",
               token, id, other, slot);
        }
      }
    }
  }
}

void check_given_weights(const TensorView& weights, std::int64_t tokens) {
  const std::int64_t top_k = weights.shape[1];
  for (std::int64_t i = 0; i < tokens * top_k; ++i) {
    const float weight = load_float(weights.data, weights.dtype, i);
    if (!std::isfinite(weight)) {
      fail(ErrorKind::user, "topk_weights: token {}, slot {} is {}; weights must be finite",
           i / top_k, i % top_k, weight);
    }
  }
}

void check_token_count(const TensorView& count, std::int64_t tokens) {
  if (!count) return;
  check_tensor("token_count", count, {1}, {DType::i32});
  if (count.device.kind != DeviceKind::cpu) return;  // reading it would stall the device
  const std::int64_t given = load_int(count.data, count.dtype, 0);
  if (given >= 0 && given <= tokens) return;
  fail(ErrorKind::user, "token_count is {}; the call has {} tokens: give 0 to {}", given, tokens,
       tokens);
}

Entry entry_of(const ForwardInput& input) {
  const bool ids = !input.topk_ids.empty();
  const bool weights = !input.topk_weights.empty();
  if (ids && !weights) {
    fail(ErrorKind::user,
         "topk_ids is given without topk_weights; given routing needs both (int32 that packs id "
         "<< 16 with the bits of a bf16 weight must be split into the two)");
  }
  if (weights && !ids) {
    fail(ErrorKind::user, "topk_weights is given without topk_ids; given routing needs both");
  }
  const bool logits = !input.router_logits.empty();
  if (logits && ids) {
    fail(ErrorKind::user,
         "router_logits and topk_ids are both given; give the logits or the routing, not both");
  }
  if (logits) return Entry::router_logits;
  return ids ? Entry::given_routing : Entry::router_weight;
}

}  // namespace

Entry check_forward(const MoeSpec& spec, DType output_dtype, const ForwardInput& input,
                    const ForwardOutput& output) {
  const TensorView& hidden = input.hidden_states;
  if (hidden.shape.rank() != 2 || hidden.shape[0] < 0 ||
      hidden.shape[1] != spec.experts.hidden_size) {
    fail(ErrorKind::user, "hidden_states has shape {}; the layer needs [tokens, {}]",
         to_string(hidden.shape), spec.experts.hidden_size);
  }
  const std::int64_t tokens = hidden.shape[0];
  const std::int64_t top_k = spec.router.top_k;
  check_tensor("hidden_states", hidden, hidden.shape, {DType::f32, DType::bf16, DType::f16});
  check_tensor("output", output.output, hidden.shape, {output_dtype});
  const Entry entry = entry_of(input);
  if (tokens == 0) return entry;  // buffers of no tokens may have no address

  if (hidden.empty()) fail(ErrorKind::user, "hidden_states is not given");
  if (output.output.empty()) fail(ErrorKind::user, "output is not given");
  check_token_count(input.token_count, tokens);
  if (!output.topk_ids.empty()) {
    check_tensor("output topk_ids", output.topk_ids, {tokens, top_k}, {DType::i32});
  }
  if (!output.topk_weights.empty()) {
    check_tensor("output topk_weights", output.topk_weights, {tokens, top_k}, {DType::f32});
  }
  if (entry == Entry::router_logits) {
    check_tensor("router_logits", input.router_logits, {tokens, spec.router.num_experts},
                 {DType::f32, DType::bf16});
  } else if (entry == Entry::given_routing) {
    check_tensor("topk_ids", input.topk_ids, {tokens, top_k}, {DType::i32, DType::i64});
    check_tensor("topk_weights", input.topk_weights, {tokens, top_k}, {DType::f32, DType::bf16});
    // Reading them from a device would stall it; device code skips what is not valid.
    if (input.topk_ids.device.kind == DeviceKind::cpu) {
      check_given_ids(input.topk_ids, counted_tokens(input), spec.router.num_experts);
    }
    if (input.topk_weights.device.kind == DeviceKind::cpu) {
      check_given_weights(input.topk_weights, counted_tokens(input));
    }
  }
  check_overlap(input, output);
  return entry;
}

std::int64_t counted_tokens(const ForwardInput& input) {
  const TensorView& count = input.token_count;
  if (!count || count.device.kind != DeviceKind::cpu) return input.hidden_states.shape[0];
  return load_int(count.data, count.dtype, 0);
}

}  // namespace sluice
