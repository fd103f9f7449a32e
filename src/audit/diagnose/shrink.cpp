#include "audit/cases/draw_spec.hpp"
#include "audit/diagnose/diagnose.hpp"
#include "audit/edit_case.hpp"

namespace sluice::auditing {
namespace {

// One token if one is enough, else halves as long as a half will do.
void fewer_tokens(Finding& smallest, const StillFails& still_fails) {
  const std::int64_t worst = smallest.comparison.token;
  if (worst >= 0 && worst < smallest.prepared->subject.tokens()) {
    if (auto one = still_fails(rows_of(smallest.prepared->subject, worst, worst + 1))) {
      smallest = std::move(*one);
      return;
    }
  }
  for (std::int64_t tokens = smallest.prepared->subject.tokens(); tokens > 1;
       tokens = smallest.prepared->subject.tokens()) {
    const std::int64_t half = (tokens + 1) / 2;
    auto part = still_fails(rows_of(smallest.prepared->subject, 0, half));
    if (!part) part = still_fails(rows_of(smallest.prepared->subject, tokens - half, tokens));
    // A limit is found by halves; token by token only where there are few.
    if (!part && tokens <= 64) {
      part = still_fails(rows_of(smallest.prepared->subject, 0, tokens - 1));
    }
    if (!part) return;
    smallest = std::move(*part);
  }
}

void fewer_fields(Finding& smallest, const StillFails& still_fails) {
  for (bool progress = true; progress;) {
    progress = false;
    const std::size_t live = live_fields(smallest.prepared->subject.spec).size();
    for (const Field* field : live_fields(smallest.prepared->subject.spec)) {
      const auto changed = without_field(smallest.prepared->subject, *field);
      // Losing one field may leave another in its place: that is no progress.
      if (!changed || live_fields(changed->spec).size() >= live) continue;
      auto still = still_fails(*changed);
      if (!still) continue;
      smallest = std::move(*still);
      progress = true;
      break;
    }
  }
}

// The same fields on a smaller layer with fresh tensors.
void smaller_layer(Finding& smallest, const StillFails& still_fails, const Backend& backend) {
  constexpr Sizes kSizes[] = {{2, 1, 8, 8}, {4, 2, 8, 16}, {8, 2, 8, 16}, {8, 3, 16, 16}};
  const MoeSpec& spec = smallest.prepared->subject.spec;
  const auto volume = [](const MoeSpec& s) {
    return s.router.num_experts * s.experts.hidden_size * s.experts.intermediate_size;
  };
  for (const Sizes& sizes : kSizes) {
    MoeSpec small = spec;
    small.router.num_experts = sizes.experts;
    small.router.top_k = std::min(spec.router.top_k, sizes.top_k);
    small.experts.hidden_size = sizes.hidden;
    small.experts.intermediate_size = sizes.intermediate;
    if (volume(small) >= volume(spec) || !accepts(backend, small)) continue;
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
      auto still = still_fails(plain_case(small, seed, 2));
      if (!still) continue;
      smallest = std::move(*still);
      return;
    }
  }
}

}  // namespace

Finding shrink(const Finding& finding, const StillFails& still_fails, const Backend& backend) {
  Finding smallest = finding;
  fewer_tokens(smallest, still_fails);
  // What needs this many tokens is about their number, and each further try costs as much again.
  constexpr std::int64_t kTooMany = 4096;
  if (smallest.prepared->subject.tokens() > kTooMany) return smallest;
  fewer_fields(smallest, still_fails);
  smaller_layer(smallest, still_fails, backend);
  fewer_tokens(smallest, still_fails);
  return smallest;
}

}  // namespace sluice::auditing
