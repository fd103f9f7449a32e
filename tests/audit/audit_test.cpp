// Reports: verdicts, names, replays, and faults that no list of ours has.
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>
#include <sluice/checkpoint.hpp>

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

// A backend that states limits beyond its claims, as supports() may.
class Picky final : public Backend {
 public:
  using Limit = std::function<void(const MoeSpec&, std::vector<Refusal>&)>;
  explicit Picky(Limit limit) : limit_(std::move(limit)) {}
  std::string_view name() const override { return "picky"; }
  std::optional<std::string> unavailable() const override { return std::nullopt; }
  FieldSet claims() const override { return inner_.claims(); }
  Support supports(const MoeSpec& spec) const override {
    Support support = inner_.supports(spec);
    limit_(spec, support.refusals);
    return support;
  }
  std::unique_ptr<Experts> load(const MoeSpec& spec, const MoeWeights& weights,
                                const LoadOptions& options) const override {
    if (!supports(spec).ok()) throw Error(ErrorKind::internal, "a refused layer was loaded");
    return inner_.load(spec, weights, options);
  }
  bool batch_invariant() const override { return inner_.batch_invariant(); }

 private:
  const Backend& inner_ = backend("reference");
  Limit limit_;
};

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

// One bug shows in dozens of findings: the text begins with what they have in common.
TEST(Audit, TextSumsUpWhatFindingsHaveInCommon) {
  AuditReport report;
  const auto add = [&](const char* field, const char* looks_like, const char* matched) {
    AuditFailure failure;
    failure.check = "exact";
    failure.field = field;
    failure.looks_like = looks_like;
    failure.matched = matched;
    report.failures.push_back(failure);
  };
  add("", "", "");
  add("router.n_group", "behaves as if there were one group", "drop:router.n_group");
  for (int i = 0; i < 2; ++i) add("router.norm_eps", "behaves as if norm_eps were 0", "no-eps");
  const std::string text = audit_text(report);
  const std::size_t total = text.find("FAIL: 4 findings");
  const std::size_t most =
      text.find("2 of the findings examined: behaves as if norm_eps were 0 (no-eps)");
  const std::size_t less =
      text.find("1 of the findings examined: behaves as if there were one group");
  const std::size_t fields = text.find("name: router.norm_eps (2), router.n_group (1)");
  ASSERT_NE(fields, std::string::npos) << text;
  EXPECT_TRUE(total < most && most < less && less < fields && fields < text.find("1. exact"))
      << text;
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

TEST(Audit, WritesReplaysThatFailAgain) {
  const auto directory = std::filesystem::temp_directory_path() / "sluice_audit_replay";
  std::filesystem::remove_all(directory);
  const auto faulty = inject(backend("reference"), "drop:down_bias");
  AuditOptions options = quick_options();
  options.replay_directory = directory.string();
  const AuditReport report = audit(*faulty, options);
  ASSERT_FALSE(report.ok());
  const AuditFailure& failure = report.failures.front();
  ASSERT_EQ(failure.replay_files.size(), 3u);
  EXPECT_NE(failure.replay_command.find("sluice layer --spec"), std::string::npos);
  // The command line knows no backend of the faulty one's name, nor where else to find it.
  EXPECT_NE(failure.replay_command.find(" --backend reference --out "), std::string::npos);

  Case again;
  again.spec = parse_spec(failure.spec_json);
  for (const std::string& file : {failure.replay_files[1], failure.replay_files[2]}) {
    const Checkpoint tensors = Checkpoint::open(file);
    for (const TensorInfo& info : tensors.tensors()) {
      again.tensors[info.name] = OwnedTensor::copy_of(tensors.tensor(info.name));
    }
  }
  EXPECT_FALSE(judge(again, run_case(*faulty, again, one_thread())).ok());
  EXPECT_TRUE(judge(again, run_case(backend("reference"), again, one_thread())).ok());
  std::filesystem::remove_all(directory);
}

TEST(Audit, ReportsInThreeForms) {
  const auto faulty = inject(backend("reference"), "halves-swapped");
  const AuditReport report = audit(*faulty, quick_options());
  const auto json = nlohmann::json::parse(audit_json(report));
  EXPECT_EQ(json["schema"], 1);
  EXPECT_EQ(json["ok"], false);
  EXPECT_EQ(json["failures"][0]["looks_like"], report.failures[0].looks_like);
  EXPECT_TRUE(json["failures"][0]["spec"].is_object());
  const std::string html = audit_html(report);
  EXPECT_EQ(html.find("http"), std::string::npos) << "the page must stand alone";
  EXPECT_NE(html.find("halves-swapped"), std::string::npos);
  EXPECT_NE(audit_text(report).find("FAIL"), std::string::npos);
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
