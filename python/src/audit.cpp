#include <sluice/audit.hpp>

#include <nanobind/stl/function.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include "base/fail.hpp"
#include "bindings.hpp"
#include "unlocked.hpp"
#include "values.hpp"

namespace sluice::python {
namespace {

// Audits and ratings run without the GIL; they look at signals now and then, so that Ctrl-C ends
// them.
void check_signals() {
  stay_if_closing();
  const nb::gil_scoped_acquire gil;
  if (PyErr_CheckSignals() != 0) nb::raise_python_error();
}

std::function<void(std::string_view)> watched(nb::object progress) {
  // Shared: the audit copies its options without the GIL, and an object's count needs it.
  const std::shared_ptr<nb::object> held(new nb::object(std::move(progress)), [](nb::object* last) {
    const nb::gil_scoped_acquire gil;
    delete last;
  });
  return [held](std::string_view check) {
    check_signals();
    const nb::gil_scoped_acquire gil;
    if (!held->is_none()) (*held)(check);
  };
}

struct Settings {
  std::string suite;
  std::uint64_t seed;
  int rounds;
  std::optional<MoeSpec> spec;
  bool slot_outputs_rounded;
  bool reports_routing;
  bool bf16_tokens;
  bool diagnose;
  std::string replay_directory;
  int threads;
};

AuditOptions options_of(const Settings& settings, nb::object progress) {
  AuditOptions options;
  options.suite = settings.suite;
  options.seed = settings.seed;
  options.rounds = settings.rounds;
  options.spec = settings.spec;
  options.allowances = {settings.slot_outputs_rounded, settings.reports_routing,
                        settings.bf16_tokens};
  options.load.executor = make_executor(settings.threads);
  options.load.may_round_slot_outputs = settings.slot_outputs_rounded;
  options.diagnose = settings.diagnose;
  options.replay_directory = settings.replay_directory;
  options.progress = watched(std::move(progress));
  options.before_call = check_signals;
  return options;
}

// `options` holds a Python object: it must be destroyed with the GIL, after the audit ran without.
template <typename Run>
auto without_gil(const Run& run) {
  const Unlocked unlocked;
  return run();
}

void bind_settings(nb::module_& module) {
  nb::class_<Settings>(module, "AuditSettings")
      .def(
          "__init__",
          [](Settings* self, std::string suite, std::uint64_t seed, int rounds,
             std::optional<MoeSpec> spec, bool slot_outputs_rounded, bool reports_routing,
             bool bf16_tokens, bool diagnose, std::string replay_directory, int threads) {
            new (self) Settings{std::move(suite),
                                seed,
                                rounds,
                                std::move(spec),
                                slot_outputs_rounded,
                                reports_routing,
                                bf16_tokens,
                                diagnose,
                                std::move(replay_directory),
                                threads};
          },
          nb::arg("suite"), nb::arg("seed"), nb::arg("rounds"), nb::arg("spec").none(),
          nb::arg("slot_outputs_rounded"), nb::arg("reports_routing"), nb::arg("bf16_tokens"),
          nb::arg("diagnose"), nb::arg("replay_directory"), nb::arg("threads"));
}

nb::str report_text(const AuditReport& report) { return text(audit_text(report)); }
nb::str score_text(const MutationScore& score) { return text(mutation_text(score)); }
nb::str rated_text(const TestRating& rating) { return text(rating_text(rating)); }

void bind_report(nb::module_& module) {
  nb::class_<AuditFailure>(module, "AuditFailure", "One thing that is wrong.")
      .def_ro("check", &AuditFailure::check, "\"exact\", \"live\", \"poison\", …")
      .def_ro("field", &AuditFailure::field, "The field at fault; empty: not about one.")
      .def_prop_ro("bug_class", [](const AuditFailure& f) { return std::string(1, f.bug_class); })
      .def_prop_ro(
          "stage", [](const AuditFailure& f) { return to_string(f.stage); },
          "ids, weights, expert, combine, load, memory or repeat.")
      .def_ro("regime", &AuditFailure::regime)
      .def_ro("seed", &AuditFailure::seed)
      .def_prop_ro("message", [](const AuditFailure& f) { return text(f.message); })
      .def_ro("looks_like", &AuditFailure::looks_like,
              "\"behaves as if routed_scaling_factor were 1\"; empty: no mutant matches.")
      .def_ro("matched", &AuditFailure::matched, "The mutant or fault that matches.")
      .def_ro("spec_json", &AuditFailure::spec_json, "The smallest case that shows it.")
      .def_ro("tokens", &AuditFailure::tokens)
      .def_ro("replay_files", &AuditFailure::replay_files)
      .def_ro("replay_command", &AuditFailure::replay_command)
      .def("__repr__", [](const AuditFailure& f) {
        return text(fmt::format("sluice.AuditFailure({} {}: {})", f.check, f.field,
                                f.looks_like.empty() ? f.message : f.looks_like));
      });
  const auto verdict = [](Verdict FieldReport::*member) {
    return [member](const FieldReport& report) { return to_string(report.*member); };
  };
  nb::class_<FieldReport>(module, "FieldReport",
                          "Verdicts on one field: pass, fail, not_claimed or not_applicable.")
      .def_ro("field", &FieldReport::field)
      .def_ro("claimed", &FieldReport::claimed)
      .def_prop_ro("live", verdict(&FieldReport::live))
      .def_prop_ro("exact", verdict(&FieldReport::exact))
      .def_prop_ro("once", verdict(&FieldReport::once))
      .def_prop_ro("refused", verdict(&FieldReport::refused))
      .def_ro("values", &FieldReport::values, "That were tried.")
      .def_prop_ro("ok", &FieldReport::ok);
  nb::class_<CheckReport>(module, "CheckReport")
      .def_ro("name", &CheckReport::name)
      .def_ro("meaning", &CheckReport::meaning)
      .def_prop_ro("verdict", [](const CheckReport& check) { return to_string(check.verdict); })
      .def_ro("cases", &CheckReport::cases)
      .def_ro("worst_use", &CheckReport::worst_use,
              "Largest share of the error bound that a passing output needed.");
  nb::class_<CutWidth>(module, "CutWidth", "A width of the given spec that the audit cut.")
      .def_ro("field", &CutWidth::field, "\"experts.hidden_size\".")
      .def_prop_ro(
          "given", [](const CutWidth& width) { return std::stoll(width.given); },
          "As the spec has it.")
      .def_prop_ro(
          "audited", [](const CutWidth& width) { return std::stoll(width.audited); },
          "As the cases have it.")
      .def("__repr__", [](const CutWidth& width) {
        return fmt::format("sluice.CutWidth({}: {} given, {} audited)", width.field, width.given,
                           width.audited);
      });
  nb::class_<AuditReport>(module, "AuditReport", "What an audit found.")
      .def_prop_ro("ok", &AuditReport::ok, "No failure.")
      .def_prop_ro("text", &report_text, "The table for a pull request.")
      .def_prop_ro("json", &audit_json, "docs/audit-schema.json describes it.")
      .def_prop_ro(
          "html", [](const AuditReport& report) { return text(audit_html(report)); },
          "One self-contained page.")
      .def_prop_ro("backend", [](const AuditReport& report) { return text(report.backend); })
      .def_ro("suite", &AuditReport::suite)
      .def_ro("seed", &AuditReport::seed)
      .def_ro("widths", &AuditReport::widths,
              "Widths of the given spec that were cut, so that the oracle takes seconds: the layer "
              "that was audited is not quite the one that was asked for. Empty: none was.")
      .def_ro("fields", &AuditReport::fields)
      .def_ro("checks", &AuditReport::checks)
      .def_ro("failures", &AuditReport::failures)
      .def_ro("seconds", &AuditReport::seconds)
      .def("__str__", &report_text)
      .def("__repr__", [](const AuditReport& report) {
        return text(
            fmt::format("sluice.AuditReport({}, {}, {})", report.backend, report.suite,
                        report.ok() ? "ok" : fmt::format("{} failures", report.failures.size())));
      });
}

void bind_mutation(nb::module_& module) {
  nb::class_<MutantVerdict>(module, "MutantVerdict")
      .def_ro("mutant", &MutantVerdict::mutant)
      .def_ro("applicable", &MutantVerdict::applicable,
              "False: the backend claims no field that the mutant loses.")
      .def_ro("killed", &MutantVerdict::killed)
      .def_ro("killed_by", &MutantVerdict::killed_by)
      .def_ro("field", &MutantVerdict::field)
      .def_ro("looks_like", &MutantVerdict::looks_like);
  nb::class_<MutationScore>(module, "MutationScore", "How many mutants an audit tells apart.")
      .def_ro("mutants", &MutationScore::mutants)
      .def_prop_ro("applicable", &MutationScore::applicable)
      .def_prop_ro("killed", &MutationScore::killed)
      .def_prop_ro("text", &score_text)
      .def_prop_ro("json", &mutation_json)
      .def("__str__", &score_text);
  nb::class_<RatedMutant>(module, "RatedMutant")
      .def_ro("name", &RatedMutant::name)
      .def_prop_ro("bug_class", [](const RatedMutant& m) { return std::string(1, m.bug_class); })
      .def_ro("killed", &RatedMutant::killed)
      .def_ro("evidence", &RatedMutant::evidence);
  nb::class_<TestRating>(module, "TestRating", "Which mutants somebody's test would kill.")
      .def_ro("test", &TestRating::test)
      .def_ro("source", &TestRating::source)
      .def_ro("backend", &TestRating::backend)
      .def_ro("mutants", &TestRating::mutants)
      .def_prop_ro("killed", &TestRating::killed)
      .def_prop_ro("text", &rated_text)
      .def("__str__", &rated_text);
}

}  // namespace

void bind_audit(nb::module_& module) {
  bind_settings(module);
  bind_report(module);
  bind_mutation(module);
  module.def(
      "audit",
      [](const Backend& backend, const Settings& settings, nb::object progress) {
        const AuditOptions options = options_of(settings, std::move(progress));
        return without_gil([&] { return audit(backend, options); });
      },
      nb::arg("backend"), nb::arg("settings"), nb::arg("progress").none());
  module.def(
      "audit_mutants",
      [](const Backend& backend, const Settings& settings, nb::object progress) {
        const AuditOptions options = options_of(settings, std::move(progress));
        return without_gil([&] { return audit_mutants(backend, options); });
      },
      nb::arg("backend"), nb::arg("settings"), nb::arg("progress").none());
  module.def(
      "rate_test",
      [](const std::string& json_text, const Backend* correct) {
        const Backend& rated = correct != nullptr ? *correct : sluice::backend("reference");
        return rate_test(json_text, rated, check_signals);
      },
      nb::arg("json_text"), nb::arg("backend").none() = nb::none(), nb::call_guard<Unlocked>(),
      "Which mutants of a backend, by default of reference, would the described test kill? The "
      "form: docs/rate-a-test.md.");
}

}  // namespace sluice::python
