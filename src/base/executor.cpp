#include <sluice/executor.hpp>

#include <sched.h>

#include <charconv>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "base/environment.hpp"
#include "base/fail.hpp"

namespace sluice {
namespace {

class ThreadPool final : public Executor {
 public:
  explicit ThreadPool(int workers) : workers_(workers) {
    for (int worker = 1; worker < workers; ++worker) {
      threads_.emplace_back([this, worker] { serve(worker); });
    }
  }

  ~ThreadPool() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    start_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  int workers() const override { return workers_; }

  void run(const Task& task) override {
    {
      const std::lock_guard lock(mutex_);
      task_ = &task;
      pending_ = workers_ - 1;
      failure_ = nullptr;
      ++generation_;
    }
    start_.notify_all();
    call(task, 0);
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return pending_ == 0; });
    task_ = nullptr;
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  void call(const Task& task, int worker) {
    try {
      task(worker);
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!failure_) failure_ = std::current_exception();
    }
  }

  void serve(int worker) {
    std::uint64_t seen = 0;
    for (;;) {
      std::unique_lock lock(mutex_);
      start_.wait(lock, [&] { return stopping_ || generation_ != seen; });
      if (stopping_) return;
      seen = generation_;
      const Task* task = task_;
      lock.unlock();
      call(*task, worker);
      lock.lock();
      if (--pending_ == 0) done_.notify_one();
    }
  }

  const int workers_;
  std::mutex mutex_;
  std::condition_variable start_;
  std::condition_variable done_;
  const Task* task_ = nullptr;
  std::uint64_t generation_ = 0;
  int pending_ = 0;
  bool stopping_ = false;
  std::exception_ptr failure_;
  std::vector<std::thread> threads_;
};

int usable_cores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return CPU_COUNT(&set);
}

int requested_threads() {
  const auto text = environment("SLUICE_THREADS");
  if (!text) return usable_cores();
  int threads = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), threads);
  if (error != std::errc{} || end != text->data() + text->size() || threads < 1) {
    fail(ErrorKind::user, "SLUICE_THREADS is \"{}\"; set it to a whole number of at least 1",
         *text);
  }
  return threads;
}

}  // namespace

std::shared_ptr<Executor> make_executor(int threads) {
  if (threads < 0) fail(ErrorKind::user, "an executor of {} threads; ask for 0 or more", threads);
  return std::make_shared<ThreadPool>(threads == 0 ? requested_threads() : threads);
}

}  // namespace sluice
