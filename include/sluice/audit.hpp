// The audit: finds lost, doubled and mis-defaulted parameters in any Backend.
//
// Whatever can be wrapped in a Backend can be audited: ours, a plugin, a Python callable. Truth is
// an oracle in double precision with a forward error bound per element (docs/numerics.md); a
// verdict names the field, the class of docs/lost-parameters.md and the stage.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <sluice/backend.hpp>

namespace sluice {

// ---- Faults: backends made wrong on purpose ------------------------------------------------

// `inner`, wrong in exactly one way:
//   "drop:FIELD"    the field is accepted and never reaches the arithmetic
//   "double:FIELD"  the field is applied twice (factors, biases, shared experts, weight on input)
//   NAME            a mutant of mutants()
// Throws Error(user) with the nearest known name. `inner` must outlive the result and everything
// loaded by it. The fault claims what `inner` claims: that is the point.
std::unique_ptr<Backend> inject(const Backend& inner, std::string_view fault);

// One row of docs/lost-parameters.md.
struct MutantInfo {
  std::string_view name;
  char bug_class;            // 'A' … 'Q'
  std::string_view meaning;  // completes "behaves as if …"
  std::string_view cases;    // public reports: "vllm#43769, sglang#8364"
};

std::span<const MutantInfo> mutants();
std::string mutants_markdown();  // as in docs/lost-parameters.md
std::string mutants_json();

// ---- Auditing ------------------------------------------------------------------------------

// What a backend is known to do beyond the reference's roundings. Declared, never guessed: each
// one widens the bound by exactly the rounding that it names.
struct AuditAllowances {
  bool slot_outputs_rounded = false;  // expert outputs are rounded to the activation format
                                      // before they are combined
  bool reports_routing = true;        // false: topk_ids and topk_weights are not written
  bool bf16_tokens = false;           // hidden states come in no other dtype
};

struct AuditOptions {
  std::string suite = "quick";  // "quick", "full", or one class 'A' … 'Q'
  std::uint64_t seed = 1;
  int rounds = 0;  // draws per check; 0: what the suite says, fewer is Error(user)
  // Cases keep this spec's fields instead of drawing them; widths above 128 are cut, but for the
  // check "own widths" of the suites quick, full, I and L. The report says which widths were cut,
  // and what was tested at its own (AuditReport::widths, own_widths).
  std::optional<MoeSpec> spec;
  AuditAllowances allowances;
  LoadOptions load;
  bool diagnose = true;          // on failure: match mutants, shrink, name the stage
  std::string replay_directory;  // empty: write no files
  // How `sluice layer` is told to run what is audited here, "--plugin ./libmine.so". Empty:
  // --backend with its name, or with reference's, for the right output, where that is none of
  // backends().
  std::string replay_with;
  std::function<void(std::string_view check)> progress;  // called before each check
  // Called by the audit's own thread before each call of the backend. What this or `progress`
  // throws ends the audit.
  std::function<void()> before_call;
};

enum class Verdict : std::uint8_t {
  pass,
  fail,
  not_claimed,    // and therefore refused by name, which was checked
  not_applicable  // no legal value exists, or the check needs a claim that is absent
};
std::string_view to_string(Verdict verdict);

enum class Stage : std::uint8_t { none, load, ids, weights, expert, combine, memory, repeat };
std::string_view to_string(Stage stage);

struct AuditFailure {
  std::string check;  // "exact", "live", "poison", …
  std::string field;  // the field at fault, empty if the failure is not about one
  char bug_class = '?';
  Stage stage = Stage::none;
  std::string regime;
  std::uint64_t seed = 0;
  std::string message;     // one paragraph: what was computed, what was expected, where
  std::string looks_like;  // "behaves as if routed_scaling_factor were 1", empty: no mutant matches
  std::string matched;     // the mutant or fault that matches
  std::string spec_json;   // the smallest case that shows it
  std::int64_t tokens = 0;
  std::vector<std::string> replay_files;
  std::string replay_command;
};

struct FieldReport {
  std::string field;
  bool claimed = false;
  Verdict live = Verdict::not_applicable;
  Verdict exact = Verdict::not_applicable;
  Verdict once = Verdict::not_applicable;
  Verdict refused = Verdict::not_applicable;
  std::vector<std::string> values;  // that were tried
  bool ok() const {
    return live != Verdict::fail && exact != Verdict::fail && once != Verdict::fail &&
           refused != Verdict::fail;
  }
};

struct CheckReport {
  std::string name;
  std::string meaning;
  Verdict verdict = Verdict::not_applicable;
  std::int64_t cases = 0;
  double worst_use = 0.0;  // largest share of the bound that a passing output needed
};

// A width of the given spec that was cut, so that the oracle takes seconds.
struct CutWidth {
  std::string field;  // "experts.hidden_size"
  std::string given;
  std::string audited;
};

// One layer at the given spec's own widths, where the other checks cut them. `why_not` is set where
// that was too large, or the spec has no layer of fewer experts.
struct OwnWidths {
  std::string layer;  // "experts.hidden_size 2304, …, router.num_experts 16 of 256"
  std::int64_t num_experts = 0;
  std::vector<std::int64_t> tokens;  // of each call
  std::string why_not;
};

struct AuditReport {
  std::string backend;
  std::string suite;
  std::uint64_t seed = 0;
  std::vector<CutWidth> widths;         // empty: none was cut, or no spec was given
  std::optional<OwnWidths> own_widths;  // where some were cut, and the suite looks at them
  std::vector<FieldReport> fields;
  std::vector<CheckReport> checks;
  std::vector<AuditFailure> failures;
  double seconds = 0.0;
  bool ok() const { return failures.empty(); }
};

// Throws Error(unsupported) if the backend is not available here, Error(user) for an unknown suite,
// negative rounds, or a spec the backend refuses. Whatever the backend throws is a failure, not an
// exception.
AuditReport audit(const Backend& backend, const AuditOptions& options = {});

std::string audit_text(const AuditReport& report);  // the table for a pull request
std::string audit_json(const AuditReport& report);  // docs/audit-schema.json
std::string audit_html(const AuditReport& report);  // one self-contained page

// ---- The audit audited ---------------------------------------------------------------------

struct MutantVerdict {
  MutantInfo mutant;
  bool applicable = true;  // false: `backend` claims nothing that the mutant loses
  bool killed = false;
  std::string killed_by;  // the check
  std::string field;      // that the audit named
  std::string looks_like;
};

struct MutationScore {
  std::string backend;
  std::vector<MutantVerdict> mutants;
  int applicable() const;
  int killed() const;
};

// Audits every mutant of `backend`.
MutationScore audit_mutants(const Backend& backend, const AuditOptions& options = {});
std::string mutation_text(const MutationScore& score);
std::string mutation_json(const MutationScore& score);

struct FalseAlarms {
  std::string backend;
  std::int64_t seeds = 0;
  std::int64_t cases = 0;
  double worst_use = 0.0;
  std::vector<AuditFailure> failures;
};

// The exactness check alone, one case of every regime per seed: how often does it cry wolf?
FalseAlarms count_false_alarms(const Backend& backend, std::uint64_t first_seed, std::int64_t seeds,
                               const AuditOptions& options = {});
std::string false_alarms_text(const FalseAlarms& alarms);
std::string false_alarms_json(const FalseAlarms& alarms);  // failures as in audit_json

// ---- Scoring somebody else's test ----------------------------------------------------------

struct RatedMutant {
  std::string name;
  char bug_class = '?';
  bool changes = true;  // false: on the test's layer the mutant computes what is right
  bool killed = false;
  std::string evidence;  // "93.1 % of elements close, 92.5 % asked"
};

struct TestRating {
  std::string test;             // as described
  std::string source;           // where the described test lives
  std::string backend;          // that stood for a correct one, and was made wrong
  bool correct_passes = false;  // a test that fails a correct backend says nothing
  std::string correct_evidence;
  std::vector<RatedMutant> mutants;
  int changing() const;
  int killed() const;
};

// `json_text` describes a test: docs/rate-a-test.md. Which mutants of `correct` would it kill? The
// reference honours every field, so that every mutant can show; the counts of a backend that
// refuses some are smaller. Throws Error(user) for a spec that `correct` refuses. `before_call` is
// called before each call of a backend; what it throws ends the rating.
TestRating rate_test(const std::string& json_text, const Backend& correct = backend("reference"),
                     const std::function<void()>& before_call = {});
std::string rating_text(const TestRating& rating);
std::string rating_json(const TestRating& rating);

}  // namespace sluice
