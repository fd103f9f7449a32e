// Threads, as something that can be handed in: an engine with its own pool shares it with Sluice.
#pragma once

#include <memory>

namespace sluice {

// A callable by reference: neither owns nor allocates. The callee must outlive the call.
class Task {
 public:
  template <typename F>
  Task(F& f)  // NOLINT(google-explicit-constructor): a view of any callable
      : object_(&f), call_([](void* object, int worker) { (*static_cast<F*>(object))(worker); }) {}
  void operator()(int worker) const { call_(object_, worker); }

 private:
  void* object_;
  void (*call_)(void*, int);
};

class Executor {
 public:
  virtual ~Executor() = default;
  // 1 … 4096, the same for as long as the object lives: workspaces are cut by it. Who is handed an
  // executor with another number throws Error(user).
  virtual int workers() const = 0;
  // Calls task(0) … task(workers() - 1), each once, and returns when all have returned. The calling
  // thread may be one of them. If calls throw, one of the exceptions is rethrown. Not reentrant: no
  // task runs its own executor. Layers that share one may be called at once from several threads,
  // and then so is this: one call waits for the other, as those of make_executor do.
  virtual void run(const Task& task) = 0;
};

// A pool of `threads` workers including the caller; 0: one per core this process may use
// (SLUICE_THREADS overrides 0). Throws Error(user) for a negative count.
std::shared_ptr<Executor> make_executor(int threads = 0);

}  // namespace sluice
