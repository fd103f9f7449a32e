// The processors that this process may run on.
#pragma once

#include <sched.h>

#include <cstddef>

namespace sluice {

// As sched_getaffinity of the calling thread: 0, or -1 and errno.
using GetAffinity = int (*)(std::size_t bytes, cpu_set_t* set);

int own_affinity(std::size_t bytes, cpu_set_t* set);

// At least 1. Where the system hides the set, as some sandboxes do, the cores of the machine.
int usable_cores(GetAffinity affinity = own_affinity);

}  // namespace sluice
