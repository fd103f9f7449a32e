// Numbers of tokens at and beside every limit: none, groups, and the chunks of long calls.
#include <limits>

#include "audit/cases/regime.hpp"
#include "audit/compare.hpp"
#include "backends/cuda/one_token/one_token.hpp"
#include "device_case.hpp"
#include "loading.hpp"

namespace sluice::gpu {
namespace {

using auditing::Case;

Case make_case(std::int64_t tokens, std::uint64_t seed) {
  Draw draw(seed * 17 + 3);
  const auditing::SpecSource source{backend("cuda"), std::nullopt};
  const MoeSpec spec = source.draw(auditing::neutral_spec({16, 3, 72, 40}), draw);
  return auditing::plain_case(spec, seed, tokens);
}

// Two blocks of one of its kernels on a multiprocessor would leave another idle: right, and slow.
void check_one_token_blocks(Findings& findings) {
  const int blocks = cuda::one_token_blocks();
  findings.expect(blocks == 1, "a multiprocessor takes {} blocks of a kernel of one token", blocks);
}

void check_none(const Settings& settings, Findings& findings) {
  const Case subject = make_case(0, 3);
  const auto experts = backend("cuda").load(subject.spec, subject.weights(), {});
  const Device device = backend("cuda").device({});
  const std::int64_t hidden = subject.spec.experts.hidden_size;
  const std::int64_t count = subject.spec.router.num_experts;
  experts->forward({{nullptr, DType::bf16, {0, hidden}, device},
                    {nullptr, DType::f32, {0, count}, device},
                    {},
                    {}},
                   {{nullptr, DType::bf16, {0, hidden}, device}, {}, {}}, {});
  MoeLayer layer(subject.spec, subject.weights(), on_cuda(settings));
  DeviceCase there(make_case(4, 3));
  ForwardInput input = there.input();
  ForwardOutput output = there.output();
  input.hidden_states.shape = output.output.shape = {0, hidden};
  input.router_logits.shape = {0, count};
  output.topk_ids.shape = output.topk_weights.shape = {0, subject.spec.router.top_k};
  layer.forward(input, output);
  findings.expect(true, "zero tokens threw");
}

// Rows around each boundary of one long call, each against the oracle. With a `piece`, the
// workspace is bounded to what so many tokens take.
void check_rows(const Case& subject, std::int64_t boundary, const Settings& settings,
                Findings& findings, std::int64_t piece = 0) {
  const std::int64_t tokens = subject.tokens();
  LayerOptions options = on_cuda(settings);
  if (piece > 0) {
    const auto experts = backend("cuda").load(subject.spec, subject.weights(), options.load);
    options.workspace_limit = experts->workspace_bytes(piece);
  }
  MoeLayer layer(subject.spec, subject.weights(), options);
  DeviceCase there(subject);
  layer.forward(there.input(), there.output());
  const auto whole = there.result(tokens);
  for (std::int64_t middle = 0; middle <= tokens; middle += boundary) {
    const std::int64_t first = std::max<std::int64_t>(0, middle - 3);
    const std::int64_t end = std::min(tokens, middle + 3);
    if (first >= end) continue;
    const Case part = auditing::rows_of(subject, first, end);
    const auto rows = [&](const auditing::OwnedTensor& all) {
      const std::int64_t columns = all.shape()[1];
      auditing::OwnedTensor cut(all.dtype(), {end - first, columns});
      const auto bytes = static_cast<std::size_t>(columns * bits(all.dtype()) / 8);
      std::memcpy(cut.data(), all.data() + static_cast<std::size_t>(first) * bytes,
                  cut.size_bytes());
      return cut;
    };
    auditing::RunResult result;
    result.output = rows(whole.output);
    result.ids = rows(whole.ids);
    result.weights = rows(whole.weights);
    const auditing::Oracle oracle(part, bound_of(settings));
    const auto comparison = auditing::compare(part, oracle, result);
    findings.expect(comparison.ok(), "T {}, tokens {} to {}: {}", tokens, first, end - 1,
                    comparison.message);
  }
}

void check_long(std::int64_t tokens, std::int64_t boundary, const Settings& settings,
                Findings& findings, std::int64_t piece = 0) {
  check_rows(make_case(tokens, 11), boundary, settings, findings, piece);
}

// Plain SwiGLU has tiles of its own: on each side of every number of tokens per expert at which
// another one is chosen, and where experts are cut into several segments.
void check_tiles(const Settings& settings, Findings& findings) {
  MoeSpec spec = auditing::neutral_spec({16, 4, 200, 136});
  spec.router.routed_scaling_factor = 2.5;
  for (const std::int64_t average : {2, 3, 52, 53, 90, 91, 128, 140, 141, 192, 193, 256, 400}) {
    check_rows(auditing::plain_case(spec, static_cast<std::uint64_t>(average), average * 4),
               average, settings, findings);
  }
  // Products so long, and segments so many, that tiles are high.
  MoeSpec wide = auditing::neutral_spec({4, 2, 2560, 2560});
  wide.router.routed_scaling_factor = 2.5;
  check_rows(auditing::plain_case(wide, 47, 6000), 3000, settings, findings);
}

// One token: outputs so wide that every block has several strips of rows, or a few blocks one more;
// and no slot's part in a strip's sums, where the token chose no local expert.
void check_wide(std::int64_t hidden, const Settings& settings, Findings& findings) {
  for (const std::int64_t shared : {0, 960}) {
    for (const std::int64_t local : {8, 1, 0}) {
      MoeSpec spec = auditing::neutral_spec({8, 3, hidden, 72});
      spec.router.routed_scaling_factor = 2.5;
      spec.experts.down_bias = true;
      spec.layer.num_shared_experts = shared > 0 ? 1 : 0;
      spec.layer.shared_intermediate_size = shared;
      spec.layer.local_expert_offset = 8 - local;
      spec.layer.num_local_experts = local;
      const Case subject = auditing::plain_case(spec, static_cast<std::uint64_t>(hidden), 1);
      auditing::RunOptions run;
      run.load = load_options(settings);
      const auto comparison =
          auditing::compare(subject, auditing::Oracle(subject, bound_of(settings)),
                            auditing::run_case(backend("cuda"), subject, run));
      findings.expect(comparison.ok(), "T 1, H {}, shared {}, {} of 8 experts local: {}", hidden,
                      shared, local, comparison.message);
    }
  }
}

// A rank without experts: routed to nobody, the shared block alone or nothing at all.
void check_nobody(std::int64_t tokens, const Settings& settings, Findings& findings) {
  for (const std::int64_t shared : {0, 72}) {
    MoeSpec spec = auditing::neutral_spec({8, 3, 72, 40});
    spec.router.routed_scaling_factor = 2.5;
    spec.layer.num_shared_experts = shared > 0 ? 1 : 0;
    spec.layer.shared_intermediate_size = shared;
    spec.layer.num_local_experts = 0;
    const Case subject = auditing::plain_case(spec, 41, tokens);
    auditing::RunOptions run;
    run.load = load_options(settings);
    const auto comparison =
        auditing::compare(subject, auditing::Oracle(subject, bound_of(settings)),
                          auditing::run_case(backend("cuda"), subject, run));
    findings.expect(comparison.ok(), "T {}, no local experts, shared {}: {}", tokens, shared,
                    comparison.message);
  }
}

// Weights above zero and an infinite x: nothing but infinities, though the eight units are padded
// to a tile's width, whose weights are zero.
void check_infinite(std::int64_t tokens, const Settings& settings, Findings& findings) {
  Case subject = auditing::plain_case(auditing::neutral_spec({2, 1, 8, 8}), 43, tokens);
  for (auto& [name, tensor] : subject.tensors) {
    if (name == "router_logits") continue;
    for (std::int64_t i = 0; i < tensor.elements(); ++i) tensor.set(i, 0.5f);
  }
  auditing::OwnedTensor& hidden = subject.tensors.at("hidden_states");
  hidden.set(hidden.elements() - 1, std::numeric_limits<float>::infinity());
  auditing::RunOptions run;
  run.load = load_options(settings);
  const auto result = auditing::run_case(backend("cuda"), subject, run);
  for (std::int64_t column = 0; column < 8; ++column) {
    const float last = result.output.get((tokens - 1) * 8 + column);
    findings.expect(last == std::numeric_limits<float>::infinity(),
                    "T {}, an infinite hidden state: column {} is {}", tokens, column, last);
  }
}

// Groups so many that a warp's room for them comes to the limits of shared memory, which a kernel
// must ask to exceed.
void check_many_groups(std::int64_t experts, std::int64_t groups, std::int64_t tokens,
                       const Settings& settings, Findings& findings) {
  MoeSpec spec = auditing::neutral_spec({experts, 8, 72, 40});
  spec.router.n_group = groups;
  spec.router.topk_group = groups / 2;
  const Case subject = auditing::plain_case(spec, 29, tokens);
  auditing::RunOptions run;
  run.load = load_options(settings);
  const auto comparison = auditing::compare(subject, auditing::Oracle(subject, bound_of(settings)),
                                            auditing::run_case(backend("cuda"), subject, run));
  findings.expect(comparison.ok(), "E {} in {} groups, T {}: {}", experts, groups, tokens,
                  comparison.message);
}

}  // namespace

void run_token_counts(const Settings& settings, Findings& findings) {
  check_none(settings, findings);
  check_one_token_blocks(findings);
  for (const std::int64_t hidden : {2112, 2120, 2304, 3168, 6336, 6400}) {
    if (!settings.brief || hidden == 2304) check_wide(hidden, settings, findings);
  }
  for (const std::int64_t tokens : {1, 2, 16, 17, 65, 300}) {
    check_nobody(tokens, settings, findings);
    check_infinite(tokens, settings, findings);
  }
  for (const std::int64_t edge : {8, 16, 32, 64, 128, 256, 1024}) {
    for (std::int64_t tokens = edge - 1; tokens <= edge + 1; ++tokens) {
      if (!settings.brief || edge <= 32)
        check_long(tokens, std::max<std::int64_t>(edge / 2, 1), settings, findings);
    }
  }
  for (const std::int64_t piece : {5, 48}) {
    for (const std::int64_t tokens : {piece - 1, piece, piece + 1, 2 * piece, 2 * piece + 1}) {
      check_long(tokens, piece, settings, findings, piece);
    }
  }
  for (const std::int64_t tokens : {4, 28, 70, 1100}) {
    check_many_groups(256, 4, tokens, settings, findings);
    check_many_groups(256, 128, tokens, settings, findings);
    check_many_groups(1024, 512, tokens, settings, findings);
    if (settings.brief) break;
  }
  if (settings.brief) return;
  check_tiles(settings, findings);
  // Calls are cut into chunks of 16384 tokens; 65535 is what a grid's second dimension can count.
  for (const std::int64_t edge : {16384, 32768, 65536}) {
    for (std::int64_t tokens = edge - 1; tokens <= edge + 1; ++tokens) {
      check_long(tokens, 8192, settings, findings);
    }
  }
}

}  // namespace sluice::gpu
