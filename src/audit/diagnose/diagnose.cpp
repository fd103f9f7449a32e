#include "audit/diagnose/diagnose.hpp"

#include <fmt/format.h>

#include "audit/cases/draw_spec.hpp"

namespace sluice::auditing {
namespace {

// The class of docs/lost-parameters.md that a field's loss belongs to.
char class_of_field(std::string_view name) {
  const std::string_view key = name.substr(name.find('.') + 1);
  const auto is = [key](std::initializer_list<std::string_view> keys) {
    return std::find(keys.begin(), keys.end(), key) != keys.end();
  };
  if (is({"routed_scaling_factor", "apply_routed_scale_to_output"})) return 'A';
  if (is({"num_shared_experts", "shared_intermediate_size", "shared_expert_gate"})) return 'B';
  if (is({"router_logits_dtype"})) return 'D';
  if (is({"activation", "swiglu_alpha", "swiglu_beta", "swiglu_limit"})) return 'E';
  if (is({"apply_router_weight_on_input"})) return 'F';
  if (is({"local_expert_offset", "num_local_experts", "expert_map", "tp_rank", "tp_size"})) {
    return 'G';
  }
  if (is({"gate_up_bias", "down_bias"})) return 'H';
  if (is({"gate_up_order", "hidden_size", "intermediate_size"})) return 'I';
  if (is({"weight_format", "activation_format", "output_dtype"})) return 'N';
  return 'C';
}

std::string file_stem(const Finding& finding) {
  std::string stem = fmt::format("{}-{}", finding.check, finding.prepared->subject.regime);
  for (char& c : stem) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (!plain && c != '-') c = '_';
  }
  if (stem.size() > 60) stem.resize(60);
  return fmt::format("{}-{}", stem, finding.prepared->subject.seed);
}

std::string names(const std::vector<const Field*>& list) {
  std::string text;
  for (const Field* field : list) {
    if (!text.empty()) text += ", ";
    text += field->name;
  }
  return text;
}

}  // namespace

std::optional<Finding> Diagnosis::try_case(const Case& subject, std::string_view check) const {
  if (!accepts(backend_, subject.spec)) return std::nullopt;
  auto prepared = std::make_shared<Prepared>(subject, bound_);
  Finding finding;
  finding.check = check;
  finding.exactness = true;
  finding.result = run_case(backend_, prepared->subject, run_);
  finding.comparison = compare(prepared->subject, prepared->oracle, finding.result, how_);
  finding.prepared = std::move(prepared);
  if (finding.comparison.ok()) return std::nullopt;
  return finding;
}

AuditFailure Diagnosis::explain(const Finding& finding) const {
  AuditFailure failure;
  failure.check = finding.check;
  failure.field = finding.field;
  failure.bug_class = finding.bug_class;
  failure.stage = finding.comparison.stage;
  failure.message = finding.comparison.message;
  if (!finding.prepared) {
    if (failure.bug_class == '?' && !failure.field.empty()) {
      failure.bug_class = class_of_field(failure.field);
    }
    return failure;
  }
  failure.regime = finding.prepared->subject.regime;
  failure.seed = finding.prepared->subject.seed;

  Finding smallest = finding;
  if (options_.diagnose && finding.exactness) {
    // The larger case tells more faults apart; the smaller is easier to read. Thousands of tokens
    // tell nothing more, slowly.
    constexpr std::int64_t kEnoughTokens = 512;
    const bool large = finding.prepared->subject.tokens() > kEnoughTokens;
    auto match = large ? std::nullopt : match_fault(finding, run_);
    const StillFails still_fails = [&](const Case& subject) {
      return try_case(subject, finding.check);
    };
    smallest = shrink(finding, still_fails, backend_);
    if (!match && smallest.prepared->subject.tokens() <= kEnoughTokens) {
      match = match_fault(smallest, run_);
    }
    const auto live = live_fields(smallest.prepared->subject.spec);
    if (match) {
      failure.looks_like = match->looks_like;
      failure.matched = match->fault;
      if (failure.field.empty()) failure.field = match->field;
      if (failure.bug_class == '?') failure.bug_class = match->bug_class;
    }
    if (failure.field.empty() && live.size() == 1) failure.field = live.front()->name;
    const bool few = smallest.prepared->subject.tokens() <= kEnoughTokens;
    if (failure.field.empty() && few) {
      failure.field = size_to_blame(smallest, still_fails, backend_);
      if (!failure.field.empty()) {
        failure.message += fmt::format("; a smaller {} is right", failure.field);
      }
    }
    if (!live.empty()) {
      failure.message += fmt::format("; the smallest case that fails has {}", names(live));
    } else {
      failure.message += "; it fails with every field neutral";
    }
    failure.stage = locate_stage(smallest, backend_, run_, bound_);
  }
  if (finding.inert) {
    const Field& field = sluice::field(find_field(finding.field));
    failure.looks_like = fmt::format("behaves as if {} were {}", field.key, field.neutral);
    failure.matched = fmt::format("drop:{}", field.name);
    failure.bug_class = class_of_field(field.name);
  }
  if (failure.bug_class == '?' && !failure.field.empty()) {
    failure.bug_class = class_of_field(failure.field);
  }
  failure.spec_json = print_spec(smallest.prepared->subject.spec);
  failure.tokens = smallest.prepared->subject.tokens();
  if (!options_.replay_directory.empty()) {
    const Replay replay =
        write_replay(smallest.prepared->subject, backend_, options_, file_stem(smallest));
    failure.replay_files = replay.files;
    failure.replay_command = replay.command;
  }
  return failure;
}

void mark_fields(AuditReport& report) {
  for (FieldReport& row : report.fields) {
    if (!row.claimed) {
      row.live = row.exact = row.once = Verdict::not_claimed;
      continue;
    }
    for (const AuditFailure& failure : report.failures) {
      if (failure.field != row.field) continue;
      if (failure.matched.starts_with("double:")) row.once = Verdict::fail;
      if (failure.check != "refusals") row.exact = Verdict::fail;
    }
  }
}

}  // namespace sluice::auditing
