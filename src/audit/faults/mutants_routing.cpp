// C: the routing method. D: precision of bias and logits. M: ties, NaN, duplicates.
#include "audit/faults/mutant_tables.hpp"
#include "audit/faults/reroute.hpp"

namespace sluice::auditing {
namespace {

bool is_sigmoid(const MoeSpec& spec) { return spec.router.score_func == ScoreFunc::sigmoid; }

struct Adder {
  std::vector<Mutant>& list;
  char bug_class;
  void operator()(std::string_view name, std::string_view meaning, std::string_view cases,
                  MakeFault make) const {
    list.push_back({{name, bug_class, meaning, cases}, std::move(make), {}});
  }
};

void add_methods(std::vector<Mutant>& list) {
  const Adder add{list, 'C'};
  add("score-softmax-by-default", "score_func were softmax",
      "llama.cpp#18980, ik_llama#1174, mlx-lm#1883",
      with_spec([](MoeSpec& s) { s.router.score_func = ScoreFunc::softmax; }));
  add("score-every-sigmoid-normalised", "norm_topk_prob were true for every sigmoid model",
      "vllm#34673 (mapped to DeepSeekV3)",
      with_spec_when(is_sigmoid, [](MoeSpec& s) { s.router.norm_topk_prob = true; }));
  add("score-sqrt-softplus-as-sigmoid", "sqrt_softplus were sigmoid", "transformers#48647",
      with_spec_when(
          [](const MoeSpec& s) { return s.router.score_func == ScoreFunc::sqrt_softplus; },
          [](MoeSpec& s) { s.router.score_func = ScoreFunc::sigmoid; }));
  add("score-order-before", "score_order were before_topk", "transformers#41663",
      with_spec([](MoeSpec& s) { s.router.score_order = ScoreOrder::before_topk; }));
  add("correction-bias-dropped", "e_score_correction_bias were absent",
      "llama.cpp#18980, flashinfer (ignored for methods 0, 1, 3 … 6, 8, 9)",
      with_spec([](MoeSpec& s) {
        s.router.e_score_correction_bias = false;
        s.router.weights_from_biased_scores = false;
      }));
  add("correction-bias-in-weights", "weights gathered the biased scores", "llama.cpp#18071",
      router_fault({.bias_in_weights = true}));
  add("biased-weights-ignored", "weights_from_biased_scores were false", "mlx-lm#1883",
      with_spec([](MoeSpec& s) { s.router.weights_from_biased_scores = false; }));
  add("router-bias-dropped", "router_bias were absent", "ktransformers#1862",
      with_spec([](MoeSpec& s) { s.router.router_bias = false; }));
  add("score-by-subtraction", "scores were recovered as (s + b) - b in fp32", "flashinfer#3875",
      router_fault({.score_by_subtraction = true}));
  add("group-limit-dropped", "n_group were 1", "vllm#13474",
      with_spec([](MoeSpec& s) { s.router.n_group = s.router.topk_group = 1; }));
  add("group-one-more", "topk_group were one more", "vllm#13474",
      router_fault({.off_by_one_group = true}));
  add("group-score-top1", "groups were ranked by their best expert alone", "vllm#13474",
      router_fault({.group_score_top1_for_top2 = true}));
  add("group-score-sum-for-max", "group_score were sum_of_top2", "vllm#13474",
      with_spec([](MoeSpec& s) { s.router.group_score = GroupScore::sum_of_top2; }));
  add("group-score-without-bias", "groups were ranked by unbiased scores", "vllm#13474",
      router_fault({.group_score_without_bias = true}));
  add("group-mask-zero", "masked experts scored 0 instead of -inf", "vllm#13474",
      router_fault({.group_mask_zero = true}));
  add("negative-logits-lose", "no negative score could be chosen",
      "flashinfer#2822 (cosine .24, GSM8K 0)", router_fault({.no_negative_scores = true}));
  add("norm-dropped", "norm_topk_prob were false", "flashinfer#2889",
      with_spec([](MoeSpec& s) { s.router.norm_topk_prob = false; }));
  add("norm-always", "norm_topk_prob were true", "vllm#34673",
      router_fault({.normalise_always = true}));
  add("norm-single-skipped", "norm_single_expert were false",
      "megablocks#87 (K = 1 alone was normalised wrongly)",
      with_spec([](MoeSpec& s) { s.router.norm_single_expert = false; }));
  add("norm-twice", "the weights were normalised twice", "PaddleFleet#1051",
      router_fault({.normalise_twice = true}));
  add("norm-over-all-experts", "the weights were divided by the sum over all experts",
      "transformers#41663", router_fault({.normalise_over_all = true}));
  add("norm-after-scale", "the factor were applied before the normalisation, which divides it out",
      "sglang#31449", router_fault({.normalise_after_scale = true}));
  add("norm-eps-dropped", "norm_eps were 0", "flashinfer#3803, flashinfer#3946",
      with_spec([](MoeSpec& s) { s.router.norm_eps = 0.0; }));
  add("norm-eps-added-for-clamp", "norm_rule were add", "flashinfer#3946",
      with_spec([](MoeSpec& s) { s.router.norm_rule = NormRule::add; }));
  add("raw-logits-as-weights", "the raw logits were the weights when norm_topk_prob is false",
      "sglang#35160", router_fault({.raw_logits_as_weights = true}));
  add("wrong-at-128-of-8", "the two first slots swapped weights at E = 128, K = 8 only",
      "vLLM-metax#270", router_fault_when([](const MoeSpec& s, std::int64_t) {
        const bool there = s.router.num_experts == 128 && s.router.top_k == 8;
        return there ? RouterFaults{.swap_first_two = true} : RouterFaults{};
      }));
  add("slots-by-id", "ids were sorted and weights were not", "transformers#41663",
      router_fault({.slots_by_id = true}));
  add("factor-weights-off-by-one-slot", "each slot carried its neighbour's weight",
      "vLLM-metax#270", router_fault({.swap_first_two = true}));
}

void add_precision(std::vector<Mutant>& list) {
  const Adder add{list, 'D'};
  add("correction-bias-in-bf16", "e_score_correction_bias were rounded to bf16",
      "sglang#37133, flashinfer grouped kernel", router_fault({.bf16_bias = true}));
  add("logits-in-bf16", "router_logits_dtype were bf16", "sglang#33764",
      router_fault({.bf16_logits = true}));
  add("logits-in-bf16-above-8-tokens", "logits were rounded to bf16 for more than 8 tokens",
      "vllm#54048", router_fault_when([](const MoeSpec&, std::int64_t tokens) {
        return RouterFaults{.bf16_logits = tokens > 8};
      }));
  add("logits-not-rounded", "router_logits_dtype were f32", "vllm#25711",
      with_spec([](MoeSpec& s) { s.router.router_logits_dtype = LogitsDType::f32; }));
  add("weights-in-bf16", "the routing weights were rounded to bf16", "vllm#25711",
      router_fault({.bf16_weights = true}));
  add("norm-sum-in-bf16", "the normalising sum were accumulated in bf16", "sglang#33764",
      router_fault({.sum_in_bf16 = true}));
  add("sigmoid-by-tanh", "sigmoid were 0.5 (1 + tanh(x/2)), which is 0 below -17",
      "docs/semantics.md §1 (the tanh form)", router_fault({.tanh_sigmoid = true}));
}

void add_ties(std::vector<Mutant>& list) {
  const Adder add{list, 'M'};
  add("tie-higher-id", "ties went to the higher expert id", "sglang#31768",
      router_fault({.tie_higher_id = true}));
  add("tie-epsilon", "expert ids times 1e-4 were added to break ties",
      "sglang#31768 (.4 to 9.8 % of tokens change)", router_fault({.tie_epsilon = 1e-4}));
  add("nan-repeats-expert", "a NaN row went to one expert K times", "vllm#39391, flashinfer#3011",
      router_fault({.nan_repeats_expert = true}));
  add("nan-wins", "NaN scores were the highest", "vllm#39391", router_fault({.nan_wins = true}));
  add("nan-weights-kept", "non-finite scores became weights", "vllm#39391",
      router_fault({.nan_weights_kept = true}));
  add("nan-poisons-batch", "one NaN row spread to every token", "vllm#39391",
      on_forward([](Call& call) {
        bool poisoned = false;
        const TensorView& logits = call.input.router_logits;
        for (std::int64_t i = 0; logits && i < logits.shape.elements(); ++i) {
          const float x = load_float(logits.data, logits.dtype, i);
          poisoned = poisoned || x != x;
        }
        if (!poisoned) return call.forward();
        edit_output(call, [](std::span<float> out) {
          for (float& value : out) value = 0.0f;
        });
      }));
}

}  // namespace

void add_routing_mutants(std::vector<Mutant>& list) {
  add_methods(list);
  add_precision(list);
  add_ties(list);
}

}  // namespace sluice::auditing
