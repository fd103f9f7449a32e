// sluice::Error becomes sluice.Error, which is defined in Python (sluice/_errors.py). An
// interruption becomes what it was in Python.
#include <sluice/error.hpp>

#include "base/interruption.hpp"
#include "bindings.hpp"
#include "values.hpp"

namespace sluice::python {

void bind_errors(nb::module_&) {
  nb::register_exception_translator([](const std::exception_ptr& thrown, void*) {
    try {
      std::rethrow_exception(thrown);
    } catch (const Error& error) {
      // Imported late: the package imports this module first.
      const nb::object type = nb::module_::import_("sluice._errors").attr("Error");
      const nb::object raised = type(text(error.what()), to_string(error.kind()));
      PyErr_SetObject(type.ptr(), raised.ptr());
    } catch (const Interruption& interruption) {
      try {
        std::rethrow_exception(interruption.why);
      } catch (nb::python_error& raised) {
        raised.restore();
      }
    }
  });
}

}  // namespace sluice::python
