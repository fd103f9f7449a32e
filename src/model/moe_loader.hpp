// From a family's MoeSpec and a checkpoint to a running MoE block.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include <sluice/model.hpp>

#include "model/blocks/feed_forward.hpp"
#include "model/moe_tensors.hpp"

namespace sluice {

// The config's spec with what the checkpoint and the options decide: dtypes and compatibility.
MoeSpec spec_in_use(MoeSpec spec, DType expert_dtype, const ModelOptions& options);

// Sets description.moe to the spec in use.
std::unique_ptr<FeedForward> load_moe(const MoeSpec& spec, const MoeTensorNames& names,
                                      const WeightSource& source, const ModelOptions& options,
                                      Compute& compute, LayerDescription& description);

// Options that only Kimi-Linear has are errors elsewhere.
void refuse_kimi_options(const ModelOptions& options, std::string_view model_type);

}  // namespace sluice
