// The GPU suite: everything about the cuda backend that needs a GPU, and a summary in plain words.
//
//   gpu_suite [--only SECTION,…] [--brief] [--round-slot-outputs] [--cases N] [--seed N]
//             [--threads N] [--suite full|quick]
//
// Exit status: 0 all right, 1 something is wrong, 77 skipped because there is no usable GPU.
#include <fmt/format.h>

#include <chrono>
#include <cstring>
#include <exception>
#include <sluice/backend.hpp>
#include <sluice/error.hpp>

#include "section.hpp"

namespace sluice::gpu {

void Findings::expect_error(std::string_view what, std::initializer_list<std::string_view> parts,
                            const std::function<void()>& action) {
  try {
    action();
    expect(false, "{}: no error", what);
  } catch (const Error& error) {
    const std::string_view message = error.what();
    for (const std::string_view part : parts) {
      expect(message.find(part) != std::string_view::npos, "{}: the error does not say \"{}\": {}",
             what, part, message);
    }
    note("{}: \"{}\"", what, message);
  }
}

namespace {

constexpr Section kSections[] = {
    {"audit", "every claimed field, every regime, poisoned and fenced device memory", run_audit},
    {"mutants", "faulty copies of the backend, each of which the audit must see", run_mutants},
    {"rounding", "slot outputs rounded without the audit's being told: it must see them",
     run_rounding},
    {"fuzz", "random specs and shapes, every output within the oracle's bound", run_fuzz},
    {"graphs", "captured once, replayed over other tokens: the same bits as plain calls",
     run_graphs},
    {"tokens", "T = 0, and one token before, at and after every limit", run_token_counts},
    {"router", "logits from hidden states: within the bound of a dot product, and used as if given",
     run_router},
    {"errors", "no memory, busy streams, wrong places: clear errors, and right afterwards",
     run_errors},
};

constexpr int kSkipped = 77;

bool run_section(const Section& section, const Settings& settings) {
  const auto start = std::chrono::steady_clock::now();
  Findings findings;
  try {
    section.run(settings, findings);
  } catch (const std::exception& error) {
    findings.expect(false, "threw: {}", error.what());
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const bool right = findings.wrong().empty() && findings.checks() > 0;
  fmt::print("{} {:<8} {} checks, {} wrong, {:.1f} s: {}\n", right ? "PASS" : "FAIL", section.name,
             findings.checks(), findings.wrong().size(), seconds, section.meaning);
  for (const std::string& note : findings.notes()) fmt::print("       {}\n", note);
  constexpr std::size_t kShown = 12;
  for (std::size_t i = 0; i < findings.wrong().size() && i < kShown; ++i) {
    fmt::print("  wrong: {}\n", findings.wrong()[i]);
  }
  std::fflush(stdout);
  return right;
}

int usage(std::string_view problem) {
  fmt::print(stderr, "gpu_suite: {}\nsections:", problem);
  for (const Section& section : kSections) fmt::print(stderr, " {}", section.name);
  fmt::print(stderr, "\n");
  return 2;
}

int run(int count, char** arguments) {
  Settings settings;
  std::string only;
  for (int i = 1; i < count; ++i) {
    const std::string_view name = arguments[i];
    if (name == "--brief") {
      settings.brief = true;
      continue;
    }
    if (name == "--round-slot-outputs") {
      settings.round_slot_outputs = true;
      continue;
    }
    if (i + 1 == count) return usage(fmt::format("{} needs a value, or is unknown", name));
    const std::string value = arguments[++i];
    if (name == "--only") {
      only = value;
    } else if (name == "--cases") {
      settings.cases = std::stoll(value);
    } else if (name == "--seed") {
      settings.seed = std::stoull(value);
    } else if (name == "--threads") {
      settings.threads = std::stoi(value);
    } else if (name == "--suite") {
      settings.suite = value;
    } else {
      return usage(fmt::format("there is no {}", name));
    }
  }
  if (const auto reason = backend("cuda").unavailable()) {
    fmt::print("skipped: no GPU: {}\n", *reason);
    return kSkipped;
  }
  bool right = true;
  bool any = false;
  for (const Section& section : kSections) {
    if (!only.empty() &&
        fmt::format(",{},", only).find(fmt::format(",{},", section.name)) == std::string::npos) {
      continue;
    }
    any = true;
    right = run_section(section, settings) && right;
  }
  return any ? (right ? 0 : 1) : usage(fmt::format("there is no section {}", only));
}

}  // namespace
}  // namespace sluice::gpu

int main(int count, char** arguments) {
  try {
    return sluice::gpu::run(count, arguments);
  } catch (const std::exception& error) {
    fmt::print(stderr, "gpu_suite: {}\n", error.what());
    return 2;
  }
}
