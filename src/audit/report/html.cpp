// One self-contained page: no script, no font, no network.
#include <fmt/format.h>

#include <sluice/audit.hpp>

namespace sluice {
namespace {

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

constexpr std::string_view kStyle = R"(
body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #d8dee4;vertical-align:top}
td.pass{color:#116329}td.fail{color:#fff;background:#b42318;font-weight:600}td.none{color:#8c959f}
.verdict{font-size:1.1rem;font-weight:600}.failure{border-left:4px solid #b42318;padding:.1rem 1rem;margin:1rem 0;background:#fff5f4}
pre{background:#f6f8fa;padding:.7rem;overflow-x:auto;font-size:13px}code{font-size:13px}
)";

std::string cell(Verdict verdict) {
  const char* kind = verdict == Verdict::pass ? "pass" : verdict == Verdict::fail ? "fail" : "none";
  return fmt::format("<td class=\"{}\">{}</td>", kind, to_string(verdict));
}

std::string field_rows(const AuditReport& report) {
  std::string out;
  for (const FieldReport& row : report.fields) {
    std::string values;
    for (const std::string& value : row.values) values += (values.empty() ? "" : "; ") + value;
    if (values.size() > 120) values = values.substr(0, 117) + "…";
    out += fmt::format("<tr><td><code>{}</code></td>{}{}{}{}<td>{}</td></tr>\n", escaped(row.field),
                       cell(row.live), cell(row.exact), cell(row.once), cell(row.refused),
                       escaped(values));
  }
  return out;
}

std::string cut_widths(const AuditReport& report) {
  if (report.widths.empty()) return "";
  std::string out;
  for (const CutWidth& width : report.widths) {
    out += fmt::format("{}<code>{}</code> {} → {}", out.empty() ? "" : ", ", escaped(width.field),
                       escaped(width.given), escaped(width.audited));
  }
  return fmt::format("<p>Audited at {} (so that the oracle takes seconds).</p>\n", out);
}

std::string own_widths(const AuditReport& report) {
  if (!report.own_widths) return "";
  const OwnWidths& own = *report.own_widths;
  if (own.layer.empty()) {
    return fmt::format("<p>Not audited at its own widths: {}.</p>\n", escaped(own.why_not));
  }
  return fmt::format("<p>One layer at its own widths: {}; {} tokens.</p>\n", escaped(own.layer),
                     fmt::join(own.tokens, " and "));
}

std::string failure_block(const AuditFailure& failure) {
  std::string out = "<div class=\"failure\">";
  out +=
      fmt::format("<p><b>{}</b>{} · class {} · stage {}{}</p>", escaped(failure.check),
                  failure.field.empty() ? std::string()
                                        : fmt::format(" · <code>{}</code>", escaped(failure.field)),
                  failure.bug_class, to_string(failure.stage),
                  failure.regime.empty()
                      ? std::string()
                      : fmt::format(" · {} (seed {})", escaped(failure.regime), failure.seed));
  if (!failure.looks_like.empty()) {
    out += fmt::format("<p>It {} <code>{}</code></p>", escaped(failure.looks_like),
                       escaped(failure.matched));
  }
  out += fmt::format("<p>{}</p>", escaped(failure.message));
  if (!failure.spec_json.empty()) {
    out += fmt::format("<p>Smallest case that shows it, {} token{}:</p><pre>{}</pre>",
                       failure.tokens, failure.tokens == 1 ? "" : "s", escaped(failure.spec_json));
  }
  if (!failure.replay_command.empty()) {
    out += fmt::format("<p>Replay:</p><pre>{}</pre>", escaped(failure.replay_command));
  }
  return out + "</div>\n";
}

}  // namespace

std::string audit_html(const AuditReport& report) {
  std::string out = fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta name=\"viewport\" content=\"width=device-width\">"
      "<title>Audit of {0}</title><style>{1}</style></head><body>\n"
      "<h1>Audit of backend <code>{0}</code></h1>\n"
      "<p class=\"verdict\">{2}</p><p>Suite {3}, seed {4}, {5:.1f} s.</p>\n",
      escaped(report.backend), kStyle,
      report.ok() ? "PASS: no parameter lost."
                  : fmt::format("FAIL: {} finding(s).", report.failures.size()),
      escaped(report.suite), report.seed, report.seconds);
  out += cut_widths(report) + own_widths(report);
  if (!report.failures.empty()) {
    out += "<h2>Findings</h2>\n";
    for (const AuditFailure& failure : report.failures) out += failure_block(failure);
  }
  if (!report.fields.empty()) {
    out +=
        "<h2>Fields</h2>\n<table><tr><th>field</th><th>live</th><th>exact</th><th>once</th>"
        "<th>refused</th><th>values tried</th></tr>\n" +
        field_rows(report) + "</table>\n";
  }
  out +=
      "<h2>Checks</h2>\n<table><tr><th>check</th><th>verdict</th><th>cases</th>"
      "<th>worst use of the bound</th><th>what it proves</th></tr>\n";
  for (const CheckReport& check : report.checks) {
    out += fmt::format("<tr><td>{}</td>{}<td>{}</td><td>{:.3f}</td><td>{}</td></tr>\n",
                       escaped(check.name), cell(check.verdict), check.cases, check.worst_use,
                       escaped(check.meaning));
  }
  return out + "</table>\n</body></html>\n";
}

}  // namespace sluice
