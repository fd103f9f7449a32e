// Poison, threads, batches, concurrency: the same inputs must give the same bits.
#include <fmt/format.h>

#include <exception>
#include <thread>

#include "audit/cases/draw_spec.hpp"
#include "audit/checks/check.hpp"

namespace sluice::auditing {
namespace {

// Regimes that between them use every part of a layer.
constexpr std::string_view kUsual[] = {"random", "hot-expert", "tiles", "given"};

template <typename Visit>
void for_usual_cases(Context& context, Visit visit) {
  for (const Regime& regime : regimes()) {
    if (std::find(std::begin(kUsual), std::end(kUsual), regime.name) == std::end(kUsual)) continue;
    for (int round = 0; round < std::min(context.rounds, 3); ++round) {
      if (context.done()) return;
      const PreparedPtr prepared = context.bank.of(regime, context.seed(round));
      if (!prepared) continue;
      ++context.report->cases;
      if (!visit(prepared)) break;
    }
  }
}

std::string first_difference(const RunResult& a, const RunResult& b) {
  if (a.error != b.error) return fmt::format("one run threw: {}{}", a.error, b.error);
  const auto in = [](const char* name, const OwnedTensor& x, const OwnedTensor& y) {
    if (same_bits(x, y)) return std::string();
    if (x.shape() != y.shape()) return fmt::format("{} has another shape", name);
    const std::int64_t columns = std::max<std::int64_t>(x.shape()[1], 1);
    for (std::int64_t i = 0; i < x.elements(); ++i) {
      const bool floats = is_plain_float(x.dtype());
      const double before = floats ? x.get(i) : static_cast<double>(x.id(i));
      const double after = floats ? y.get(i) : static_cast<double>(y.id(i));
      if (before == after) continue;
      return fmt::format("{}: token {}, element {}: {:.9g}, then {:.9g}", name, i / columns,
                         i % columns, before, after);
    }
    return fmt::format("{} differs in bits", name);
  };
  for (const std::string& text :
       {in("topk_ids", a.ids, b.ids), in("topk_weights", a.weights, b.weights),
        in("output", a.output, b.output)}) {
    if (!text.empty()) return text;
  }
  return {};
}

}  // namespace

void check_poison(Context& context) {
  for_usual_cases(context, [&](const PreparedPtr& prepared) {
    LoadedCase loaded(context.backend, prepared->subject, context.run);
    const RunResult first = loaded.run(Poison::nan);
    const std::pair<const char*, std::optional<Poison>> later[] = {
        {"a second run over the memory that the first one left", std::nullopt},
        {"a run over zeroed memory", Poison::zero},
        {"a run over memory full of ones", Poison::ones},
        {"a run over poisoned memory", Poison::nan}};
    if (!first.memory.empty()) {
      context.complain(prepared, Stage::memory, first.memory, 'J');
      return false;
    }
    for (const auto& [what, poison] : later) {
      const RunResult again = loaded.run(poison);
      if (same_bits(first, again) && again.memory.empty()) continue;
      const std::string text = again.memory.empty() ? first_difference(first, again) : again.memory;
      context.complain(prepared, Stage::memory, fmt::format("{} gave other bits: {}", what, text),
                       poison && *poison != Poison::nan ? 'J' : 'O');
      return false;
    }
    return true;
  });
}

void check_threads(Context& context) {
  for_usual_cases(context, [&](const PreparedPtr& prepared) {
    std::optional<RunResult> first;
    for (const int threads : {1, 2, 5}) {
      RunOptions run = context.run;
      run.load.executor = make_executor(threads);
      RunResult result = run_case(context.backend, prepared->subject, run);
      if (!first) {
        first = std::move(result);
      } else if (!same_bits(*first, result)) {
        context.complain(prepared, Stage::repeat,
                         fmt::format("{} threads gave other bits than one: {}", threads,
                                     first_difference(*first, result)),
                         'O');
        return false;
      }
    }
    return true;
  });
}

void check_batch(Context& context) {
  if (!context.backend.batch_invariant()) {
    context.report->verdict = Verdict::not_applicable;
    return;
  }
  for_usual_cases(context, [&](const PreparedPtr& prepared) {
    LoadedCase loaded(context.backend, prepared->subject, context.run);
    const RunResult whole = loaded.run(Poison::nan);
    if (!whole.error.empty()) return true;  // the exact check says so
    const std::int64_t tokens = prepared->subject.tokens();
    const std::int64_t width = prepared->subject.spec.experts.hidden_size;
    for (const auto& [first, end] : {std::pair<std::int64_t, std::int64_t>{0, 1},
                                     {tokens - 1, tokens},
                                     {0, tokens / 2},
                                     {tokens / 2, tokens}}) {
      const RunResult part = loaded.run_rows(first, end);
      const auto bytes = static_cast<std::size_t>(width * bits(whole.output.dtype()) / 8);
      const bool same = part.error.empty() &&
                        (first == end ||
                         std::memcmp(part.output.data(),
                                     whole.output.data() + static_cast<std::size_t>(first) * bytes,
                                     static_cast<std::size_t>(end - first) * bytes) == 0);
      if (same) continue;
      context.complain(
          prepared, Stage::repeat,
          fmt::format("tokens {} … {} alone have other bits than among {} tokens, and "
                      "the backend says that it is batch invariant{}",
                      first, end - 1, tokens, part.error.empty() ? "" : ": " + part.error),
          'O');
      return false;
    }
    return true;
  });
}

void check_concurrent(Context& context) {
  for_usual_cases(context, [&](const PreparedPtr& prepared) {
    // One loaded layer, two callers with other tokens and a workspace each.
    const Case& subject = prepared->subject;
    const std::int64_t half = subject.tokens() / 2;
    if (half == 0) return true;
    RunOptions run = context.run;
    run.load.executor = make_executor(1);
    run.before_call = nullptr;  // calls of two threads; an interruption comes out of both
    const Case parts[2] = {rows_of(subject, 0, half), rows_of(subject, half, 2 * half)};
    RunResult alone[2], together[2];
    for (int i = 0; i < 2; ++i) alone[i] = run_case(context.backend, parts[i], run);
    const SharedCase shared(context.backend, subject, run);
    // Calls are short: they meet only if there are many. The first one that is wrong stays.
    constexpr int kCalls = 40;
    std::exception_ptr thrown[2];
    const auto call_often = [&](int i) {
      try {
        for (int n = 0; n < kCalls && (n == 0 || same_bits(alone[i], together[i])); ++n) {
          together[i] = shared.run(parts[i]);
        }
      } catch (...) {
        thrown[i] = std::current_exception();
      }
    };
    std::thread other(call_often, 1);
    call_often(0);
    other.join();
    for (const std::exception_ptr& interruption : thrown) {
      if (interruption) std::rethrow_exception(interruption);
    }
    for (int i = 0; i < 2; ++i) {
      if (same_bits(alone[i], together[i])) continue;
      context.complain(prepared, Stage::repeat,
                       fmt::format("two calls at once, each with a workspace of its own, disturb "
                                   "each other: {}",
                                   first_difference(alone[i], together[i])),
                       'O');
      return false;
    }
    return true;
  });
}

}  // namespace sluice::auditing
