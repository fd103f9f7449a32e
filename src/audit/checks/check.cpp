#include "audit/checks/check.hpp"

#include <array>
#include <cstring>

namespace sluice::auditing {
namespace {

constexpr std::array kChecks{
    Check{"exact", "every output within its bound, in every regime", "ABCDEFGHIJKLMNOPQ",
          check_exact},
    Check{"fields", "each claimed field alone: accepted, live, exact, applied once", "ABCDEFGHINQ",
          check_fields},
    Check{"pairs", "every two claimed fields together, and each with every form of call",
          "ABCDEFGHIN", check_pairs},
    Check{"refusals", "unclaimed fields refused by name", "Q", check_refusals},
    Check{"linearity", "the routed part is linear in factor and weights, the shared part fixed",
          "ABF", check_linearity},
    Check{"shards", "each rank's part is right, and the parts add up to the whole", "GH",
          check_shards},
    Check{"poison", "same bits over NaN, zeros and dirty memory; nothing outside is written", "JO",
          check_poison},
    Check{"threads", "same bits for any number of threads", "O", check_threads},
    Check{"batch", "a token's bits do not depend on the batch, where that is claimed", "ODP",
          check_batch},
    Check{"concurrent", "two calls at once do not disturb each other", "O", check_concurrent},
    Check{
        "calls",
        "weights freed or replaced after load, gate and up apart, odd addresses, some outputs not "
        "asked for, a larger workspace, two layers at once",
        "IJO", check_calls},
    Check{"zero tokens", "T = 0 does nothing, also without addresses", "K", check_zero_tokens},
    Check{"token counts", "T around every power of two up to 4096", "JKP", check_token_counts},
    Check{"addresses", "sizes and distances beyond 2^31", "L", check_addresses},
    Check{"own widths", "the given spec at its own widths, with fewer experts where it is large",
          "IL", check_own_widths},
};

}  // namespace

std::span<const Check> checks() { return kChecks; }

bool same_bits(const OwnedTensor& a, const OwnedTensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         (a.size_bytes() == 0 || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}

bool same_bits(const RunResult& a, const RunResult& b) {
  return a.error == b.error && same_bits(a.output, b.output) && same_bits(a.ids, b.ids) &&
         same_bits(a.weights, b.weights);
}

bool Context::judge(const PreparedPtr& prepared, const RunResult& result, CompareOptions how,
                    std::string_view field) {
  const Comparison comparison = compare(prepared->subject, prepared->oracle, result, how);
  if (report != nullptr) ++report->cases;
  if (comparison.ok()) {
    if (report != nullptr) report->worst_use = std::max(report->worst_use, comparison.use);
    return true;
  }
  Finding finding;
  finding.field = field;
  finding.prepared = prepared;
  finding.result = result;
  finding.comparison = comparison;
  finding.exactness = true;
  file(std::move(finding));
  return false;
}

bool Context::judge(const PreparedPtr& prepared, std::string_view field) {
  return judge(prepared, run_case(backend, prepared->subject, run), compare_options(), field);
}

FieldReport& Context::row_of(const Field& field) {
  for (FieldReport& row : fields) {
    if (row.field == field.name) return row;
  }
  FieldReport& row = fields.emplace_back();
  row.field = field.name;
  row.claimed = backend.claims().contains(field.name);
  return row;
}

void Context::file(Finding finding) {
  if (report != nullptr) {
    finding.check = report->name;
    report->verdict = Verdict::fail;
  }
  findings.push_back(std::move(finding));
}

void Context::complain(const PreparedPtr& prepared, Stage stage, std::string message,
                       char bug_class, std::string_view field) {
  Finding finding;
  finding.prepared = prepared;
  finding.field = field;
  finding.bug_class = bug_class;
  finding.comparison.stage = stage;
  finding.comparison.message = std::move(message);
  file(std::move(finding));
}

}  // namespace sluice::auditing
