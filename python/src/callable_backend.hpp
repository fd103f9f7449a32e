// A Python callable as a Backend, so that everything that takes a Backend takes it.
#pragma once

#include <nanobind/nanobind.h>

#include <string>

#include <sluice/backend.hpp>

namespace sluice::python {

namespace nb = nanobind;

// `load(spec, weights)` is called with a MoeSpec and a dict of Tensors and returns a callable
//   forward(hidden_states, router_logits, topk_ids, topk_weights, output, out_ids, out_weights)
// of Tensors (or None), which writes its last three arguments, and returns the name of an input
// that was changed where these Tensors do not show it, or None. Every Tensor is a copy that Python
// may keep. `refusals(spec)`, if not None, returns a dict of field names to reasons.
// What Python raises becomes sluice::Error, naming the exception; what is no Exception there
// (KeyboardInterrupt, SystemExit) passes through the library as an Interruption.
class CallableBackend final : public Backend {
 public:
  CallableBackend(std::string name, FieldSet claims, nb::object load, nb::object refusals,
                  bool batch_invariant)
      : name_(std::move(name)),
        claims_(claims),
        load_(std::move(load)),
        refusals_(std::move(refusals)),
        batch_invariant_(batch_invariant) {}

  std::string_view name() const override { return name_; }
  std::optional<std::string> unavailable() const override { return std::nullopt; }
  FieldSet claims() const override { return claims_; }
  Support supports(const MoeSpec& spec) const override;
  std::unique_ptr<Experts> load(const MoeSpec& spec, const MoeWeights& weights,
                                const LoadOptions& options) const override;
  bool batch_invariant() const override { return batch_invariant_; }

 private:
  std::string name_;
  FieldSet claims_;
  nb::object load_;
  nb::object refusals_;
  bool batch_invariant_;
};

}  // namespace sluice::python
