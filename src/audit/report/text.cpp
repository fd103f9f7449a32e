// The table that a maintainer would paste into a pull request.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <sluice/audit.hpp>
#include <string>
#include <utility>
#include <vector>

namespace sluice {
namespace {

std::string wrapped(const std::string& text, std::size_t width, const std::string& indent) {
  std::string out;
  std::size_t column = 0;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = text.find(' ', at);
    if (end == std::string::npos) end = text.size();
    const std::size_t word = end - at;
    if (column > 0 && column + 1 + word > width) {
      out += "\n" + indent;
      column = 0;
    } else if (column > 0) {
      out += ' ';
      ++column;
    }
    out += text.substr(at, word);
    column += word;
    at = end + 1;
  }
  return out;
}

std::string field_table(const AuditReport& report) {
  std::string out = "| field | live | exact | once | values |\n|---|---|---|---|---|\n";
  std::string unclaimed;
  for (const FieldReport& row : report.fields) {
    if (!row.claimed && row.refused != Verdict::fail) {
      unclaimed += (unclaimed.empty() ? "" : ", ") + row.field;
      continue;
    }
    if (row.values.empty() && row.ok()) continue;  // sizes: covered by every case
    std::string values;
    for (std::size_t i = 0; i < row.values.size() && i < 3; ++i) {
      const std::string& value = row.values[i];
      if (values.find(value) != std::string::npos) continue;
      values +=
          (values.empty() ? "" : ", ") + (value.size() > 24 ? value.substr(0, 21) + "…" : value);
    }
    const Verdict exact = row.refused == Verdict::fail ? Verdict::fail : row.exact;
    out += fmt::format("| {} | {} | {} | {} | {} |\n", row.field, to_string(row.live),
                       to_string(exact), to_string(row.once), values);
  }
  if (!unclaimed.empty()) out += "\nNot claimed, and refused by name: " + unclaimed + "\n";
  return out;
}

std::string cut_widths_text(const AuditReport& report) {
  std::string out;
  for (const CutWidth& width : report.widths) {
    out += fmt::format("{}{} {} -> {}", out.empty() ? "" : ", ", width.field, width.given,
                       width.audited);
  }
  return out + " (so that the oracle takes seconds)";
}

std::string own_widths_text(const OwnWidths& own) {
  if (own.layer.empty()) return "Not audited at its own widths: " + own.why_not;
  return fmt::format("One layer at its own widths: {}; {} tokens", own.layer,
                     fmt::join(own.tokens, " and "));
}

std::string failure_text(const AuditFailure& failure, std::size_t number) {
  std::string out = fmt::format("{}. {}", number, failure.check);
  if (!failure.field.empty()) out += fmt::format(" · {}", failure.field);
  out += fmt::format(" · class {} · stage {}", failure.bug_class, to_string(failure.stage));
  if (!failure.regime.empty()) out += fmt::format(" · {} (seed {})", failure.regime, failure.seed);
  out += "\n   ";
  if (!failure.looks_like.empty()) {
    out +=
        wrapped(fmt::format("{} ({})", failure.looks_like, failure.matched), 96, "   ") + "\n   ";
  }
  out += wrapped(failure.message, 96, "   ") + "\n";
  if (!failure.replay_command.empty()) out += "   replay: " + failure.replay_command + "\n";
  return out;
}

// What several findings have in common, most often first: one bug shows in dozens of them.
std::string common_text(const AuditReport& report) {
  std::map<std::string, int> causes, fields;
  for (const AuditFailure& failure : report.failures) {
    if (!failure.matched.empty()) {
      ++causes[fmt::format("{} ({})", failure.looks_like, failure.matched)];
    }
    if (!failure.field.empty()) ++fields[failure.field];
  }
  const auto sorted = [](const std::map<std::string, int>& counts) {
    std::vector<std::pair<std::string, int>> list(counts.begin(), counts.end());
    std::stable_sort(list.begin(), list.end(),
                     [](const auto& a, const auto& b) { return a.second > b.second; });
    return list;
  };
  std::string out;
  for (const auto& [cause, count] : sorted(causes)) {
    out += fmt::format("{} of the findings examined: {}\n", count, cause);
  }
  std::string names;
  for (const auto& [field, count] : sorted(fields)) {
    names += fmt::format("{}{} ({})", names.empty() ? "" : ", ", field, count);
  }
  if (!names.empty()) out += wrapped("Fields that findings name: " + names, 96, "   ") + "\n";
  return out.empty() ? out : out + "\n";
}

}  // namespace

