#include <sluice/executor.hpp>

#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "base/environment.hpp"
#include "base/fail.hpp"
#include "base/float_mode.hpp"
#include "base/given_executor.hpp"
#include "base/usable_cores.hpp"

namespace sluice {
namespace {

// A layer at decode time starts and ends work every few microseconds, and waking a thread that
// sleeps takes about ten: whoever waits spins first. A pause takes 20 to 70 ns, so that this is
// some 50 us. With more workers than cores, spinning would keep others from the work waited for.
constexpr int kSpins = 1000;

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

template <typename Done>
bool spin_until(int spins, Done done) {
  for (int spin = 0; spin < spins; ++spin) {
    if (done()) return true;
    pause_briefly();
  }
  return done();
}

class Threads;

// The pools in whose tasks the calling thread is: one that runs a task of another's is in both.
class InTaskOf {
 public:
  explicit InTaskOf(const Threads* pool) : pool_(pool), outer_(innermost_) { innermost_ = this; }
  ~InTaskOf() { innermost_ = outer_; }
  InTaskOf(const InTaskOf&) = delete;
  InTaskOf& operator=(const InTaskOf&) = delete;

  static bool any(const Threads* pool) {
    const InTaskOf* task = innermost_;
    while (task != nullptr && task->pool_ != pool) task = task->outer_;
    return task != nullptr;
  }

 private:
  const Threads* const pool_;
  const InTaskOf* const outer_;
  static thread_local const InTaskOf* innermost_;
};

thread_local const InTaskOf* InTaskOf::innermost_ = nullptr;

// Sleeping is announced before the last look at what is waited for, and what is waited for is set
// before the look at who sleeps, all sequentially consistent: one of the two sees the other.
class Threads {
 public:
  explicit Threads(int workers)
      : workers_(workers), spins_(workers <= usable_cores() ? kSpins : 0) {
    threads_.reserve(static_cast<std::size_t>(workers - 1));
    try {
      for (int worker = 1; worker < workers; ++worker) {
        threads_.emplace_back([this, worker] { serve(worker); });
      }
    } catch (const std::system_error& error) {
      const std::size_t started = threads_.size();
      stop();
      fail(ErrorKind::device, "cannot start {} threads, only {}: {}; ask for fewer", workers,
           started + 1, error.code().message());
    } catch (...) {
      stop();
      throw;
    }
  }

  ~Threads() { stop(); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

  int count() const { return workers_; }

  void run(const Task& task) {
    const std::lock_guard one_at_a_time(callers_);
    const InTaskOf inside(this);
    const DefaultFloatMode mode;
    if (workers_ == 1) return task(0);
    task_ = &task;
    failure_ = nullptr;
    pending_.store(workers_ - 1);
    start();
    call(task, 0);
    finish();
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  }

 private:
  void stop() {
    stopping_.store(true);
    start();
    for (std::thread& thread : threads_) thread.join();
  }

  void start() {
    generation_.fetch_add(1);
    if (sleeping_workers_.load() == 0) return;
    const std::lock_guard lock(mutex_);
    started_.notify_all();
  }

  void finish() {
    const auto done = [this] { return pending_.load() == 0; };
    if (spin_until(spins_, done)) return;
    std::unique_lock lock(mutex_);
    caller_sleeps_.store(true);
    finished_.wait(lock, done);
    caller_sleeps_.store(false);
  }

  void call(const Task& task, int worker) {
    try {
      task(worker);
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!failure_) failure_ = std::current_exception();
    }
  }

  void serve(int worker) {
    const InTaskOf inside(this);  // it runs nothing else
    const DefaultFloatMode mode;  // a thread starts with the mode of the one that made it
    for (std::uint64_t seen = 0;; ++seen) {
      const auto begun = [&] { return generation_.load() != seen; };
      if (!spin_until(spins_, begun)) {
        std::unique_lock lock(mutex_);
        sleeping_workers_.fetch_add(1);
        started_.wait(lock, begun);
        sleeping_workers_.fetch_sub(1);
      }
      if (stopping_.load()) return;
      call(*task_, worker);
      if (pending_.fetch_sub(1) > 1 || !caller_sleeps_.load()) continue;
      const std::lock_guard lock(mutex_);
      finished_.notify_one();
    }
  }

  const int workers_;
  const int spins_;
  std::mutex callers_;
  const Task* task_ = nullptr;  // written before generation_ grows, read after
  std::atomic<std::uint64_t> generation_{0};
  std::atomic<int> pending_{0};
  std::atomic<bool> stopping_{false};
  std::atomic<int> sleeping_workers_{0};
  std::atomic<bool> caller_sleeps_{false};
  std::mutex mutex_;
  std::condition_variable started_;
  std::condition_variable finished_;
  std::exception_ptr failure_;
  std::vector<std::thread> threads_;
};

class ThreadPool final : public Executor {
 public:
  explicit ThreadPool(int workers) : threads_(std::make_unique<Threads>(workers)) {}

  // A fork copies none of the threads: nobody can be joined there, and even a condition variable
  // would wait for its sleepers before it goes. What the child has of them is left alone.
  ~ThreadPool() override {
    if (threads_->count() > 1 && getpid() != owner_) static_cast<void>(threads_.release());
  }

  int workers() const override { return threads_->count(); }

  void run(const Task& task) override {
    if (InTaskOf::any(threads_.get())) {
      fail(
          ErrorKind::user,
          "an executor is run from one of its own tasks, and would wait for itself; call the layer "
          "when the task is done, or give it an executor of its own");
    }
    if (threads_->count() > 1 && getpid() != owner_) {
      fail(ErrorKind::user,
           "the {} threads of an executor of process {} are not in process {}, which was forked "
           "from it; make the layer in the child, or spawn processes instead of forking them",
           threads_->count(), owner_, getpid());
    }
    threads_->run(task);
  }

 private:
  const pid_t owner_ = getpid();
  std::unique_ptr<Threads> threads_;
};

int requested_threads() {
  const auto text = environment("SLUICE_THREADS");
  if (!text) return usable_cores();
  int threads = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), threads);
  if (error != std::errc{} || end != text->data() + text->size() || threads < 1 ||
      threads > kMostThreads) {
    fail(ErrorKind::user, "SLUICE_THREADS is \"{}\"; set it to a whole number in 1 … {}", *text,
         kMostThreads);
  }
  return threads;
}

}  // namespace

std::shared_ptr<Executor> make_executor(int threads) {
  if (threads < 0 || threads > kMostThreads) {
    fail(ErrorKind::user, "an executor of {} threads; ask for 0 (one per core) … {}", threads,
         kMostThreads);
  }
  return std::make_shared<ThreadPool>(threads == 0 ? requested_threads() : threads);
}

}  // namespace sluice
