// Numbers of tokens from none to many, and sizes that 32 bits cannot hold.
#include <fmt/format.h>

#include <sys/mman.h>

#include "audit/cases/draw_spec.hpp"
#include "audit/checks/check.hpp"
#include "backends/staged_experts.hpp"
#include "base/aligned_buffer.hpp"

namespace sluice::auditing {
namespace {

// Every claimed field, but every expert here: a rank might hold one alone. Null: no layer is taken.
PreparedPtr usual(Context& context, int round, std::int64_t tokens) {
  const auto base = context.bank.source().base({8, round % 2 == 0 ? 2 : 1, 40, 16});
  if (!base) return nullptr;
  const std::string key = fmt::format("usual#{}#{}", context.seed(round), tokens);
  return context.bank.of(key, [&] {
    Draw draw(context.seed(round) * 977 + 5);
    constexpr std::string_view kPlacement[] = {"local_expert_offset", "num_local_experts",
                                               "expert_map"};
    MoeSpec spec = context.bank.source().draw(*base, draw, kPlacement);
    // 16 bits would hide what differs in the last ones of fp32.
    MoeSpec wide = spec;
    wide.layer.output_dtype = OutputDType::f32;
    const bool free = !context.bank.source().given;
    if (free && accepts(context.bank.backend(), wide)) spec = wide;
    return plain_case(spec, context.seed(round), tokens);
  });
}

}  // namespace

void check_zero_tokens(Context& context) {
  for (int round = 0; round < 2; ++round) {
    if (context.done()) return;
    const PreparedPtr prepared = usual(context, round, 0);
    if (!prepared) return;
    ++context.report->cases;
    if (!context.judge(prepared)) return;
    // Buffers of no tokens may have no address.
    try {
      const Case& subject = prepared->subject;
      const auto experts =
          load_for_host(context.backend, subject.spec, subject.weights(), context.run.load);
      if (experts->workspace_bytes(0) > (std::size_t{1} << 34)) {
        return context.complain(
            prepared, Stage::memory,
            fmt::format("workspace_bytes(0) is {}", experts->workspace_bytes(0)), 'K');
      }
      ForwardInput input = subject.input();
      input.hidden_states.data = input.router_logits.data = nullptr;
      const ForwardOutput output{
          {nullptr, subject.output_dtype(), {0, subject.spec.experts.hidden_size}, {}}, {}, {}};
      AlignedBuffer workspace(experts->workspace_bytes(0) + kWorkspaceAlignment);
      experts->forward(input, output, {workspace.data(), experts->workspace_bytes(0)});
    } catch (const std::exception& error) {
      return context.complain(
          prepared, Stage::load,
          fmt::format("zero tokens, whose buffers have no address, threw: {}", error.what()), 'K');
    }
  }
}

// Where batch invariance is claimed, more tokens change no bit of the first.
bool same_first_rows(Context& context, const PreparedPtr& prepared, const RunResult& all,
                     const RunResult& part) {
  if (!context.backend.batch_invariant() || !all.output.given()) return true;
  if (std::memcmp(all.output.data(), part.output.data(), part.output.size_bytes()) == 0) {
    return true;
  }
  context.complain(
      prepared, Stage::repeat,
      fmt::format("{} tokens have other bits alone than among {}, and the backend says "
                  "that it is batch invariant",
                  part.output.shape()[0], all.output.shape()[0]),
      'O');
  return false;
}

void check_token_counts(Context& context) {
  // What kernels take in one go is rarely more than some thousand tokens. A given spec may be wide.
  const std::int64_t most = context.bank.source().given ? 300 : 5200;
  for (int round = 0; round < (context.slow ? 3 : 1); ++round) {
    const PreparedPtr prepared = usual(context, round, most);
    if (!prepared) return;
    LoadedCase loaded(context.backend, prepared->subject, context.run);
    std::vector<std::int64_t> counts{1, 2, 3};
    for (std::int64_t power = 8; power / 4 * 5 <= most; power *= 2) {
      for (std::int64_t count = power - 1; count <= power + 1; ++count) counts.push_back(count);
      counts.push_back(power / 4 * 5);
      if (power / 2 * 3 < most) counts.push_back(power / 2 * 3 + 1);
    }
    const RunResult all = loaded.run_rows(0, most);
    CompareOptions how = context.compare_options();
    how.part = true;
    for (const std::int64_t count : counts) {
      if (context.done()) return;
      const RunResult result = loaded.run_rows(0, count);
      if (context.judge(prepared, result, how)) {
        if (!same_first_rows(context, prepared, all, result)) break;
      } else {
        Finding& finding = context.findings.back();
        finding.comparison.message =
            fmt::format("with {} tokens: {}", count, finding.comparison.message);
        // The prepared case has more tokens than the failing call: give diagnosis that call.
        finding.prepared =
            std::make_shared<Prepared>(rows_of(prepared->subject, 0, count), OracleOptions{});
        break;
      }
    }
  }
}

namespace {

// Workspace for many tokens: never less than for fewer, and not wrapped around.
void check_workspace(Context& context, const PreparedPtr& prepared) {
  const LoadedCase loaded(context.backend, prepared->subject, context.run);
  if (loaded.experts() == nullptr) return;
  std::size_t before = 0;
  std::int64_t tokens_before = 0;
  for (int power = 0; power <= 33; ++power) {
    const std::int64_t tokens = std::int64_t{1} << power;
    std::size_t bytes = 0;
    try {
      bytes = loaded.experts()->workspace_bytes(tokens);
    } catch (const std::exception&) {
      return;  // a stated limit is an answer
    }
    if (bytes < before) {
      return context.complain(prepared, Stage::memory,
                              fmt::format("workspace_bytes({}) is {}, less than the {} for {} "
                                          "tokens: the size overflowed",
                                          tokens, bytes, before, tokens_before),
                              'L');
    }
    before = bytes;
    tokens_before = tokens;
  }
}

// Address space without memory: only what is touched becomes real.
class Reservation {
 public:
  explicit Reservation(std::size_t bytes) : bytes_(bytes) {
    void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    base_ = at == MAP_FAILED ? nullptr : static_cast<std::byte*>(at);
  }
  ~Reservation() {
    if (base_ != nullptr) munmap(base_, bytes_);
  }
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;
  std::byte* base() const { return base_; }

