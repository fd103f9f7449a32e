#include "unlocked.hpp"

#include <unistd.h>

#include <atomic>
#include <thread>

#include "bindings.hpp"

namespace sluice::python {
namespace {

std::atomic<int> under_way{0};
std::atomic<bool> closing{false};
std::thread::id closer;      // written before `closing`
thread_local int depth = 0;  // of calls of this thread, or of the one that it works for

[[noreturn]] void stay() {
  for (;;) pause();
}

bool is_closed_to_this_thread() { return closing.load() && std::this_thread::get_id() != closer; }

}  // namespace

Unlocked::Unlocked() {
  if (depth == 0 && is_closed_to_this_thread()) {
    PyEval_SaveThread();
    stay();
  }
  // Counted while the GIL is held, with which the interpreter begins to close.
  ++under_way;
  ++depth;
  state_ = PyEval_SaveThread();
}

Unlocked::~Unlocked() {
  PyEval_RestoreThread(state_);
  --depth;
  --under_way;
}

CalledBack::CalledBack() { ++depth; }
CalledBack::~CalledBack() { --depth; }

void stay_if_closing() {
  // One call within another is waited for by it.
  if (depth != 1 || !is_closed_to_this_thread()) return;
  --under_way;
  stay();
}

void bind_unlocked(nb::module_& module) {
  module.def("close_calls", [] {
    closer = std::this_thread::get_id();
    closing = true;
  });
  module.def("calls_under_way", [] { return under_way.load(); });
  // A forked child has the count and none of the threads.
  module.def("forget_calls", [] { under_way = 0; });
}

}  // namespace sluice::python
