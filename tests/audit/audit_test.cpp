// Reports: verdicts, names, replays, and faults that no list of ours has.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sluice/checkpoint.hpp>

#include "audit/faults/edit_weights.hpp"
#include "audit/faults/reroute.hpp"
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

TEST(Audit, AuditsAtAGivenSpec) {
  AuditOptions options = quick_options();
  options.spec = parse_spec(R"({"router": {"num_experts": 16, "top_k": 4,
      "routing_method": "DeepSeekV3", "routed_scaling_factor": 2.446},
      "experts": {"hidden_size": 2304, "intermediate_size": 1024},
      "layer": {"num_shared_experts": 1}})");
  EXPECT_TRUE(audit(backend("reference"), options).ok());
  const auto faulty = inject(backend("reference"), "drop:routed_scaling_factor");
  const AuditReport report = audit(*faulty, options);
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.failures.front().field, "router.routed_scaling_factor");
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
