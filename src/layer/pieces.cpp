#include "layer/pieces.hpp"

#include "base/fail.hpp"

namespace sluice {
namespace {

// Rows of the tensors of a call are whole bytes: their dtypes have 16 bits or more.
template <typename View>
View rows_of(View view, std::int64_t first, std::int64_t count) {
  if (!view) return view;
  const std::int64_t row_bytes = view.shape[1] * bits(view.dtype) / 8;
  view.shape = {count, view.shape[1]};
  if constexpr (std::is_same_v<View, TensorView>) {
    view.data = static_cast<const std::byte*>(view.data) + first * row_bytes;
  } else {
    view.data = static_cast<std::byte*>(view.data) + first * row_bytes;
  }
  return view;
}

}  // namespace

std::int64_t piece_tokens(const Experts& experts, std::int64_t tokens, std::size_t limit) {
  if (limit == 0 || experts.workspace_bytes(tokens) <= limit) return tokens;
  if (experts.workspace_bytes(1) > limit) {
    fail(ErrorKind::user, "workspace_limit is {} bytes; one token needs {}", limit,
         experts.workspace_bytes(1));
  }
  std::int64_t fits = 1;
  std::int64_t too_many = tokens;
  while (too_many - fits > 1) {
    const std::int64_t middle = fits + (too_many - fits) / 2;
    (experts.workspace_bytes(middle) <= limit ? fits : too_many) = middle;
  }
  return fits;
}

ForwardInput piece_of(const ForwardInput& input, std::int64_t first, std::int64_t count) {
  return {rows_of(input.hidden_states, first, count), rows_of(input.router_logits, first, count),
          rows_of(input.topk_ids, first, count), rows_of(input.topk_weights, first, count)};
}

ForwardOutput piece_of(const ForwardOutput& output, std::int64_t first, std::int64_t count) {
  return {rows_of(output.output, first, count), rows_of(output.topk_ids, first, count),
          rows_of(output.topk_weights, first, count)};
}

}  // namespace sluice
