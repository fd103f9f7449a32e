// Calls that leave the interpreter's lock (the GIL) and come back for it.
//
// Before Python 3.14 a daemon thread that comes back after the interpreter began to end is ended by
// force, and C++ answers that with std::terminate. So calls under way are counted, an atexit
// handler (sluice/_exit.py) waits for them, and a thread that would start another one then stays
// where it is, as every daemon thread does from 3.14 on.
#pragma once

#include <nanobind/nanobind.h>

namespace sluice::python {

namespace nb = nanobind;

// In place of nb::gil_scoped_release.
class Unlocked {
 public:
  Unlocked();
  ~Unlocked();
  Unlocked(const Unlocked&) = delete;
  Unlocked& operator=(const Unlocked&) = delete;

 private:
  PyThreadState* state_;
};

// Python code that the library calls back: calls that it makes belong to one that is waited for.
class CalledBack {
 public:
  CalledBack();
  ~CalledBack();
  CalledBack(const CalledBack&) = delete;
  CalledBack& operator=(const CalledBack&) = delete;

 private:
  nb::gil_scoped_acquire gil_;
};

// For long calls, without the GIL and without locks that another call may need: ends here, for
// good, when the interpreter waits.
void stay_if_closing();

void bind_unlocked(nb::module_& module);

}  // namespace sluice::python
