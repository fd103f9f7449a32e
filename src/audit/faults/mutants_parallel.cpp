// G: expert parallelism: offsets, maps, reductions.
#include "audit/faults/edit_weights.hpp"
#include "audit/faults/mutant_tables.hpp"
#include "audit/faults/reroute.hpp"
#include "audit/faults/split_run.hpp"

namespace sluice::auditing {
namespace {

bool owns_a_part(const MoeSpec& spec) { return local_expert_count(spec) < spec.router.num_experts; }

// A 0/1 mask where the map was meant: local experts counted off in global order.
void map_as_mask(MoeSpec& spec) {
  std::int32_t next = 0;
  for (std::int32_t& local : spec.layer.expert_map) local = local < 0 ? -1 : next++;
}

MakeFault routed_times(double by) {
  return [by](const MoeSpec& asked, const MoeWeights&) {
    Fault fault;
    if (!owns_a_part(asked)) return fault;
    fault.forward = [by](Call& call) {
      if (call.tokens() == 0) return call.forward();
      Parts parts = run_parts(call);
      for (std::size_t i = 0; i < parts.routed.size(); ++i) {
        parts.routed[i] = static_cast<float>(by) * parts.routed[i] + parts.shared[i];
      }
      write_output(call, parts.routed);
    };
    return fault;
  };
}

}  // namespace

void add_parallel_mutants(std::vector<Mutant>& list) {
  const auto add = [&](std::string_view name, std::string_view meaning, std::string_view cases,
                       MakeFault make) {
    list.push_back({{name, 'G', meaning, cases}, std::move(make), {}});
  };
  add("offset-ignored", "local_expert_offset were 0", "vllm-gaudi#1796 (rank 0 right)",
      with_spec([](MoeSpec& s) { s.layer.local_expert_offset = 0; }));
  add("offset-one-more", "local_expert_offset were one more", "vllm-gaudi#1796",
      with_spec_when([](const MoeSpec& s) { return s.layer.local_expert_offset > 0; },
                     [](MoeSpec& s) {
                       const auto held = local_expert_count(s);
                       if (s.layer.local_expert_offset + held < s.router.num_experts) {
                         ++s.layer.local_expert_offset;
                       } else {
                         --s.layer.local_expert_offset;
                       }
                     }));
  add("offset-gives-zeros", "the routed part were zero for any local_expert_offset above 0",
      "flashinfer#3547", [](const MoeSpec& asked, const MoeWeights& weights) {
        if (asked.layer.local_expert_offset == 0) return Fault{};
        return routed_times(0.0)(asked, weights);
      });
  add("map-wrapped", "experts of other ranks fell on the last local one", "vllm#46408",
      [](const MoeSpec&, const MoeWeights&) {
        Fault fault;
        // A map may name a local expert once only; the wrap is therefore made in the weights: the
        // inner backend holds every expert, and those of other ranks are copies of the last.
        fault.load = [](Load& load) {
          const MoeSpec asked = load.spec;
          const std::int64_t held = local_expert_count(asked);
          if (held == 0 || held == asked.router.num_experts) return;
          spread_experts(load, [&](std::int64_t global) {
            const std::int64_t local = local_expert(asked, global);
            return local < 0 ? held - 1 : local;
          });
        };
        return fault;
      });
  add("map-as-mask", "expert_map were a 0/1 mask", "ATOM#887",
      with_spec_when([](const MoeSpec& s) { return !s.layer.expert_map.empty(); }, map_as_mask));
  add("map-ignored", "expert_map were absent", "vllm-gaudi#1796",
      [](const MoeSpec&, const MoeWeights&) {
        Fault fault;
        fault.load = [](Load& load) {
          const std::int64_t held = local_expert_count(load.spec);
          if (load.spec.layer.expert_map.empty() || held == 0) return;
          spread_experts(load, [held](std::int64_t global) { return global % held; });
        };
        return fault;
      });
  add("reduced-twice", "a partial result were reduced twice", "sglang#37199 (times 4)",
      routed_times(2.0));
  add("reduction-missing-shards", "half of a partial result were lost", "sglang#32963 (.012)",
      routed_times(0.5));
  add("norm-over-local-experts", "weights were normalised over this rank's slots alone",
      "vllm-gaudi#1796", router_fault({.normalise_local_only = true}));
  add("count-ignored", "num_local_experts were all experts from the offset on", "vllm-gaudi#1796",
      with_spec_when(
          [](const MoeSpec& s) { return s.layer.expert_map.empty() && local_expert_count(s) > 0; },
          [](MoeSpec& s) {
            s.layer.num_local_experts = s.router.num_experts - s.layer.local_expert_offset;
          }));
  add("absent-slots-summed", "slots of other ranks added an unwritten row", "vllm#46408",
      [](const MoeSpec& asked, const MoeWeights& weights) {
        Fault fault;
        if (!owns_a_part(asked)) return fault;
        fault.forward = [router_bias = weights.router_bias ? to_floats(weights.router_bias)
                                                           : std::vector<float>{},
                         correction = weights.e_score_correction_bias
                                          ? to_floats(weights.e_score_correction_bias)
                                          : std::vector<float>{}](Call& call) {
          if (call.tokens() == 0) return call.forward();
          const RoutedTokens routed = route_call(call, router_bias, correction, {});
          const std::int64_t width = call.spec.experts.hidden_size;
          const std::int64_t top_k = call.spec.router.top_k;
          edit_output(call, [&](std::span<float> out) {
            const std::vector<float> before(out.begin(), out.end());
            for (std::int64_t at = 0; at < call.tokens() * top_k; ++at) {
              if (local_expert(call.spec, routed.ids.id(at)) >= 0) continue;
              for (std::int64_t i = 0; i < width; ++i) {
                out[static_cast<std::size_t>(at / top_k * width + i)] +=
                    routed.weights.get(at) * before[static_cast<std::size_t>(i)];
              }
            }
          });
        };
        return fault;
      });
}

}  // namespace sluice::auditing
