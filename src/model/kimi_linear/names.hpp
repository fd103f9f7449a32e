// One tensor, several names: Moonshot's released ones, and what transformers saves.
#pragma once

#include <string>
#include <vector>

namespace sluice::kimi_linear {

// Every name under which a checkpoint may hold the tensor that the released one calls `released`;
// that one first. Fused convolutions and experts are not covered: they are other tensors.
std::vector<std::string> spellings(const std::string& released);

}  // namespace sluice::kimi_linear
