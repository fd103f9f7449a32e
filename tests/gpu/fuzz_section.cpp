// Random shapes and specs against the oracle's bound per element.
#include <algorithm>
#include <atomic>
#include <thread>

#include "audit/cases/regime.hpp"
#include "audit/compare.hpp"
#include "audit/run_case.hpp"
#include "loading.hpp"

namespace sluice::gpu {
namespace {

using auditing::Case;

// Widths in multiples of 8 around and between those of tiles; experts and choices up to the stated
// limits. One in eight is wide in one direction, so that sums are long; under a sanitizer none is.
Case draw_case(const Backend& subject, std::uint64_t seed, bool brief) {
  Draw draw(seed * 7919 + 13);
  auditing::Sizes sizes;
  sizes.experts = draw.one_of(1, 2, 5, 8, 33, 64, 160, 256, 1024);
  sizes.top_k = draw.integer(1, std::min<std::int64_t>(sizes.experts, draw.one_of(2, 8, 32)));
  sizes.hidden = 8 * draw.integer(1, draw.one_of(9, 17, 33));
  sizes.intermediate = 8 * draw.integer(1, draw.one_of(9, 17, 33));
  if (!brief && draw.integer(0, 7) == 0) sizes.hidden = 8 * draw.integer(64, 300);
  if (!brief && draw.integer(0, 7) == 0) sizes.intermediate = 8 * draw.integer(64, 300);
  const std::int64_t most = std::max<std::int64_t>(
      1, (std::int64_t{1} << 24) / (sizes.hidden * sizes.intermediate * sizes.top_k));
  const std::int64_t tokens =
      std::min(most, draw.one_of<std::int64_t>(1, 2, draw.integer(3, 8), 9, draw.integer(9, 64),
                                               draw.integer(65, 400)));
  // Large layers keep few experts, so that making them does not take longer than judging them.
  if (sizes.hidden * sizes.intermediate > 512 * 512) {
    sizes.experts = std::max<std::int64_t>(sizes.top_k, 8);
  }
  const auditing::SpecSource source{subject, std::nullopt};
  MoeSpec spec = source.draw(auditing::neutral_spec(sizes), draw);
  // One token has kernels of its own where the activation is plain: most of its layers shall have.
  if (tokens == 1 && draw.integer(0, 3) > 0) {
    const ExpertSpec neutral;
    spec.experts.activation = neutral.activation;
    spec.experts.swiglu_alpha = neutral.swiglu_alpha;
    spec.experts.swiglu_beta = neutral.swiglu_beta;
    spec.experts.swiglu_limit = neutral.swiglu_limit;
    spec.experts.gate_up_bias = neutral.gate_up_bias;
  }
  return auditing::plain_case(spec, seed, tokens);
}

}  // namespace

void run_fuzz(const Settings& settings, Findings& findings) {
  const std::int64_t cases = settings.cases > 0 ? settings.cases : settings.brief ? 12 : 1000;
  const Backend& subject = backend("cuda");
  std::atomic<std::int64_t> next{0};
  std::atomic<std::int64_t> tokens{0};
  std::mutex mutex;
  double worst_use = 0.0;
  const auto work = [&] {
    auditing::RunOptions run;
    run.load = load_options(settings);
    for (std::int64_t i = next++; i < cases; i = next++) {
      const std::uint64_t seed = settings.seed * 1'000'003 + static_cast<std::uint64_t>(i);
      const Case made = draw_case(subject, seed, settings.brief);
      const auditing::Oracle oracle(made, bound_of(settings));
      const auto result = auditing::run_case(subject, made, run);
      const auto comparison = auditing::compare(made, oracle, result);
      tokens += made.tokens();
      findings.expect(
          comparison.ok(), "seed {} (E {}, K {}, H {}, I {}, T {}): stage {}: {}\n         {}",
          seed, made.spec.router.num_experts, made.spec.router.top_k, made.spec.experts.hidden_size,
          made.spec.experts.intermediate_size, made.tokens(), to_string(comparison.stage),
          comparison.message, print_spec(made.spec));
      const std::lock_guard lock(mutex);
      worst_use = std::max(worst_use, comparison.use);
    }
  };
  const int threads = settings.brief ? 1 : make_executor(settings.threads)->workers();
  std::vector<std::jthread> pool;
  for (int i = 0; i < threads; ++i) pool.emplace_back(work);
  pool.clear();
  findings.note("{} layers, {} tokens, worst use of a bound {:.3f}", cases, tokens.load(),
                worst_use);
}

}  // namespace sluice::gpu
