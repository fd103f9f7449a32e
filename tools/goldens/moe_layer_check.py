"""A check on the goldens, not an oracle: the spec's formulas in float64, to prove that each spec says what its module does
and that no field in it is idle."""

import copy
from dataclasses import dataclass

import numpy as np

NEUTRAL = {
    "router": dict(score_func="softmax", score_order="before_topk", router_bias=False, e_score_correction_bias=False,
                   n_group=1, topk_group=1, group_score="sum_of_top2", norm_topk_prob=False, norm_eps=0.0, norm_rule="add",
                   routed_scaling_factor=1.0, apply_router_weight_on_input=False),
    "experts": dict(activation="swiglu", swiglu_alpha=1.0, swiglu_beta=0.0, swiglu_limit=float("inf"), gate_up_bias=False,
                    down_bias=False, gate_up_order="gate_up"),
    "layer": dict(num_shared_experts=0, shared_expert_gate=False),
}
# An eps that only guards against a zero sum moves nothing; a group setting moves together with its partner.
GUARDS = {("router", "norm_eps"), ("router", "norm_rule"), ("router", "topk_group"), ("layer", "shared_intermediate_size")}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


SCORES = {"softmax": softmax, "sigmoid": sigmoid, "sqrt_softplus": lambda x: np.sqrt(np.log1p(np.exp(x)))}


@dataclass
class Result:
    ids: np.ndarray
    weights: np.ndarray
    output: np.ndarray

    def distance(self, want):
        if not np.array_equal(self.ids, want["topk_ids"]):
            return float("inf")
        scale = np.abs(want["output"]).max()
        return max(np.abs(self.output - want["output"]).max() / scale,
                   np.abs(self.weights - want["topk_weights"]).max() / np.abs(want["topk_weights"]).max())


def route(r, logits, bias):
    score = logits if r["score_order"] == "after_topk" else SCORES[r["score_func"]](logits)
    choice = score + bias if r["e_score_correction_bias"] else score.copy()
    tokens, experts = logits.shape
    if r["n_group"] > 1:
        grouped = np.sort(choice.reshape(tokens, r["n_group"], -1), -1)
        rank = grouped[..., -2:].sum(-1) if r["group_score"] == "sum_of_top2" else grouped[..., -1]
        kept = np.argsort(-rank, -1)[:, : r["topk_group"]]
        mask = np.full((tokens, r["n_group"]), -np.inf)
        np.put_along_axis(mask, kept, 0.0, -1)
        choice += np.repeat(mask, experts // r["n_group"], -1)
    ids = np.argsort(-choice, -1, kind="stable")[:, : r["top_k"]]
    weights = np.take_along_axis(score, ids, -1)
    if r["score_order"] == "after_topk":
        weights = SCORES[r["score_func"]](weights)
    if r["norm_topk_prob"]:
        total = weights.sum(-1, keepdims=True)
        weights = weights / (np.maximum(total, r["norm_eps"]) if r["norm_rule"] == "clamp" else total + r["norm_eps"])
    return ids, weights * r["routed_scaling_factor"]


def mlp(e, x, gate_up, down, bias=0.0, plain=False):
    y = gate_up @ x + bias
    if e["activation"] == "relu2":
        return down @ np.maximum(y, 0) ** 2
    if e["gate_up_order"] == "interleaved":
        gate, up = y[0::2], y[1::2]
    else:
        gate, up = np.split(y, 2)
    alpha, beta, limit = (1.0, 0.0, np.inf) if plain else (e["swiglu_alpha"], e["swiglu_beta"], e["swiglu_limit"])
    gate, up = np.minimum(gate, limit), np.clip(up, -limit, limit)
    return down @ (gate * sigmoid(alpha * gate) * (up + beta))


def evaluate(spec, t):
    r, e, layer = ({**NEUTRAL[g], **spec[g]} for g in ("router", "experts", "layer"))
    logits = t["hidden_states"] @ t["router_weight"].T + (t["router_bias"] if r["router_bias"] else 0.0)
    ids, weights = route(r, logits, t.get("e_score_correction_bias"))
    output = np.zeros_like(t["hidden_states"])
    for n, x in enumerate(t["hidden_states"]):
        for k, w in zip(ids[n], weights[n]):
            bias = t["gate_up_bias"][k] if e["gate_up_bias"] else 0.0
            on_input = r["apply_router_weight_on_input"]
            y = mlp(e, x * w if on_input else x, t["gate_up_proj"][k], t["down_proj"][k], bias)
            y = y + (t["down_bias"][k] if e["down_bias"] else 0.0)
            output[n] += y if on_input else w * y
        if layer["num_shared_experts"]:
            gate = sigmoid(t["shared_expert_gate"] @ x) if layer["shared_expert_gate"] else 1.0
            output[n] += gate * mlp(e, x, t["shared.gate_up_proj"], t["shared.down_proj"], plain=True)
    return Result(ids, weights, output)


def check_live(spec, t):
    """Fields whose loss would not move the output."""
    base = evaluate(spec, t).output
    idle = []
    for group, fields in spec.items():
        for key, value in fields.items():
            neutral = NEUTRAL[group].get(key)
            if neutral is None or value == neutral or (group, key) in GUARDS:
                continue
            lost = copy.deepcopy(spec)
            lost[group][key] = neutral
            if key == "n_group":
                lost[group]["topk_group"] = 1
            # Another activation has other shapes; sigmoid is monotonic, so it chooses alike before and after.
            if key == "activation" or (key == "score_order" and spec["router"]["score_func"] == "sigmoid"):
                continue
            if np.abs(evaluate(lost, t).output - base).max() < 1e-3 * np.abs(base).max():
                idle.append(f"{group}.{key}")
    return idle
