#include "bindings.hpp"

NB_MODULE(_core, module) {
  using namespace sluice::python;
  module.doc() = "The compiled part of sluice. Use the package: import sluice.";
  // A module-level callable reaches its own backend through its globals, a cycle that Python's
  // collector cannot see through C++: it ends with the process, which is no cause for alarm.
  nanobind::set_leak_warnings(false);
  bind_errors(module);
  bind_field(module);
  bind_spec(module);
  bind_presets(module);
  bind_tensor(module);
  bind_backends(module);
  bind_callable_backend(module);
  bind_layer(module);
  bind_oracle(module);
  bind_audit(module);
  bind_unlocked(module);
}
