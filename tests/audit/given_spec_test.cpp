// Audits at a spec of the caller's, at cut widths and at its own.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "audit/faults/fault.hpp"
#include "picky_backend.hpp"
#include "small_audit.hpp"

namespace sluice::auditing {
namespace {

TEST(Audit, AuditsAtAGivenSpec) {
  AuditOptions options = quick_options();
  options.spec = parse_spec(R"({"router": {"num_experts": 16, "top_k": 4,
      "routing_method": "DeepSeekV3", "routed_scaling_factor": 2.446},
      "experts": {"hidden_size": 576, "intermediate_size": 256},
      "layer": {"num_shared_experts": 1}})");
  EXPECT_TRUE(audit(backend("reference"), options).ok());
  const auto faulty = inject(backend("reference"), "drop:routed_scaling_factor");
  const AuditReport report = audit(*faulty, options);
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.failures.front().field, "router.routed_scaling_factor");
}

// The audit of a spec is not quite of that spec: whoever reads the report must see it.
TEST(Audit, SaysWhichWidthsItCut) {
  AuditOptions options = quick_options();
  options.suite = "K";
  options.spec = parse_spec(R"({"router": {"num_experts": 4, "top_k": 2},
      "experts": {"hidden_size": 7168, "intermediate_size": 64},
      "layer": {"num_shared_experts": 1, "shared_intermediate_size": 512}})");
  const AuditReport report = audit(backend("reference"), options);
  EXPECT_NE(audit_text(report).find("Audited at experts.hidden_size 7168 -> 128, "
                                    "layer.shared_intermediate_size 512 -> 72 (so that"),
            std::string::npos)
      << audit_text(report);
  const auto json = nlohmann::json::parse(audit_json(report));
  ASSERT_EQ(json["widths"].size(), 2u);
  EXPECT_EQ(json["widths"][0],
            nlohmann::json({{"field", "experts.hidden_size"}, {"given", 7168}, {"audited", 128}}));
  EXPECT_NE(audit_html(report).find("<code>experts.hidden_size</code> 7168 → 128"),
            std::string::npos);

  options.spec->experts.hidden_size = 128;
  options.spec->layer.shared_intermediate_size = 72;
  const AuditReport whole = audit(backend("reference"), options);
  EXPECT_TRUE(whole.widths.empty());
  EXPECT_EQ(audit_text(whole).find("Audited at"), std::string::npos);
}

AuditOptions at_own_widths(std::int64_t hidden, std::int64_t intermediate) {
  AuditOptions options = quick_options();
  options.suite = std::string(1, 'I');
  options.rounds = 1;
  options.spec = parse_spec(fmt::format(
      R"({{"router": {{"num_experts": 8, "top_k": 2, "norm_topk_prob": true, "routed_scaling_factor": 2.5}},
          "experts": {{"hidden_size": {}, "intermediate_size": {}}}}})",
      hidden, intermediate));
  return options;
}

// What 128 columns cannot show, one layer at the spec's own widths does.
TEST(Audit, TestsAGivenSpecAtItsOwnWidths) {
  const Backend& reference = backend("reference");
  const AuditOptions options = at_own_widths(2304, 136);
  const AuditReport right = audit(reference, options);
  EXPECT_TRUE(right.ok()) << audit_text(right);
  ASSERT_TRUE(right.own_widths);
  EXPECT_EQ(right.own_widths->num_experts, 8);
  EXPECT_NE(audit_text(right).find("One layer at its own widths: experts.hidden_size 2304, "
                                   "experts.intermediate_size 136, router.num_experts 8; 1 and 40"),
            std::string::npos)
      << audit_text(right);
  EXPECT_EQ(nlohmann::json::parse(audit_json(right))["own_widths"]["tokens"],
            nlohmann::json({1, 40}));
  EXPECT_NE(audit_html(right).find("One layer at its own widths"), std::string::npos);

  const AuditReport narrow = audit(*inject(reference, "columns-beyond-2048-dropped"), options);
  ASSERT_FALSE(narrow.ok());
  EXPECT_EQ(narrow.failures.front().check, "own widths");
  EXPECT_EQ(narrow.failures.front().field, "experts.hidden_size");

  const MakeFault lose = [](const MoeSpec&, const MoeWeights&) {
    Fault fault;
    fault.load = [](Load& load) {
      if (load.spec.experts.hidden_size > 2048) load.spec.router.routed_scaling_factor = 1.0;
    };
    return fault;
  };
  const auto wide = decorate(reference, {{"lost when wide", '?', "-", "-"}, lose, {}});
  const AuditReport lost = audit(*wide, options);
  ASSERT_FALSE(lost.ok());
  EXPECT_EQ(lost.failures.front().field, "router.routed_scaling_factor");
  EXPECT_EQ(lost.failures.front().looks_like, "behaves as if routed_scaling_factor were 1");
}

TEST(Audit, SaysWhyNotAtItsOwnWidths) {
  // 8 experts become 4, which leaves a choice; 4 of these are too many.
  const AuditReport large = audit(backend("reference"), at_own_widths(8192, 8192));
  ASSERT_TRUE(large.own_widths);
  EXPECT_TRUE(large.own_widths->layer.empty());
  EXPECT_NE(audit_text(large).find("Not audited at its own widths: a layer of hidden_size 8192 and "
                                   "intermediate_size 8192 is too large: 805 million weights with "
                                   "4 experts"),
            std::string::npos)
      << audit_text(large);
  EXPECT_NE(large.own_widths->why_not.find("the suite I takes 134 million, full takes 1073"),
            std::string::npos);
  // What the backend refuses at the widths given is refused, not cut until it is taken.
  const Picky narrow([](const MoeSpec& spec, auto& refusals) {
    if (spec.experts.hidden_size > 4096) refusals.push_back({"experts.hidden_size", "is wide"});
  });
  EXPECT_THROW(audit(narrow, at_own_widths(8192, 8192)), Error);
  EXPECT_FALSE(audit(backend("reference"), at_own_widths(128, 64)).own_widths);
}

}  // namespace
}  // namespace sluice::auditing