 private:
  std::size_t bytes_;
  std::byte* base_ = nullptr;
};

// The experts' matrices lie 3 GiB apart, so that no 32-bit distance reaches from one to the next.
void check_distant_experts(Context& context, const PreparedPtr& prepared) {
  constexpr std::size_t kApart = std::size_t{3} << 30;
  const Case& subject = prepared->subject;
  MoeWeights weights = subject.weights();
  const std::size_t experts = weights.down_proj.size();
  const Reservation space(kApart * (experts + 1));
  if (space.base() == nullptr) return;  // no such address space here: nothing can be said
  const auto move = [&](ExpertMatrices& matrices, std::size_t shift) {
    for (std::size_t e = 0; e < matrices.size(); ++e) {
      TensorView& matrix = matrices[e];
      std::byte* to = space.base() + e * kApart + shift;
      std::memcpy(to, matrix.data,
                  static_cast<std::size_t>(matrix.shape.elements() * bits(matrix.dtype) / 8));
      matrix.data = to;
    }
  };
  move(weights.gate_up_proj, 0);
  move(weights.down_proj, std::size_t{1} << 30);
  RunResult result;
  try {
    const auto loaded = load_for_host(context.backend, subject.spec, weights, context.run.load);
    result = run_loaded(*loaded, subject, context.run);
  } catch (const std::exception& error) {
    result.error = error.what();
    result.threw_at_load = true;
  }
  if (!context.judge(prepared, result, context.compare_options())) {
    Finding& finding = context.findings.back();
    finding.exactness = false;  // only at this distance
    finding.bug_class = 'L';
    finding.comparison.message = "with expert matrices 3 GiB apart: " + finding.comparison.message;
  }
}

}  // namespace

void check_addresses(Context& context) {
  const PreparedPtr prepared = usual(context, 0, 9);
  if (!prepared) return;
  ++context.report->cases;
  check_workspace(context, prepared);
  if (!context.done()) check_distant_experts(context, prepared);
  // More rows than 16 bits, or a grid's second dimension, can count.
  for (const Regime& regime : regimes()) {
    if (regime.name != "many-tokens" || context.done()) continue;
    if (const PreparedPtr many = context.bank.of(regime, context.options.seed)) {
      context.judge(many);
    }
  }
}

}  // namespace sluice::auditing
