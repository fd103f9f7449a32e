// Faults that wait for a size, a number, a buffer or a dtype: none is a mutant, and each once
// passed.
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <map>

#include "audit/faults/edit_weights.hpp"
#include "audit/faults/mutant_tables.hpp"
#include "audit/faults/part_of_output.hpp"
#include "audit/faults/reroute.hpp"
#include "small_audit.hpp"

namespace sluice::auditing {
namespace {

struct Strange {
  const char* name;
  char suite;  // the class that must see it
  MakeFault make;
  const char* field = "";  // one that must be named
};

std::vector<float> floats(const TensorView& view) {
  return view ? to_floats(view) : std::vector<float>{};
}

MakeFault rerouted(bool (*when)(const Call&), void (*change)(const Call&, RoutedTokens&)) {
  return [=](const MoeSpec&, const MoeWeights& weights) {
    Fault fault;
    fault.forward = [=, router_bias = floats(weights.router_bias),
                     correction = floats(weights.e_score_correction_bias)](Call& call) {
      if (call.tokens() == 0 || !when(call)) return call.forward();
      RoutedTokens routed = route_call(call, router_bias, correction, {});
      change(call, routed);
      give_routing(call, routed);
      call.forward();
    };
    return fault;
  };
}

MakeFault router_when(bool (*when)(const RouterSpec&), const RouterFaults& wrong) {
  return router_fault_when([=](const MoeSpec& spec, std::int64_t) {
    return when(spec.router) ? wrong : RouterFaults{};
  });
}

// Columns of GEMM 1 or GEMM 2 from `rest` before the end on are not read.
void drop_last_columns(std::span<float> values, std::int64_t columns, std::int64_t rest) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (static_cast<std::int64_t>(i) % columns >= columns - rest) values[i] = 0.0f;
  }
}

MakeFault hidden_rest_dropped(std::int64_t of, std::int64_t rest, std::int64_t dropped) {
  return [=](const MoeSpec&, const MoeWeights&) {
    Fault fault;
    fault.load = [=](Load& load) {
      if (load.spec.experts.hidden_size % of != rest) return;
      edit_gate_up(load, [=](std::span<float> values, std::int64_t, std::int64_t columns,
                             std::int64_t) { drop_last_columns(values, columns, dropped); });
    };
    return fault;
  };
}

// The first number of the output is another one where `when` holds.
MakeFault first_output_changed(bool (*when)(const Call&), float (*to)(float)) {
  return [=](const MoeSpec&, const MoeWeights&) {
    Fault fault;
    fault.forward = [=](Call& call) {
      const bool now = when(call);
      call.workspace = call.workspace.first(call.inner.workspace_bytes(call.tokens()));
      call.forward();
      const MutableTensorView& out = call.output.output;
      if (!now || out.shape.elements() == 0) return;
      store_float(out.data, out.dtype, 0, to(load_float(out.data, out.dtype, 0)));
    };
    return fault;
  };
}

bool is_aligned(const void* data) { return reinterpret_cast<std::uintptr_t>(data) % 16 == 0; }

// Packed once for an address, as if what lies there could not change.
MakeFault cached_by_address() {
  return [](const MoeSpec& asked, const MoeWeights& weights) {
    struct Packed {
      MoeSpec spec;
      OwnedTensor down;
    };
    static std::map<const void*, Packed> cache;
    Fault fault;
    if (weights.down_proj.empty()) return fault;
    const TensorView first = weights.down_proj.front();
    const auto [found, fresh] =
        cache.try_emplace(first.data, Packed{asked, OwnedTensor::copy_of(first)});
    if (!fresh && !(found->second.spec == asked))
      found->second = {asked, OwnedTensor::copy_of(first)};
    fault.load = [down = found->second.down](Load& load) {
      load.weights.down_proj.front() = load.keep(down);
    };
    return fault;
  };
}

// What NaN left in the scratch of the last call times zero is NaN.
MakeFault scratch_keeps_nan() {
  return [](const MoeSpec&, const MoeWeights&) {
    Fault fault;
    fault.forward = [dirty = std::make_shared<std::atomic<bool>>(false)](Call& call) {
      if (call.tokens() == 0) return call.forward();
      const std::vector<float> hidden = to_floats(call.input.hidden_states);
      const bool clean =
          std::all_of(hidden.begin(), hidden.end(), [](float x) { return std::isfinite(x); });
      call.forward();
      const MutableTensorView& out = call.output.output;
      if (dirty->exchange(!clean) && clean) store_float(out.data, out.dtype, 0, NAN);
    };
    return fault;
  };
}

