// The caller's wish to stop, on its way through code that takes exceptions for failures.
#pragma once

#include <exception>

namespace sluice {

// Thrown by a backend, or by what runs between its calls, when nothing is wrong and nothing more is
// wanted (Ctrl-C in Python). No Error and no std::exception: whoever catches those lets it pass.
struct Interruption {
  std::exception_ptr why;  // what the caller's own code threw
};

}  // namespace sluice
