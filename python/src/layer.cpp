#include <sluice/layer.hpp>

#include <nanobind/stl/string.h>
#include <unistd.h>

#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "base/fail.hpp"
#include "bindings.hpp"
#include "layer/named_weights.hpp"
#include "tensor.hpp"
#include "unlocked.hpp"
#include "values.hpp"

namespace sluice::python {
namespace {

// One pool for all layers of a process with the same number of threads: a forked child has the
// map, and none of the parent's threads.
std::shared_ptr<Executor> shared_executor(int threads) {
  static std::mutex mutex;
  static std::map<std::pair<pid_t, int>, std::weak_ptr<Executor>> pools;
  const std::lock_guard lock(mutex);
  std::weak_ptr<Executor>& known = pools[{getpid(), threads}];
  std::shared_ptr<Executor> pool = known.lock();
  if (!pool) known = pool = make_executor(threads);
  return pool;
}

NamedTensors views_of(const nb::dict& weights) {
  NamedTensors views;
  for (const auto& [name, tensor] : weights) {
    views[tensor_name(name)] = nb::cast<const Tensor&>(tensor).view();
  }
  return views;
}

// Where the layer goes: to its weights, if they are on a device.
int device_of(const NamedTensors& views, int asked) {
  for (const auto& [name, view] : views) {
    if (view.device.kind != DeviceKind::cpu) return view.device.index;
  }
  return asked;
}

// A name, a Backend, or None for the first that honours the spec.
void choose_backend(const nb::object& backend, LayerOptions& options) {
  if (backend.is_none() || nb::try_cast(backend, options.backend)) return;
  if (nb::isinstance<Backend>(backend)) {
    options.instance = nb::cast<const Backend*>(backend);
    return;
  }
  if (PyCallable_Check(backend.ptr()) != 0 || nb::hasattr(backend, "load")) {
    fail(ErrorKind::user,
         "backend is {}; sluice.callable_backend(fn, claims) makes a Backend of a callable",
         shown(backend));
  }
  fail(ErrorKind::user,
       "backend is {}; it must be a backend's name, a sluice.Backend, or what "
       "sluice.callable_backend makes of a callable",
       shown(backend));
}

// MoeLayer behind a lock: forward runs without the GIL, and its workspace serves one call at a
// time.
class PythonLayer {
 public:
  PythonLayer(const MoeSpec& spec, const nb::dict& weights, const nb::object& backend, int threads,
              int device, std::size_t workspace_limit, bool may_round_slot_outputs)
      : backend_(backend),
        layer_(make(spec, weights, backend, threads, device, workspace_limit,
                    may_round_slot_outputs)) {}

  void forward(const Tensor& hidden_states, const Tensor* router_logits, const Tensor* topk_ids,
               const Tensor* topk_weights, const Tensor* token_count, const Tensor& output,
               const Tensor& out_ids, const Tensor& out_weights, std::uintptr_t stream) {
    const ForwardInput input{hidden_states.view(), view_or_nothing(router_logits),
                             view_or_nothing(topk_ids), view_or_nothing(topk_weights),
                             view_or_nothing(token_count)};
    const ForwardOutput result{output.mutable_view(), out_ids.mutable_view(),
                               out_weights.mutable_view()};
    const Unlocked unlocked;
    const std::lock_guard lock(mutex_);
    layer_.forward(input, result, reinterpret_cast<void*>(stream));
  }

  const MoeLayer& layer() const { return layer_; }

 private:
  static MoeLayer make(const MoeSpec& spec, const nb::dict& weights, const nb::object& backend,
                       int threads, int device, std::size_t workspace_limit,
                       bool may_round_slot_outputs) {
    LayerOptions options;
    options.workspace_limit = workspace_limit;
    options.load.may_round_slot_outputs = may_round_slot_outputs;
    choose_backend(backend, options);
    const NamedTensors views = views_of(weights);
    options.load.device = device_of(views, device);
    const Unlocked unlocked;
    options.load.executor = shared_executor(threads);
    const NamedWeights named(spec, views);
    return MoeLayer(spec, named.weights(), options);
  }

  nb::object backend_;  // keeps a Backend of Python's alive; goes last
  MoeLayer layer_;
  std::mutex mutex_;
};

}  // namespace

void bind_layer(nb::module_& module) {
  nb::class_<PythonLayer>(module, "Layer")
      .def(nb::init<const MoeSpec&, const nb::dict&, const nb::object&, int, int, std::size_t,
                    bool>(),
           nb::arg("spec"), nb::arg("weights"), nb::arg("backend").none(), nb::arg("threads"),
           nb::arg("device"), nb::arg("workspace_limit"), nb::arg("may_round_slot_outputs"))
      .def("forward", &PythonLayer::forward, nb::arg("hidden_states"),
           nb::arg("router_logits").none(), nb::arg("topk_ids").none(),
           nb::arg("topk_weights").none(), nb::arg("token_count").none(), nb::arg("output"),
           nb::arg("out_ids"), nb::arg("out_weights"), nb::arg("stream"))
      .def("output_dtype",
           [](const PythonLayer& self, const Tensor& hidden_states) {
             return std::string(to_string(self.layer().output_dtype(hidden_states.view().dtype)));
           })
      .def_prop_ro("spec", [](const PythonLayer& self) { return self.layer().spec(); })
      .def_prop_ro(
          "backend",
          [](const PythonLayer& self) { return std::string(self.layer().backend().name()); })
      .def_prop_ro("variant", [](const PythonLayer& self) { return self.layer().variant(); })
      .def_prop_ro("weight_bytes",
                   [](const PythonLayer& self) { return self.layer().weight_bytes(); })
      .def("workspace_bytes", [](const PythonLayer& self, std::int64_t tokens) {
        return self.layer().workspace_bytes(tokens);
      });
}

}  // namespace sluice::python
