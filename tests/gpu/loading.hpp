// How the sections load layers and what they are held to: as the backend computes by default, or
// with the permission to round slot outputs and the bound that allows for it.
#pragma once

#include <sluice/audit.hpp>
#include <sluice/layer.hpp>

#include "audit/oracle/layer.hpp"
#include "section.hpp"

namespace sluice::gpu {

inline LoadOptions load_options(const Settings& settings, int threads = 1) {
  LoadOptions load;
  load.executor = make_executor(threads);
  load.may_round_slot_outputs = settings.round_slot_outputs;
  return load;
}

inline LayerOptions on_cuda(const Settings& settings) {
  LayerOptions options;
  options.backend = "cuda";
  options.load = load_options(settings);
  return options;
}

inline auditing::OracleOptions bound_of(const Settings& settings) {
  return {settings.round_slot_outputs};
}

inline AuditOptions audit_options(const Settings& settings) {
  AuditOptions options;
  options.seed = settings.seed;
  options.load = load_options(settings, settings.threads);
  options.allowances.slot_outputs_rounded = settings.round_slot_outputs;
  return options;
}

}  // namespace sluice::gpu