std::string audit_text(const AuditReport& report) {
  std::string out = fmt::format("Audit of backend {} · suite {} · seed {} · {:.1f} s\n\n",
                                report.backend, report.suite, report.seed, report.seconds);
  if (!report.widths.empty()) out += "Audited at " + cut_widths_text(report) + "\n\n";
  if (report.own_widths) out += own_widths_text(*report.own_widths) + "\n\n";
  if (!report.fields.empty()) out += field_table(report) + "\n";
  out +=
      "| check | verdict | cases | worst use of the bound | what it proves "
      "|\n|---|---|---|---|---|\n";
  for (const CheckReport& check : report.checks) {
    out += fmt::format("| {} | {} | {} | {:.3f} | {} |\n", check.name, to_string(check.verdict),
                       check.cases, check.worst_use, check.meaning);
  }
  if (report.ok()) return out + "\nPASS: no parameter lost.\n";
  out += fmt::format("\nFAIL: {} finding{}\n\n", report.failures.size(),
                     report.failures.size() == 1 ? "" : "s");
  if (report.failures.size() > 1) out += common_text(report);
  for (std::size_t i = 0; i < report.failures.size(); ++i) {
    out += failure_text(report.failures[i], i + 1);
  }
  return out;
}

std::string mutation_text(const MutationScore& score) {
  std::string out =
      "| class | mutant | killed by | named | behaves as if … |\n|---|---|---|---|---|\n";
  for (const MutantVerdict& row : score.mutants) {
    const std::string verdict = !row.applicable ? "(not applicable)"
                                : row.killed    ? row.killed_by
                                                : "SURVIVED";
    out += fmt::format("| {} | {} | {} | {} | {} |\n", row.mutant.bug_class, row.mutant.name,
                       verdict, row.field.empty() ? "-" : row.field, row.mutant.meaning);
  }
  return out + fmt::format("\nMutation score on {}: {} of {} killed\n", score.backend,
                           score.killed(), score.applicable());
}

std::string mutants_markdown() {
  std::string out = "| class | mutant | behaves as if … | stands for |\n|---|---|---|---|\n";
  for (const MutantInfo& mutant : mutants()) {
    out += fmt::format("| {} | `{}` | {} | {} |\n", mutant.bug_class, mutant.name, mutant.meaning,
                       mutant.cases);
  }
  return out;
}

std::string false_alarms_text(const FalseAlarms& alarms) {
  std::string out;
  for (const AuditFailure& failure : alarms.failures) {
    out += fmt::format("{} (seed {}), stage {}: {}\n", failure.regime, failure.seed,
                       to_string(failure.stage), failure.message);
  }
  return out + fmt::format(
                   "{}: {} alarms in {} cases over {} seeds; a correct output needed at most "
                   "{:.3f} of its bound\n",
                   alarms.backend, alarms.failures.size(), alarms.cases, alarms.seeds,
                   alarms.worst_use);
}

std::string rating_text(const TestRating& rating) {
  std::string out =
      fmt::format("{}\n{}\n\n| class | mutant | verdict | evidence |\n|---|---|---|---|\n",
                  rating.test, rating.source);
  for (const RatedMutant& row : rating.mutants) {
    out += fmt::format("| {} | {} | {} | {} |\n", row.bug_class, row.name,
                       row.killed    ? "killed"
                       : row.changes ? "SURVIVES"
                                     : "-",
                       row.evidence);
  }
  out += fmt::format("\nThe correct backend {} {}: {}\n", rating.backend,
                     rating.correct_passes ? "passes" : "FAILS", rating.correct_evidence);
  return out + fmt::format("{} of the {} mutants of {} that change this layer are killed\n",
                           rating.killed(), rating.changing(), rating.backend);
}

}  // namespace sluice
