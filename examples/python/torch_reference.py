"""A MoE layer in plain torch, and its audit.

    python examples/python/torch_reference.py

audits the layer below, then the same layer with its routed_scaling_factor lost on the way to the
experts, the bug of vllm#43769. Formulas: docs/semantics.md.
"""

import sys

import torch
import torch.nn.functional as F

import sluice

# What moe() honours. The audit holds it to that, and checks that anything else is refused.
CLAIMS = [
    "router.score_func",
    "router.e_score_correction_bias",
    "router.n_group",
    "router.topk_group",
    "router.norm_topk_prob",
    "router.norm_eps",
    "router.routed_scaling_factor",
    "layer.num_shared_experts",
    "layer.shared_intermediate_size",
    "layer.local_expert_offset",
    "layer.num_local_experts",
]

SCORES = {
    "softmax": lambda x: torch.softmax(x, -1),
    "sigmoid": torch.sigmoid,
    "sqrt_softplus": lambda x: torch.sqrt(F.softplus(x)),
    "none": lambda x: x,
}


def route(spec, weights, router_logits):
    """ids [tokens, K] and weights [tokens, K] float32."""
    scores = SCORES[spec.score_func](router_logits.float())
    biased = scores
    if spec.e_score_correction_bias:  # for choosing only; stays float32
        biased = scores + weights["e_score_correction_bias"].float()
    biased = biased.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    if spec.n_group > 1:
        groups = biased.unflatten(-1, (spec.n_group, -1))
        ranks = groups.topk(min(2, groups.shape[-1]), -1).values.sum(-1)
        best = ranks.sort(dim=-1, descending=True, stable=True).indices[:, : spec.topk_group]
        keep = torch.zeros_like(ranks, dtype=torch.bool).scatter(-1, best, True)
        biased = groups.masked_fill(~keep[..., None], -torch.inf).flatten(-2)
    # A stable sort, because torch.topk leaves open which of two equal experts comes first.
    ids = biased.sort(dim=-1, descending=True, stable=True).indices[:, : spec.top_k]
    chosen = scores.gather(-1, ids)
    chosen = torch.where(chosen.isfinite(), chosen, 0.0)
    if spec.norm_topk_prob and spec.top_k > 1:
        total = chosen.sum(-1, keepdim=True) + spec.norm_eps
        chosen = torch.where(total == 0, 0.0, chosen / total)
    return ids, chosen * spec.routed_scaling_factor


def swiglu(x, gate_up, down):
    """One expert; inputs of both products are rounded to bfloat16, sums are float32."""
    gate, up = (x.bfloat16().float() @ gate_up.float().mT).chunk(2, -1)
    return (F.silu(gate) * up).bfloat16().float() @ down.float().mT


def moe(spec, weights, hidden_states, router_logits, topk_ids, topk_weights):
    if topk_ids is None:
        topk_ids, topk_weights = route(spec, weights, router_logits)
    out = torch.zeros(hidden_states.shape, dtype=torch.float32)
    for local in range(len(weights["down_proj"])):
        token, slot = (topk_ids == spec.local_expert_offset + local).nonzero(as_tuple=True)
        y = swiglu(hidden_states[token], weights["gate_up_proj"][local], weights["down_proj"][local])
        out.index_add_(0, token, y * topk_weights[token, slot, None].float())
    if spec.num_shared_experts:
        out += swiglu(hidden_states, weights["shared.gate_up_proj"], weights["shared.down_proj"])
    return out, topk_ids, topk_weights


def moe_without_factor(spec, weights, *tensors):
    return moe(spec.replace(routed_scaling_factor=1.0), weights, *tensors)


if __name__ == "__main__":
    torch.set_num_threads(1)
    reports = [sluice.audit(fn, CLAIMS, arrays="torch", reports_routing=True)
               for fn in (moe, moe_without_factor)]
    for report in reports:
        print(report.text)
    sys.exit(0 if reports[0].ok and not reports[1].ok else 1)
