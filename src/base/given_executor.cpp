#include "base/given_executor.hpp"

#include "base/fail.hpp"

namespace sluice {

std::shared_ptr<Executor> given_executor(std::shared_ptr<Executor> given) {
  if (!given) return make_executor();
  const int workers = given->workers();
  if (workers >= 1 && workers <= kMostThreads) return given;
  fail(ErrorKind::user, "the executor says that it has {} workers; there must be 1 … {}", workers,
       kMostThreads);
}

}  // namespace sluice
