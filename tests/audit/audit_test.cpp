// Verdicts, names, options, and faults that no list of ours has.
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <set>

#include "audit/faults/edit_weights.hpp"
#include "audit/faults/reroute.hpp"
#include "base/interruption.hpp"
#include "small_audit.hpp"

namespace sluice::auditing {
namespace {

TEST(Audit, PassesCorrectBackends) {
  for (const char* name : {"reference", "cpu"}) {
    const AuditReport report = audit(backend(name), quick_options());
    EXPECT_TRUE(report.ok()) << audit_text(report);
    for (const FieldReport& field : report.fields) EXPECT_TRUE(field.ok()) << field.field;
  }
}

TEST(Audit, RefusesFewerThanNoDraws) {
  AuditOptions options = quick_options();
  options.rounds = -1;
  try {
    audit(backend("reference"), options);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::user);
    EXPECT_NE(std::string(error.what()).find("rounds is -1"), std::string::npos) << error.what();
  }
}

// The shapes of released routers, and every score function, are among the cases.
TEST(Audit, DrawsReleasedRouters) {
  const SpecSource source = drawn_for(backend("reference"));
  std::set<ScoreFunc> scores;
  std::set<std::int64_t> groups, choices, tp_sizes;
  bool grouped_like_deepseek = false;
  for (const Regime& each : regimes()) {
    if (each.slow) continue;
    for (std::uint64_t seed = 1; seed <= 16; ++seed) {
      const std::optional<Case> made = each.make(source, seed);
      if (!made) continue;
      const RouterSpec& router = made->spec.router;
      scores.insert(router.score_func);
      groups.insert(router.n_group);
      choices.insert(router.top_k);
      tp_sizes.insert(made->spec.layer.tp_size);
      grouped_like_deepseek |= router.num_experts == 256 && router.n_group == 8 &&
                               router.topk_group == 4 && router.top_k == 8;
    }
  }
  EXPECT_EQ(scores.size(), 4u);
  EXPECT_TRUE(grouped_like_deepseek);
  EXPECT_TRUE(choices.contains(22));
  for (const std::int64_t count : {2, 3, 4, 8}) EXPECT_TRUE(groups.contains(count)) << count;
  EXPECT_TRUE(tp_sizes.contains(4));
}

TEST(Audit, NamesTheLostFactor) {
  const auto faulty = inject(backend("cpu"), "drop:routed_scaling_factor");
  const AuditReport report = audit(*faulty, quick_options());
  ASSERT_FALSE(report.ok());
  const AuditFailure& failure = report.failures.front();
  EXPECT_EQ(failure.field, "router.routed_scaling_factor");
  EXPECT_EQ(failure.bug_class, 'A');
  EXPECT_EQ(failure.looks_like, "behaves as if routed_scaling_factor were 1");
  EXPECT_EQ(failure.tokens, 1) << "not shrunk";
  for (const FieldReport& field : report.fields) {
    const bool expected = field.field == "router.routed_scaling_factor" ||
                          field.field == "router.apply_routed_scale_to_output";
    EXPECT_TRUE(expected || field.ok()) << field.field;
  }
}

TEST(Audit, TellsTwiceFromLost) {
  const auto faulty = inject(backend("reference"), "double:routed_scaling_factor");
  const AuditReport report = audit(*faulty, quick_options());
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.failures.front().looks_like,
            "behaves as if routed_scaling_factor were applied twice");
}

// Faults of somebody else's imagination.
TEST(Audit, SeesFaultsThatAreInNoList) {
  struct Strange {
    const char* name;
    MakeFault make;
    const char* field;  // one that must be named, or empty
  };
  const auto spec_edit = [](void (*edit)(MoeSpec&)) -> MakeFault {
    return [edit](const MoeSpec&, const MoeWeights&) {
      Fault fault;
      fault.load = [edit](Load& load) { edit(load.spec); };
      return fault;
    };
  };
  const Strange strange[] = {
      {"factor off by 1e-4", spec_edit([](MoeSpec& s) {
         if (s.router.routed_scaling_factor != 1.0) s.router.routed_scaling_factor *= 1.0001;
       }),
       "router.routed_scaling_factor"},
      {"epsilon squared", spec_edit([](MoeSpec& s) { s.router.norm_eps *= s.router.norm_eps; }),
       "router.norm_eps"},
      {"alpha swapped with beta", spec_edit([](MoeSpec& s) {
         if (s.experts.swiglu_beta != 0.0) {
           std::swap(s.experts.swiglu_alpha, s.experts.swiglu_beta);
         }
       }),
       "experts.swiglu_beta"},
      {"limit halved", spec_edit([](MoeSpec& s) { s.experts.swiglu_limit *= 0.5; }),
       "experts.swiglu_limit"},
      {"last expert's bias lost",
       [](const MoeSpec&, const MoeWeights&) {
         Fault fault;
         fault.load = [](Load& load) {
           edit_tensor(load, load.weights.e_score_correction_bias,
                       [](std::span<float> values) { values.back() = 0.0f; });
         };
         return fault;
       },
       "router.e_score_correction_bias"},
      {"weights 0.1 % too large", router_fault({.scale_weights = 1.001}), ""},
      {"one output element of the fifth token",
       [](const MoeSpec&, const MoeWeights&) {
         Fault fault;
         fault.forward = [](Call& call) {
           edit_output(call, [&](std::span<float> out) {
             const auto width = static_cast<std::size_t>(call.spec.experts.hidden_size);
             if (call.tokens() > 4) out[4 * width + 1] *= 1.02f;
           });
         };
         return fault;
       },
       ""},
  };
  for (const Strange& fault : strange) {
    const auto faulty =
        decorate(backend("reference"), {{fault.name, '?', fault.name, "-"}, fault.make, {}});
    const AuditReport report = audit(*faulty, quick_options());
    EXPECT_FALSE(report.ok()) << fault.name;
    if (*fault.field == '\0') continue;
    bool named = false;
    for (const AuditFailure& failure : report.failures) named |= failure.field == fault.field;
    EXPECT_TRUE(named) << fault.name << "\n" << audit_text(report);
  }
}

