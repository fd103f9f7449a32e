// What a check is given, and what it finds.
#pragma once

#include <span>
#include <string>
#include <vector>

#include <sluice/audit.hpp>

#include "audit/case_bank.hpp"
#include "audit/compare.hpp"
#include "audit/run_case.hpp"

namespace sluice::auditing {

// Something wrong, before it is diagnosed.
struct Finding {
  std::string check;
  std::string field;     // if the check is about one
  PreparedPtr prepared;  // null: no tensors were involved
  RunResult result;
  Comparison comparison;
  bool exactness = false;  // running the case again and comparing shows it again
  bool inert = false;      // the field moves the truth and not the output
  char bug_class = '?';    // where the check itself implies one
};

struct Context {
  const Backend& backend;
  const AuditOptions& options;
  RunOptions run;
  CaseBank& bank;
  int rounds = 1;
  bool slow = false;
  bool first_only = false;  // one finding is enough: mutants

  std::vector<Finding> findings;
  std::vector<FieldReport> fields;
  std::optional<OwnWidths> own_widths;
  CheckReport* report = nullptr;  // of the check that runs

  bool done() const { return first_only && !findings.empty(); }
  CompareOptions compare_options() const { return {options.allowances.reports_routing, 0, false}; }
  std::uint64_t seed(int round) const { return options.seed + static_cast<std::uint64_t>(round); }

  // Compares, counts, and files a finding if it is wrong. True if right.
  bool judge(const PreparedPtr& prepared, const RunResult& result, CompareOptions options,
             std::string_view field = {});
  bool judge(const PreparedPtr& prepared, std::string_view field = {});
  void file(Finding finding);
  // The field's row of the report, made where there is none.
  FieldReport& row_of(const Field& field);
  // A finding without a comparison.
  void complain(const PreparedPtr& prepared, Stage stage, std::string message, char bug_class,
                std::string_view field = {});
};

struct Check {
  std::string_view name;
  std::string_view meaning;
  std::string_view classes;  // suites of one class run it if their letter is here
  void (*run)(Context&);
};

std::span<const Check> checks();

// Part of `fields`: a claimed field of which no value but the neutral one is accepted is no claim.
void check_claims(Context& context);

// In the order of checks().
void check_exact(Context& context);
void check_fields(Context& context);
void check_pairs(Context& context);
void check_refusals(Context& context);
void check_linearity(Context& context);
void check_shards(Context& context);
void check_poison(Context& context);
void check_threads(Context& context);
void check_batch(Context& context);
void check_concurrent(Context& context);
void check_calls(Context& context);
void check_zero_tokens(Context& context);
void check_token_counts(Context& context);
void check_addresses(Context& context);
void check_own_widths(Context& context);

// Bits of two results, NaN included.
bool same_bits(const OwnedTensor& a, const OwnedTensor& b);
bool same_bits(const RunResult& a, const RunResult& b);

}  // namespace sluice::auditing
