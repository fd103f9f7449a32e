// What is known of the machine without asking for anything to be installed.
#pragma once

#include <string>

namespace sluice::bench {

// "Intel(R) Xeon(R) Processor, 2 cores"
std::string machine_name();
// Bytes that can be had without swapping; 1e18 where the system does not say.
double available_memory();

}  // namespace sluice::bench
