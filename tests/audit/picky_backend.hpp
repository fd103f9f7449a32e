// A backend that states limits beyond its claims, as supports() may.
#pragma once

#include <functional>
#include <sluice/backend.hpp>
#include <sluice/error.hpp>

namespace sluice::auditing {

class Picky final : public Backend {
 public:
  using Limit = std::function<void(const MoeSpec&, std::vector<Refusal>&)>;
  explicit Picky(Limit limit) : limit_(std::move(limit)) {}
  std::string_view name() const override { return "picky"; }
  std::optional<std::string> unavailable() const override { return std::nullopt; }
  FieldSet claims() const override { return inner_.claims(); }
  Support supports(const MoeSpec& spec) const override {
    Support support = inner_.supports(spec);
    limit_(spec, support.refusals);
    return support;
  }
  std::unique_ptr<Experts> load(const MoeSpec& spec, const MoeWeights& weights,
                                const LoadOptions& options) const override {
    if (!supports(spec).ok()) throw Error(ErrorKind::internal, "a refused layer was loaded");
    return inner_.load(spec, weights, options);
  }
  bool batch_invariant() const override { return inner_.batch_invariant(); }

 private:
  const Backend& inner_ = backend("reference");
  Limit limit_;
};

}  // namespace sluice::auditing
