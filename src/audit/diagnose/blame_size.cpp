// Which size is to blame, where no field is.
#include "audit/cases/draw_spec.hpp"
#include "audit/diagnose/diagnose.hpp"

namespace sluice::auditing {
namespace {

struct Size {
  std::string_view field;
  std::int64_t& (*of)(MoeSpec&);
  std::int64_t ordinary;
};

constexpr Size kSizes[] = {
    {"router.num_experts", [](MoeSpec& s) -> std::int64_t& { return s.router.num_experts; }, 8},
    {"router.top_k", [](MoeSpec& s) -> std::int64_t& { return s.router.top_k; }, 2},
    {"experts.hidden_size", [](MoeSpec& s) -> std::int64_t& { return s.experts.hidden_size; }, 16},
    {"experts.intermediate_size",
     [](MoeSpec& s) -> std::int64_t& { return s.experts.intermediate_size; }, 16},
};

}  // namespace

std::string size_to_blame(const Finding& finding, const StillFails& still_fails,
                          const Backend& backend) {
  const MoeSpec& spec = finding.prepared->subject.spec;
  const std::int64_t tokens = std::clamp<std::int64_t>(finding.prepared->subject.tokens(), 4, 64);
  const auto fails = [&](const MoeSpec& changed) {
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
      if (still_fails(plain_case(changed, seed, tokens))) return true;
    }
    return false;
  };
  // What other numbers do not show is about the numbers.
  if (!fails(spec)) return {};
  std::string blamed;
  for (const Size& size : kSizes) {
    MoeSpec changed = spec;
    std::int64_t& value = size.of(changed);
    if (value <= size.ordinary) continue;
    value = size.ordinary;
    // As few experts as the choices allow.
    changed.router.num_experts = std::max(changed.router.num_experts, 2 * changed.router.top_k);
    if (!accepts(backend, changed) || fails(changed)) continue;
    if (!blamed.empty()) return {};  // either of two
    blamed = size.field;
  }
  return blamed;
}

}  // namespace sluice::auditing
