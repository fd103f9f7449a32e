#include "base/token_rows.hpp"

#include <cstddef>
#include <type_traits>

namespace sluice {
namespace {

// Rows of the tensors of a call are whole bytes: their dtypes have 16 bits or more.
template <typename View>
View rows_of(View view, std::int64_t first, std::int64_t count) {
  if (!view) return view;
  using Byte = std::conditional_t<std::is_same_v<View, TensorView>, const std::byte, std::byte>;
  const std::int64_t columns = view.shape[1];
  view.data = static_cast<Byte*>(view.data) + first * columns * bits(view.dtype) / 8;
  view.shape = {count, columns};
  return view;
}

}  // namespace

ForwardInput token_rows(const ForwardInput& input, std::int64_t first, std::int64_t count) {
  return {rows_of(input.hidden_states, first, count),
          rows_of(input.router_logits, first, count),
          rows_of(input.topk_ids, first, count),
          rows_of(input.topk_weights, first, count),
          {}};
}

ForwardOutput token_rows(const ForwardOutput& output, std::int64_t first, std::int64_t count) {
  return {rows_of(output.output, first, count), rows_of(output.topk_ids, first, count),
          rows_of(output.topk_weights, first, count)};
}

}  // namespace sluice