const Strange kStrange[] = {
    {"groups of three ignored", 'C',
     with_spec_when([](const MoeSpec& s) { return s.router.n_group == 3; },
                    [](MoeSpec& s) { s.router.n_group = s.router.topk_group = 1; }),
     "router.n_group"},
    {"given 64-bit ids in a byte", 'G',
     rerouted(
         [](const Call& c) {
           return c.input.router_logits.empty() && c.input.topk_ids.dtype == DType::i64;
         },
         [](const Call&, RoutedTokens& routed) {
           for (std::int64_t i = 0; i < routed.ids.elements(); ++i) {
             store_unaligned(routed.ids.data(), i,
                             static_cast<std::int32_t>(routed.ids.id(i) & 0xff));
           }
         })},
    {"ties at K = 1 to the higher id", 'M',
     router_when([](const RouterSpec& r) { return r.top_k == 1; }, {.tie_higher_id = true})},
    {"ties at K > 8 to the higher id", 'M',
     router_when([](const RouterSpec& r) { return r.top_k > 8; }, {.tie_higher_id = true})},
    {"ties at E = 384 to the higher id", 'M',
     router_when([](const RouterSpec& r) { return r.num_experts == 384; },
                 {.tie_higher_id = true})},
    {"NaN wins at E = 128 and more", 'M',
     router_when([](const RouterSpec& r) { return r.num_experts >= 128; }, {.nan_wins = true})},
    {"limits between 2 and 20 ignored", 'E',
     with_spec_when(
         [](const MoeSpec& s) { return s.experts.swiglu_limit > 2 && s.experts.swiglu_limit < 20; },
         [](MoeSpec& s) { s.experts.swiglu_limit = INFINITY; }),
     "experts.swiglu_limit"},
    {"8 columns of I beyond a 16 dropped", 'I', on_load([](Load& load) {
       if (load.spec.layer.tp_size > 1 || local_width(load.spec) % 16 != 8) return;
       edit_down(load, [](std::span<float> values, std::int64_t, std::int64_t columns,
                          std::int64_t) { drop_last_columns(values, columns, 8); });
     }),
     "experts.intermediate_size"},
    {"24 columns of H beyond a 32 dropped in part", 'I', hidden_rest_dropped(32, 24, 8),
     "experts.hidden_size"},
    {"48 columns of H beyond a 64 dropped in part", 'I', hidden_rest_dropped(64, 48, 16),
     "experts.hidden_size"},
    {"the last of 162 to 249 tokens is zero", 'P', on_forward([](Call& call) {
       if (call.tokens() < 162 || call.tokens() > 249) return call.forward();
       leave_unwritten(call, call.tokens() - 1, call.tokens());
     })},
    {"topk_ids alone are not written", 'J', on_forward([](Call& call) {
       if (!call.output.topk_weights) call.output.topk_ids = {};
       call.forward();
     })},
    {"a larger workspace is laid out wrongly", 'J',
     first_output_changed(
         [](const Call& c) { return c.workspace.size() > c.inner.workspace_bytes(c.tokens()); },
         [](float x) { return 2.0f * x + 1.0f; })},
    {"outputs are taken to be aligned", 'O',
     first_output_changed([](const Call& c) { return !is_aligned(c.output.output.data); },
                          [](float x) { return 2.0f * x + 1.0f; })},
    {"another order of sums for tokens that are not aligned", 'O',
     first_output_changed([](const Call& c) { return !is_aligned(c.input.hidden_states.data); },
                          [](float x) { return std::nextafterf(x, 2.0f * x); })},
    {"packed weights cached by address", 'O', cached_by_address()},
    {"NaN stays in scratch", 'O', scratch_keeps_nan()},
    {"experts beyond whole 128s ignored", 'C',
     rerouted([](const Call& c) { return c.spec.router.num_experts == 160; },
              [](const Call&, RoutedTokens& routed) {
                for (std::int64_t i = 0; i < routed.ids.elements(); ++i) {
                  if (routed.ids.id(i) >= 128) routed.weights.set(i, 0.0f);
                }
              })},
};

class StrangeFaults : public testing::TestWithParam<Strange> {};

TEST_P(StrangeFaults, AreSeen) {
  const Strange& fault = GetParam();
  const auto faulty =
      decorate(backend("reference"), {{fault.name, '?', fault.name, "-"}, fault.make, {}});
  AuditOptions options = quick_options();
  options.rounds = 3;
  options.suite = std::string(1, fault.suite);
  const AuditReport report = audit(*faulty, options);
  ASSERT_FALSE(report.ok());
  if (*fault.field == '\0') return;
  bool named = false;
  for (const AuditFailure& failure : report.failures) named |= failure.field == fault.field;
  EXPECT_TRUE(named) << audit_text(report);
}

INSTANTIATE_TEST_SUITE_P(All, StrangeFaults, testing::ValuesIn(kStrange), [](const auto& param) {
  std::string name = param.param.name;
  std::erase_if(name, [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); });
  return name;
});

// A size is named where no field is.
TEST(Diagnosis, NamesTheSizeThatIsToBlame) {
  const MakeFault lose = rerouted([](const Call& c) { return c.spec.router.top_k > 16; },
                                  [](const Call& c, RoutedTokens& routed) {
                                    for (std::int64_t i = 0; i < routed.weights.elements(); ++i) {
                                      if (i % c.spec.router.top_k >= 16) routed.weights.set(i, 0);
                                    }
                                  });
  const auto faulty = decorate(backend("reference"), {{"few slots", '?', "-", "-"}, lose, {}});
  AuditOptions options = quick_options();
  options.suite = std::string(1, 'C');
  const AuditReport report = audit(*faulty, options);
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.failures.front().field, "router.top_k") << audit_text(report);
  EXPECT_NE(report.failures.front().message.find("a smaller router.top_k is right"),
            std::string::npos);
}

// Room that grows with the value holds everything around infinity: zeros explained any overflow.
TEST(StrangeFaults, InfiniteOutputsDoNotLookLikeZeros) {
  const MakeFault overflow = [](const MoeSpec&, const MoeWeights&) {
    Fault fault;
    fault.forward = [](Call& call) {
      call.forward();
      const MutableTensorView& out = call.output.output;
      for (std::int64_t i = 0; i < out.shape.elements(); ++i) {
        store_float(out.data, out.dtype, i, i % 2 == 0 ? HUGE_VALF : -HUGE_VALF);
      }
    };
    return fault;
  };
  const auto faulty = decorate(backend("reference"), {{"overflow", '?', "-", "-"}, overflow, {}});
  AuditOptions options = quick_options();
  options.suite = std::string(1, 'E');
  options.rounds = 1;
  const AuditReport report = audit(*faulty, options);
  ASSERT_FALSE(report.ok());
  for (const AuditFailure& failure : report.failures) {
    EXPECT_EQ(failure.looks_like, "") << failure.message;
  }
}

}  // namespace
}  // namespace sluice::auditing
