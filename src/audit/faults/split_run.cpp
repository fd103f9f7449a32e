#include "audit/faults/split_run.hpp"

namespace sluice::auditing {

Parts run_parts(const Call& call) {
  const std::int64_t tokens = call.tokens();
  const std::int64_t top_k = call.spec.router.top_k;
  call.forward();
  Parts parts;
  parts.routed = to_floats(call.output.output);

  // Any distinct ids will do where no weight counts; weight 0 also silences the down bias.
  OwnedTensor ids(DType::i32, {tokens, top_k});
  for (std::int64_t i = 0; i < ids.elements(); ++i) {
    store_unaligned(ids.data(), i, static_cast<std::int32_t>(i % top_k));
  }
  const OwnedTensor zeros(DType::f32, {tokens, top_k});
  OwnedTensor output(call.output.output.dtype, call.output.output.shape);
  Call silent = call;
  silent.input.router_logits = {};
  silent.input.topk_ids = ids.view();
  silent.input.topk_weights = zeros.view();
  silent.output = {output.mutable_view(), {}, {}};
  silent.forward();
  parts.shared = to_floats(output.view());
  for (std::size_t i = 0; i < parts.routed.size(); ++i) parts.routed[i] -= parts.shared[i];
  return parts;
}

void write_output(const Call& call, const std::vector<float>& values) {
  const MutableTensorView& output = call.output.output;
  for (std::size_t i = 0; i < values.size(); ++i) {
    store_float(output.data, output.dtype, static_cast<std::int64_t>(i), values[i]);
  }
}

}  // namespace sluice::auditing
