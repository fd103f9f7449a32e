// MoeSpec: everything about what one MoE layer computes, and nothing about how.
//
// Formulas, decisions and sources: docs/semantics.md. Each member stands exactly once in the field
// registry (<sluice/fields.hpp>); adding a member here without adding it there does not compile.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

// Turns router logits into scores.
enum class ScoreFunc : std::uint8_t { softmax, sigmoid, sqrt_softplus, none };
// after_topk: choose on the raw logits and score only the K chosen.
enum class ScoreOrder : std::uint8_t { before_topk, after_topk };
// How a group of experts is ranked: DeepSeek-V3 sums its two best biased scores, V2 takes the best.
enum class GroupScore : std::uint8_t { sum_of_top2, max };
// add: w / (sum + eps). clamp: w / max(sum, eps).
enum class NormRule : std::uint8_t { add, clamp };
enum class LogitsDType : std::uint8_t { f32, bf16 };

// Gated: swiglu (SiLU), geglu (erf), geglu_tanh. The others have no gate: one matrix of I rows.
enum class Activation : std::uint8_t { swiglu, geglu, geglu_tanh, relu2, silu, gelu, identity };
// Row order of GEMM 1 in the checkpoint. interleaved: even rows gate, odd rows up.
enum class GateUpOrder : std::uint8_t { gate_up, up_gate, interleaved };
enum class WeightFormat : std::uint8_t {
  bf16,
  f32,
  f16,
  fp8_e4m3_tensor,
  fp8_e4m3_channel,
  fp8_e4m3_block128,
  nvfp4,
  mxfp4,
  int4
};
// What the inputs of both GEMMs are rounded to; GEMM 2's input is the activation's output.
enum class ActivationFormat : std::uint8_t { bf16, f32, f16, fp8_e4m3 };
enum class OutputDType : std::uint8_t { as_input, f32, bf16, f16 };

struct RouterSpec {
  std::int64_t num_experts = 0;  // E, over all ranks
  std::int64_t top_k = 0;        // K
  ScoreFunc score_func = ScoreFunc::softmax;
  ScoreOrder score_order = ScoreOrder::before_topk;
  bool router_bias = false;              // [E], part of the logits
  bool e_score_correction_bias = false;  // [E] fp32, for choosing only
  bool weights_from_biased_scores = false;
  std::int64_t n_group = 1;
  std::int64_t topk_group = 1;
  GroupScore group_score = GroupScore::sum_of_top2;
  bool norm_topk_prob = false;
  bool norm_single_expert = false;  // norm_topk_prob divides at K = 1 too
  double norm_eps = 0.0;
  NormRule norm_rule = NormRule::add;
  double routed_scaling_factor = 1.0;
  bool apply_routed_scale_to_output = false;
  bool apply_router_weight_on_input = false;
  LogitsDType router_logits_dtype = LogitsDType::f32;
  friend bool operator==(const RouterSpec&, const RouterSpec&) = default;
};

struct ExpertSpec {
  std::int64_t hidden_size = 0;        // H
  std::int64_t intermediate_size = 0;  // I, over all tensor-parallel ranks
  Activation activation = Activation::swiglu;
  double swiglu_alpha = 1.0;
  double swiglu_beta = 0.0;
  double swiglu_limit = std::numeric_limits<double>::infinity();
  bool gate_up_bias = false;  // [E, 2I], in the row order of gate_up_order
  bool down_bias = false;     // [E, H], weighted by the slot's weight, once
  GateUpOrder gate_up_order = GateUpOrder::gate_up;
  WeightFormat weight_format = WeightFormat::bf16;
  ActivationFormat activation_format = ActivationFormat::bf16;
  friend bool operator==(const ExpertSpec&, const ExpertSpec&) = default;
};

// num_local_experts == kAllExperts: this rank computes every expert.
inline constexpr std::int64_t kAllExperts = -1;

struct LayerSpec {
  // Shared experts are one dense block of the experts' activation kind, without alpha, beta and
  // limit, its rows in gate_up_order; never multiplied by the routed factor.
  std::int64_t num_shared_experts = 0;
  // Width of the shared block over all shared experts; 0 means num_shared_experts * I.
  std::int64_t shared_intermediate_size = 0;
  bool shared_expert_gate = false;  // [H]; sigmoid(w . x) multiplies the shared output
  std::int64_t local_expert_offset = 0;
  std::int64_t num_local_experts = kAllExperts;
  // Global expert -> local expert or -1, in place of offset and count. Empty: not given.
  std::vector<std::int32_t> expert_map;
  // Tensor parallelism along I: this rank's weights hold I / tp_size of every expert (and
  // S / tp_size of the shared block), rows of gate and of up each sliced; rank 0 adds down_bias.
  // Ranks sum. A rank of expert parallelism computes shared experts iff its own spec has them.
  std::int64_t tp_rank = 0;
  std::int64_t tp_size = 1;
  OutputDType output_dtype = OutputDType::as_input;
  friend bool operator==(const LayerSpec&, const LayerSpec&) = default;
};

struct MoeSpec {
  RouterSpec router;
  ExpertSpec experts;
  LayerSpec layer;
  friend bool operator==(const MoeSpec&, const MoeSpec&) = default;
};

// Throws one Error(user) that lists every contradiction, each with field names and both values, and
// every enumeration that holds a number without a name.
void validate(const MoeSpec& spec);

// The names that JSON, tables and errors use; "(no such value)" for a number without a name.
std::string_view to_string(ScoreFunc value);
std::string_view to_string(ScoreOrder value);
std::string_view to_string(GroupScore value);
std::string_view to_string(NormRule value);
std::string_view to_string(LogitsDType value);
std::string_view to_string(Activation value);
std::string_view to_string(GateUpOrder value);
std::string_view to_string(WeightFormat value);
std::string_view to_string(ActivationFormat value);
std::string_view to_string(OutputDType value);

// Derived quantities that several readers need, of a spec that validate() accepts; they carry no
// choice of their own.
bool is_gated(Activation activation);
std::int64_t gate_up_rows(const ExpertSpec& experts);  // 2I if gated, else I
std::int64_t shared_width(const MoeSpec& spec);        // 0 without shared experts
std::int64_t local_width(const MoeSpec& spec);         // I / tp_size: of this rank's weights
std::int64_t local_shared_width(const MoeSpec& spec);  // shared_width / tp_size, likewise
std::int64_t local_expert_count(const MoeSpec& spec);  // experts whose weights this rank holds
// Local index of a global expert on this rank; -1 for one that is elsewhere, or is none.
std::int64_t local_expert(const MoeSpec& spec, std::int64_t global_expert);

// JSON as docs/semantics.md §5 draws it: parse(print(spec)) == spec. Unknown keys, wrong types and
// unknown names are Error(user) with the nearest known name. print writes only non-neutral fields
// and the sizes.
MoeSpec parse_spec(const std::string& json_text);
std::string print_spec(const MoeSpec& spec);

}  // namespace sluice
