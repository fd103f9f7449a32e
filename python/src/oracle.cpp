// The audit's oracle, and our own routing, by themselves.
#include <nanobind/stl/string.h>

#include <algorithm>
#include <cmath>
#include <string>

#include <sluice/layer.hpp>

#include "audit/oracle/layer.hpp"
#include "base/fail.hpp"
#include "bindings.hpp"
#include "layer/check_forward.hpp"
#include "layer/named_weights.hpp"
#include "routing/router.hpp"
#include "stacked_weights.hpp"
#include "tensor.hpp"
#include "unlocked.hpp"
#include "values.hpp"

namespace sluice::python {
namespace {

NamedTensors host_views(const nb::dict& tensors) {
  NamedTensors views;
  for (const auto& [key, tensor] : tensors) {
    const std::string name = tensor_name(key);
    const TensorView view = nb::cast<const Tensor&>(tensor).view();
    if (view.device.kind != DeviceKind::cpu) {
      fail(ErrorKind::user, "tensor \"{}\" is on cuda:{}; the oracle reads host memory", name,
           view.device.index);
    }
    views[name] = view;
  }
  return views;
}

auditing::Case make_case(const MoeSpec& spec, const nb::dict& weights, const nb::dict& inputs) {
  auditing::Case subject;
  subject.spec = spec;
  const NamedWeights named(spec, host_views(weights));
  check_weights(spec, named.weights());
  subject.tensors = stack_weights(spec, named.weights());
  for (const auto& [name, view] : host_views(inputs)) {
    // A name of another kind would be left unread, or take the place of a weight.
    if (!auditing::is_input(name)) {
      fail(ErrorKind::user,
           "inputs hold \"{}\"; the oracle reads \"hidden_states\", \"router_logits\", "
           "\"topk_ids\" and \"topk_weights\"",
           name);
    }
    subject.tensors[name] = auditing::OwnedTensor::copy_of(view);
  }
  return subject;
}

// Whatever lies within `truth.error` of the truth, rounded to nearest once more.
double bound_after_rounding(const auditing::Approx& truth, DType dtype) {
  const double unit = dtype == DType::bf16 ? 0x1p-8 : dtype == DType::f16 ? 0x1p-11 : 0x1p-24;
  const double denormal = dtype == DType::f16 ? 0x1p-25 : 0x1p-134;
  return truth.error + unit * (std::fabs(truth.value) + truth.error) + denormal;
}

// What the oracle relies on, as MoeLayer would check it.
void check_inputs(const auditing::Case& subject) {
  const TensorView hidden = subject.view("hidden_states");
  if (!hidden) fail(ErrorKind::user, "inputs hold no \"hidden_states\"");
  if (!subject.find("router_logits") && !subject.find("topk_ids")) {
    fail(ErrorKind::user, "inputs hold neither \"router_logits\" nor \"topk_ids\"");
  }
  auditing::OwnedTensor output(subject.output_dtype(), hidden.shape);
  check_forward(subject.spec, subject.output_dtype(), subject.input(),
                {output.mutable_view(), {}, {}});
}

void check_bias(const char* name, bool wanted, const Tensor* bias, std::int64_t experts) {
  if (wanted != (bias != nullptr)) {
    fail(ErrorKind::user, "the spec says {} = {}, and the tensor is {}", name, wanted,
         bias != nullptr ? "given" : "missing");
  }
  if (bias == nullptr) return;
  const TensorView view = bias->view();
  if (view.shape != Shape{experts} || (view.dtype != DType::f32 && view.dtype != DType::bf16)) {
    fail(ErrorKind::user, "{} is {} {}; the router needs [{}] F32 or BF16", name,
         to_string(view.shape), to_string(view.dtype), experts);
  }
}

nb::tuple oracle(const MoeSpec& spec, const nb::dict& weights, const nb::dict& inputs,
                 bool slot_outputs_rounded) {
  const auditing::Case subject = make_case(spec, weights, inputs);
  check_inputs(subject);
  const std::int64_t tokens = subject.tokens();
  const std::int64_t width = spec.experts.hidden_size;
  const std::int64_t top_k = spec.router.top_k;
  Tensor expected(DType::f64, {tokens, width});
  Tensor bound(DType::f64, {tokens, width});
  Tensor ids(DType::i32, {tokens, top_k});
  Tensor routed(DType::f64, {tokens, top_k});
  {
    const Unlocked unlocked;
    const auditing::Oracle truth(subject, {slot_outputs_rounded});
    auto* values = static_cast<double*>(expected.mutable_view().data);
    auto* bounds = static_cast<double*>(bound.mutable_view().data);
    auto* chosen = static_cast<std::int32_t*>(ids.mutable_view().data);
    auto* applied = static_cast<double*>(routed.mutable_view().data);
    for (std::int64_t token = 0; token < tokens; ++token) {
      const std::vector<std::int32_t> own = truth.ids(token);
      std::copy(own.begin(), own.end(), chosen + token * top_k);
      for (const auditing::Approx& weight : truth.weights(token, own)) *applied++ = weight.value;
      for (const auditing::Approx& element : truth.output(token, own)) {
        *values++ = element.value;
        *bounds++ = bound_after_rounding(element, subject.output_dtype());
      }
    }
  }
  return nb::make_tuple(nb::cast(expected), nb::cast(bound), nb::cast(ids), nb::cast(routed));
}

nb::tuple route(const MoeSpec& spec, const Tensor& logits, const Tensor* router_bias,
                const Tensor* correction_bias) {
  const TensorView view = logits.view();
  if (view.shape.rank() != 2 || view.shape[1] != spec.router.num_experts) {
    fail(ErrorKind::user, "router_logits has shape {}; the router needs [tokens, {}]",
         to_string(view.shape), spec.router.num_experts);
  }
  if (view.dtype != DType::f32 && view.dtype != DType::bf16) {
    fail(ErrorKind::user, "router_logits is {}; the router needs F32 or BF16",
         to_string(view.dtype));
  }
  check_bias("router_bias", spec.router.router_bias, router_bias, view.shape[1]);
  check_bias("e_score_correction_bias", spec.router.e_score_correction_bias, correction_bias,
             view.shape[1]);
  const std::int64_t tokens = view.shape[0];
  Tensor ids(DType::i32, {tokens, spec.router.top_k});
  Tensor weights(DType::f32, {tokens, spec.router.top_k});
  const auto count = static_cast<std::size_t>(tokens * spec.router.top_k);
  const Router router(spec.router, view_or_nothing(router_bias), view_or_nothing(correction_bias));
  std::vector<std::byte> workspace(router.workspace_bytes());
  {
    const Unlocked unlocked;
    router.route({view,
                  0,
                  tokens,
                  {static_cast<std::int32_t*>(ids.mutable_view().data), count},
                  {static_cast<float*>(weights.mutable_view().data), count},
                  workspace});
  }
  return nb::make_tuple(nb::cast(ids), nb::cast(weights));
}

}  // namespace

void bind_oracle(nb::module_& module) {
  module.def("oracle", &oracle, nb::arg("spec"), nb::arg("weights"), nb::arg("inputs"),
             nb::arg("slot_outputs_rounded"));
  module.def("route", &route, nb::arg("spec"), nb::arg("router_logits"),
             nb::arg("router_bias").none(), nb::arg("e_score_correction_bias").none());
}

}  // namespace sluice::python
