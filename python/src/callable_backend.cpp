#include "callable_backend.hpp"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstring>

#include "base/fail.hpp"
#include "base/interruption.hpp"
#include "bindings.hpp"
#include "stacked_weights.hpp"
#include "tensor.hpp"
#include "unlocked.hpp"
#include "values.hpp"

namespace sluice::python {
namespace {

[[noreturn]] void rethrow(const std::string& who, const nb::python_error& raised) {
  // KeyboardInterrupt, SystemExit: they end what runs, and say nothing of the callable.
  if (!raised.matches(PyExc_Exception)) throw Interruption{std::current_exception()};
  const std::string type = nb::type_name(raised.type()).c_str();
  fail(ErrorKind::internal, "{} raised {}: {}", who, type, message_of(raised));
}

// Runs Python code on behalf of the library, which knows no Python exceptions.
template <typename Run>
auto in_python(const std::string& who, const Run& run) {
  const CalledBack inside;
  try {
    return run();
  } catch (const nb::python_error& raised) {
    rethrow(who, raised);
  }
}

// Buffers of no tokens may have no address; what is not given has no shape either.
nb::object python_copy(const TensorView& view) {
  return view || view.shape.rank() > 0 ? nb::cast(copy_of(view)) : nb::none();
}

// The output as it is before the call: what the callable leaves unwritten stays visible.
nb::object python_copy(const MutableTensorView& view) {
  return python_copy(static_cast<TensorView>(view));
}

bool holds(const nb::object& tensor, const TensorView& view) {
  const Tensor& copy = nb::cast<const Tensor&>(tensor);
  if (copy.bytes() == 0) return true;
  return std::memcmp(copy.view().data, view.data, static_cast<std::size_t>(copy.bytes())) == 0;
}

void copy_back(const nb::object& tensor, const MutableTensorView& view) {
  if (!view) return;
  const Tensor& copy = nb::cast<const Tensor&>(tensor);
  std::memcpy(view.data, copy.view().data, static_cast<std::size_t>(copy.bytes()));
}

class CallableExperts final : public Experts {
 public:
  CallableExperts(std::string name, nb::object forward, std::size_t weight_bytes)
      : name_(std::move(name)), forward_(std::move(forward)), weight_bytes_(weight_bytes) {}
  ~CallableExperts() override {
    const nb::gil_scoped_acquire gil;
    forward_.reset();
  }

  std::size_t workspace_bytes(std::int64_t) const override { return 0; }
  std::size_t weight_bytes() const override { return weight_bytes_; }

  void forward(const ForwardInput& input, const ForwardOutput& output, std::span<std::byte>,
               void*) const override {
    in_python(name_, [&] { call(input, output); });
  }

 private:
  void call(const ForwardInput& input, const ForwardOutput& output) const {
    const nb::object inputs[] = {python_copy(input.hidden_states), python_copy(input.router_logits),
                                 python_copy(input.topk_ids), python_copy(input.topk_weights)};
    const nb::object outputs[] = {python_copy(output.output), python_copy(output.topk_ids),
                                  python_copy(output.topk_weights)};
    const nb::object changed =
        forward_(inputs[0], inputs[1], inputs[2], inputs[3], outputs[0], outputs[1], outputs[2]);
    if (!changed.is_none()) refuse_change(nb::cast<std::string>(changed));
    refuse_changes(inputs, input);
    copy_back(outputs[0], output.output);
    copy_back(outputs[1], output.topk_ids);
    copy_back(outputs[2], output.topk_weights);
  }

  void refuse_changes(const nb::object* inputs, const ForwardInput& input) const {
    const std::pair<const char*, TensorView> given[] = {{"hidden_states", input.hidden_states},
                                                        {"router_logits", input.router_logits},
                                                        {"topk_ids", input.topk_ids},
                                                        {"topk_weights", input.topk_weights}};
    for (std::size_t i = 0; i < std::size(given); ++i) {
      if (given[i].second && !holds(inputs[i], given[i].second)) refuse_change(given[i].first);
    }
  }

  [[noreturn]] void refuse_change(std::string_view input) const {
    fail(ErrorKind::internal, "{} changed its input {} in place; callers still need it", name_,
         input);
  }

  std::string name_;
  nb::object forward_;
  std::size_t weight_bytes_;
};

}  // namespace

Support CallableBackend::supports(const MoeSpec& spec) const {
  return in_python(name_, [&] {
    Support support{"python", {}};
    if (refusals_.is_none()) return support;
    const nb::object given = refusals_(spec);
    if (given.is_none()) return support;  // a function that ends without a return refuses nothing
    nb::dict reasons;
    if (!nb::try_cast(given, reasons)) {
      fail(ErrorKind::internal, "{}'s refusals are {}; they must be a dict of fields and reasons",
           name_, shown(given));
    }
    for (const auto& [field, reason] : reasons) {
      Refusal refusal;
      if (!nb::try_cast(field, refusal.field) || !nb::try_cast(reason, refusal.reason)) {
        fail(ErrorKind::internal, "{}'s refusals hold {}: {}; fields and reasons are strings",
             name_, shown(field), shown(reason));
      }
      support.refusals.push_back(std::move(refusal));
    }
    return support;
  });
}

std::unique_ptr<Experts> CallableBackend::load(const MoeSpec& spec, const MoeWeights& weights,
                                               const LoadOptions&) const {
  return in_python(name_, [&] {
    std::size_t bytes = 0;
    nb::dict named;
    for (const auto& [name, tensor] : stack_weights(spec, weights)) {
      named[name.c_str()] = nb::cast(copy_of(tensor.view()));
      bytes += tensor.size_bytes();
    }
    return std::unique_ptr<Experts>(
        std::make_unique<CallableExperts>(name_, load_(spec, named), bytes));
  });
}

void bind_callable_backend(nb::module_& module) {
  nb::class_<CallableBackend, Backend>(module, "CallableBackend",
                                       "A Python callable as a Backend: sluice.callable_backend.")
      .def(
          "__init__",
          [](CallableBackend* self, const std::string& name, const std::vector<std::string>& claims,
             nb::object load, nb::object refusals, bool batch_invariant) {
            FieldSet set;
            for (const std::string& claim : claims) set.add(claim);
            new (self)
                CallableBackend(name, set, std::move(load), std::move(refusals), batch_invariant);
          },
          nb::arg("name"), nb::arg("claims"), nb::arg("load"), nb::arg("refusals").none(),
          nb::arg("batch_invariant"));
}

}  // namespace sluice::python
