// What is known of the machine without asking for anything to be installed.
#pragma once

#include <filesystem>
#include <string>

namespace sluice::bench {

// "Intel(R) Xeon(R) Processor, 2 cores"
std::string machine_name();
// Bytes that can be had without swapping, within the limit of a container; 1e18 where the system
// does not say.
double available_memory();
// What a container, whose control group (version 1 or 2) is seen at `root`, has left of its limit:
// pages of files can be had again. 1e18 without a limit.
double available_in_container(const std::filesystem::path& root);

}  // namespace sluice::bench
