// The whole public API. plugin.h, the C ABI for backends in shared objects, stands apart.
#pragma once

#include <sluice/audit.hpp>
#include <sluice/backend.hpp>
#include <sluice/checkpoint.hpp>
#include <sluice/collective.hpp>
#include <sluice/dtype.hpp>
#include <sluice/error.hpp>
#include <sluice/eval.hpp>
#include <sluice/executor.hpp>
#include <sluice/fields.hpp>
#include <sluice/generate.hpp>
#include <sluice/generation_config.hpp>
#include <sluice/layer.hpp>
#include <sluice/model.hpp>
#include <sluice/plan.hpp>
#include <sluice/plugin_backend.hpp>
#include <sluice/presets.hpp>
#include <sluice/spec.hpp>
#include <sluice/tensor.hpp>
#include <sluice/tokenizer.hpp>
#include <sluice/weights.hpp>
