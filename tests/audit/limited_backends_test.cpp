// Correct backends that take less than everything pass, for what they take.
#include <gtest/gtest.h>

#include "picky_backend.hpp"
#include "small_audit.hpp"

namespace sluice::auditing {
namespace {

TEST(Audit, FindsLayersThatAPickyBackendTakes) {
  const std::pair<const char*, Picky::Limit> limits[] = {
      {"widths of 128 and its multiples",
       [](const MoeSpec& s, auto& refusals) {
         if (s.experts.hidden_size % 128 != 0)
           refusals.push_back({"experts.hidden_size", "is odd"});
         if (s.experts.intermediate_size % 128 != 0) {
           refusals.push_back({"experts.intermediate_size", "is odd"});
         }
       }},
      {"64 experts and more, two choices at most",
       [](const MoeSpec& s, auto& refusals) {
         if (s.router.num_experts < 64) refusals.push_back({"router.num_experts", "is below 64"});
         if (s.router.top_k > 2) refusals.push_back({"router.top_k", "is above 2"});
       }},
      {"no softmax",
       [](const MoeSpec& s, auto& refusals) {
         if (s.router.score_func == ScoreFunc::softmax) {
           refusals.push_back({"router.score_func", "is softmax"});
         }
       }},
      {"two local experts and more",
       [](const MoeSpec& s, auto& refusals) {
         if (local_expert_count(s) < 2) refusals.push_back({"layer.num_local_experts", "is low"});
       }},
  };
  for (const auto& [what, limit] : limits) {
    const Picky picky(limit);
    for (const char suite : {'G', 'K', 'O'}) {
      // Every two fields, in G, take seconds with so many experts: once is enough.
      if (suite == 'G' && what != std::rbegin(limits)->first) continue;
      AuditOptions options = quick_options();
      options.suite = std::string(1, suite);
      options.rounds = 1;
      const AuditReport report = audit(picky, options);
      EXPECT_TRUE(report.ok()) << what << "\n" << audit_text(report);
      for (const CheckReport& check : report.checks) {
        EXPECT_GT(check.cases, 0) << what << ": " << check.name;
      }
    }
    const auto faulty = inject(picky, "drop:routed_scaling_factor");
    AuditOptions options = quick_options();
    options.suite = std::string(1, 'F');
    options.diagnose = false;
    EXPECT_FALSE(audit(*faulty, options).ok()) << what;
  }
}

TEST(Audit, DoesNotPassWhatItCouldNotTest) {
  const Picky none([](const MoeSpec&, auto& refusals) {
    refusals.push_back({"experts.hidden_size", "is too good for me"});
  });
  for (const char* suite : {"quick", "A", "Q"}) {
    AuditOptions options = quick_options();
    options.suite = suite;
    const AuditReport report = audit(none, options);
    ASSERT_FALSE(report.ok()) << suite;
    EXPECT_NE(report.failures.back().message.find("nothing was tested"), std::string::npos)
        << suite;
    EXPECT_NE(report.failures.back().message.find("too good for me"), std::string::npos) << suite;
  }
}

TEST(Audit, DoesNotPassAClaimOfTheNeutralValueAlone) {
  const Picky neutral([](const MoeSpec& s, auto& refusals) {
    if (s.router.routed_scaling_factor != 1.0) {
      refusals.push_back({"router.routed_scaling_factor", "is not 1"});
    }
  });
  for (const char* suite : {"quick", "A"}) {
    AuditOptions options = quick_options();
    options.suite = suite;
    const AuditReport report = audit(neutral, options);
    ASSERT_FALSE(report.ok()) << suite;
    EXPECT_EQ(report.failures.front().field, "router.routed_scaling_factor");
  }
}

// A backend that claims less must refuse more, and still pass.
class Modest final : public Backend {
 public:
  std::string_view name() const override { return "modest"; }
  std::optional<std::string> unavailable() const override { return std::nullopt; }
  FieldSet claims() const override {
    return {"num_experts",           "top_k",         "hidden_size", "intermediate_size",
            "routed_scaling_factor", "norm_topk_prob"};
  }
  Support supports(const MoeSpec& spec) const override { return inner_.supports(spec); }
  std::unique_ptr<Experts> load(const MoeSpec& spec, const MoeWeights& weights,
                                const LoadOptions& options) const override {
    return inner_.load(spec, weights, options);
  }
  bool batch_invariant() const override { return true; }

 private:
  const Backend& inner_ = backend("reference");
};

TEST(Audit, AcceptsModestClaims) {
  const AuditReport report = audit(Modest(), quick_options());
  EXPECT_TRUE(report.ok()) << audit_text(report);
  for (const FieldReport& field : report.fields) {
    EXPECT_TRUE(field.claimed || field.refused == Verdict::pass) << field.field;
  }
}

}  // namespace
}  // namespace sluice::auditing