// Every layer of an audit is loaded with the options that it was given.
class Permitted final : public Backend {
 public:
  std::string_view name() const override { return "permitted"; }
  std::optional<std::string> unavailable() const override { return std::nullopt; }
  FieldSet claims() const override {
    return {"num_experts", "top_k", "hidden_size", "intermediate_size"};
  }
  Support supports(const MoeSpec& spec) const override { return inner_.supports(spec); }
  std::unique_ptr<Experts> load(const MoeSpec& spec, const MoeWeights& weights,
                                const LoadOptions& options) const override {
    if (!options.may_round_slot_outputs) throw Error(ErrorKind::internal, "no permission");
    return inner_.load(spec, weights, options);
  }
  bool batch_invariant() const override { return true; }

 private:
  const Backend& inner_ = backend("reference");
};

TEST(Audit, LoadsEveryLayerAsItWasTold) {
  AuditOptions options = quick_options();
  options.load.may_round_slot_outputs = true;
  options.allowances.slot_outputs_rounded = true;
  const AuditReport report = audit(Permitted(), options);
  EXPECT_TRUE(report.ok()) << audit_text(report);
}

// A backend that is told to stop in the middle of a call, as a Python callable is by Ctrl-C.
class Stopped final : public Backend {
 public:
  struct Stop {};
  explicit Stopped(int calls) : left_(calls) {}
  std::string_view name() const override { return "stopped"; }
  std::optional<std::string> unavailable() const override { return std::nullopt; }
  FieldSet claims() const override { return inner_.claims(); }
  Support supports(const MoeSpec& spec) const override { return inner_.supports(spec); }
  std::unique_ptr<Experts> load(const MoeSpec& spec, const MoeWeights& weights,
                                const LoadOptions& options) const override {
    return std::make_unique<StoppedExperts>(inner_.load(spec, weights, options), left_);
  }
  bool batch_invariant() const override { return inner_.batch_invariant(); }

 private:
  class StoppedExperts final : public Experts {
   public:
    StoppedExperts(std::unique_ptr<Experts> inner, std::atomic<int>& left)
        : inner_(std::move(inner)), left_(left) {}
    std::size_t workspace_bytes(std::int64_t tokens) const override {
      return inner_->workspace_bytes(tokens);
    }
    std::size_t weight_bytes() const override { return inner_->weight_bytes(); }
    void forward(const ForwardInput& input, const ForwardOutput& output,
                 std::span<std::byte> workspace, void* stream) const override {
      if (left_-- <= 0) throw Interruption{std::make_exception_ptr(Stop{})};
      inner_->forward(input, output, workspace, stream);
    }

   private:
    std::unique_ptr<Experts> inner_;
    std::atomic<int>& left_;
  };

  const Backend& inner_ = backend("reference");
  mutable std::atomic<int> left_;
};

TEST(Audit, EndsWhereItIsInterrupted) {
  // The suites of these classes have every check between them; O's runs two calls at once.
  for (const char* suite : {"A", "G", "K", "L", "O"}) {
    for (const int calls : {0, 40, 200}) {
      AuditOptions options = quick_options();
      options.suite = suite;
      try {
        EXPECT_TRUE(audit(Stopped(calls), options).ok()) << suite << ' ' << calls;
      } catch (const Interruption& interruption) {
        EXPECT_THROW(std::rethrow_exception(interruption.why), Stopped::Stop);
      }
    }
  }
}

TEST(Audit, AsksBetweenCallsWhetherToGoOn) {
  int calls = 0;
  std::vector<std::string> checks;
  AuditOptions options = quick_options();
  options.progress = [&](std::string_view check) { checks.emplace_back(check); };
  options.before_call = [&] {
    if (++calls == 5) throw std::out_of_range("enough");
  };
  EXPECT_THROW(audit(backend("reference"), options), std::out_of_range);
  EXPECT_EQ(calls, 5);
  EXPECT_EQ(checks, std::vector<std::string>{"exact"});
}

TEST(Audit, RefusesUnknownSuitesAndFaults) {
  AuditOptions options = quick_options();
  options.suite = "Z";
  EXPECT_THROW(audit(backend("reference"), options), Error);
  EXPECT_THROW(inject(backend("reference"), "scale-droped"), Error);
  EXPECT_THROW(inject(backend("reference"), "double:n_group"), Error);
}

}  // namespace
}  // namespace sluice::auditing
