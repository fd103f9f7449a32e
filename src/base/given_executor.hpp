// The executor of an options struct, as everyone who takes one reads it.
#pragma once

#include <memory>
#include <sluice/executor.hpp>

namespace sluice {

// Beyond any machine: more is a slip, and would take a workspace for each.
inline constexpr int kMostThreads = 4096;

// `given`, or make_executor() where it is null. Throws Error(user) for one whose workers() cannot
// be: workspaces are cut by that number, so that nothing may be computed with it.
std::shared_ptr<Executor> given_executor(std::shared_ptr<Executor> given);

}  // namespace sluice
