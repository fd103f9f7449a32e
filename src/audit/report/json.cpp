// docs/audit-schema.json is the contract of what is written here.
#include <nlohmann/json.hpp>

#include <sluice/audit.hpp>

namespace sluice {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kSchemaVersion = 1;

// A plugin's words, and what it throws, may be no UTF-8: the report must not fail for that.
std::string printed(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Json field_json(const FieldReport& row) {
  return {{"field", row.field},          {"claimed", row.claimed},
          {"live", to_string(row.live)}, {"exact", to_string(row.exact)},
          {"once", to_string(row.once)}, {"refused", to_string(row.refused)},
          {"values", row.values}};
}

// JSON has no infinity: a bound that was overrun without end is null.
Json number(double value) { return std::isfinite(value) ? Json(value) : Json(); }

Json failure_json(const AuditFailure& failure) {
  Json json{{"check", failure.check},
            {"field", failure.field},
            {"class", std::string(1, failure.bug_class)},
            {"stage", to_string(failure.stage)},
            {"regime", failure.regime},
            {"seed", failure.seed},
            {"message", failure.message},
            {"looks_like", failure.looks_like},
            {"matched", failure.matched},
            {"tokens", failure.tokens},
            {"spec", failure.spec_json.empty() ? Json() : Json::parse(failure.spec_json)},
            {"replay_files", failure.replay_files},
            {"replay_command", failure.replay_command}};
  return json;
}

Json failures_json(const std::vector<AuditFailure>& failures) {
  Json rows = Json::array();
  for (const AuditFailure& failure : failures) rows.push_back(failure_json(failure));
  return rows;
}

Json mutant_json(const MutantInfo& mutant) {
  return {{"name", mutant.name},
          {"class", std::string(1, mutant.bug_class)},
          {"meaning", mutant.meaning},
          {"cases", mutant.cases}};
}

}  // namespace

std::string audit_json(const AuditReport& report) {
  Json fields = Json::array();
  for (const FieldReport& row : report.fields) fields.push_back(field_json(row));
  Json widths = Json::array();
  for (const CutWidth& width : report.widths) {
    widths.push_back({{"field", width.field},
                      {"given", Json::parse(width.given)},
                      {"audited", Json::parse(width.audited)}});
  }
  Json own;
  if (const auto& tested = report.own_widths) {
    own = {{"layer", tested->layer},
           {"num_experts", tested->num_experts},
           {"tokens", tested->tokens},
           {"why_not", tested->why_not}};
  }
  Json checks = Json::array();
  for (const CheckReport& check : report.checks) {
    checks.push_back({{"name", check.name},
                      {"meaning", check.meaning},
                      {"verdict", to_string(check.verdict)},
                      {"cases", check.cases},
                      {"worst_use", number(check.worst_use)}});
  }
  const Json json{{"schema", kSchemaVersion},
                  {"backend", report.backend},
                  {"suite", report.suite},
                  {"seed", report.seed},
                  {"ok", report.ok()},
                  {"seconds", report.seconds},
                  {"widths", std::move(widths)},
                  {"own_widths", std::move(own)},
                  {"fields", std::move(fields)},
                  {"checks", std::move(checks)},
                  {"failures", failures_json(report.failures)}};
  return printed(json);
}

std::string mutation_json(const MutationScore& score) {
  Json rows = Json::array();
  for (const MutantVerdict& row : score.mutants) {
    Json verdict = mutant_json(row.mutant);
    verdict.update({{"applicable", row.applicable},
                    {"killed", row.killed},
                    {"killed_by", row.killed_by},
                    {"field", row.field},
                    {"looks_like", row.looks_like}});
    rows.push_back(std::move(verdict));
  }
  const Json json{{"schema", kSchemaVersion},
                  {"backend", score.backend},
                  {"applicable", score.applicable()},
                  {"killed", score.killed()},
                  {"mutants", std::move(rows)}};
  return printed(json);
}

std::string mutants_json() {
  Json rows = Json::array();
  for (const MutantInfo& mutant : mutants()) rows.push_back(mutant_json(mutant));
  const Json json{{"schema", kSchemaVersion}, {"mutants", std::move(rows)}};
  return printed(json);
}

std::string false_alarms_json(const FalseAlarms& alarms) {
  const Json json{{"schema", kSchemaVersion},
                  {"backend", alarms.backend},
                  {"seeds", alarms.seeds},
                  {"cases", alarms.cases},
                  {"worst_use", number(alarms.worst_use)},
                  {"failures", failures_json(alarms.failures)}};
  return printed(json);
}

std::string rating_json(const TestRating& rating) {
  Json rows = Json::array();
  for (const RatedMutant& row : rating.mutants) {
    rows.push_back({{"name", row.name},
                    {"class", std::string(1, row.bug_class)},
                    {"changes", row.changes},
                    {"killed", row.killed},
                    {"evidence", row.evidence}});
  }
  const Json json{{"schema", kSchemaVersion},
                  {"test", rating.test},
                  {"source", rating.source},
                  {"backend", rating.backend},
                  {"correct_passes", rating.correct_passes},
                  {"correct_evidence", rating.correct_evidence},
                  {"changing", rating.changing()},
                  {"killed", rating.killed()},
                  {"mutants", std::move(rows)}};
  return printed(json);
}

}  // namespace sluice
