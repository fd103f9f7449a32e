#include "audit/faults/fault.hpp"

#include "backends/staged_experts.hpp"
#include "base/fail.hpp"
#include "base/nearest_name.hpp"

namespace sluice::auditing {
namespace {

class FaultyExperts final : public Experts {
 public:
  FaultyExperts(MoeSpec spec, Fault fault, std::unique_ptr<Experts> inner)
      : spec_(std::move(spec)), fault_(std::move(fault)), inner_(std::move(inner)) {}

  std::size_t workspace_bytes(std::int64_t tokens) const override {
    const std::size_t bytes = inner_->workspace_bytes(tokens);
    return fault_.workspace_bytes ? fault_.workspace_bytes(bytes, tokens) : bytes;
  }

  void forward(const ForwardInput& input, const ForwardOutput& output,
               std::span<std::byte> workspace, void* stream) const override {
    Call call{spec_, *inner_, input, output, workspace, stream};
    if (fault_.forward) {
      fault_.forward(call);
    } else {
      call.forward();
    }
  }

  std::size_t weight_bytes() const override { return inner_->weight_bytes(); }

 private:
  MoeSpec spec_;
  Fault fault_;
  std::unique_ptr<Experts> inner_;
};

class FaultyBackend final : public Backend {
 public:
  FaultyBackend(const Backend& inner, Mutant mutant)
      : inner_(inner),
        mutant_(std::move(mutant)),
        name_(fmt::format("{}!{}", inner.name(), mutant_.info.name)) {}

  std::string_view name() const override { return name_; }
  std::optional<std::string> unavailable() const override { return inner_.unavailable(); }
  FieldSet claims() const override { return inner_.claims(); }
  bool batch_invariant() const override { return inner_.batch_invariant(); }

  Support supports(const MoeSpec& spec) const override {
    return mutant_.supports ? mutant_.supports(inner_, spec) : inner_.supports(spec);
  }

  std::unique_ptr<Experts> load(const MoeSpec& spec, const MoeWeights& weights,
                                const LoadOptions& options) const override {
    Fault fault = mutant_.make ? mutant_.make(spec, weights) : Fault{};
    Load load{spec, weights, {}};
    if (fault.load) {
      fault.load(load);
      // The inner backend relies on both; a fault that breaks them is a mistake of ours.
      validate(load.spec);
      check_weights(load.spec, load.weights);
    }
    // Faults edit tensors on the host, so that is where a faulty backend takes them.
    auto inner = load_for_host(inner_, load.spec, load.weights, options);
    return std::make_unique<FaultyExperts>(spec, std::move(fault), std::move(inner));
  }

 private:
  const Backend& inner_;
  Mutant mutant_;
  std::string name_;
};

Mutant parse_fault(std::string_view fault) {
  constexpr std::string_view kDrop = "drop:";
  constexpr std::string_view kDouble = "double:";
  if (fault.starts_with(kDrop)) {
    return {{fault, '?', {}, {}}, drop_fault(fault.substr(kDrop.size())), {}};
  }
  if (fault.starts_with(kDouble)) {
    return {{fault, '?', {}, {}}, double_fault(fault.substr(kDouble.size())), {}};
  }
  std::vector<std::string_view> names;
  for (const Mutant& mutant : mutant_list()) {
    if (mutant.info.name == fault) return mutant;
    names.push_back(mutant.info.name);
  }
  fail(ErrorKind::user,
       "no fault is named \"{}\"{}; give drop:FIELD, double:FIELD, or a mutant of `sluice audit "
       "--list-mutants`",
       fault, did_you_mean(fault, names));
}

}  // namespace

std::unique_ptr<Backend> decorate(const Backend& inner, const Mutant& mutant) {
  return std::make_unique<FaultyBackend>(inner, mutant);
}

}  // namespace sluice::auditing

namespace sluice {

std::unique_ptr<Backend> inject(const Backend& inner, std::string_view fault) {
  return auditing::decorate(inner, auditing::parse_fault(fault));
}

std::span<const MutantInfo> mutants() {
  static const std::vector<MutantInfo> infos = [] {
    std::vector<MutantInfo> list;
    for (const auto& mutant : auditing::mutant_list()) list.push_back(mutant.info);
    return list;
  }();
  return infos;
}

}  // namespace sluice
