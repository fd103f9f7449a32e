"""Golden MoE layers: one random tiny layer per family, computed by transformers' own module.

tests/data/moe_layer/<case>.json is the layer's spec (every field that is not neutral, read from the module's code) and
<case>.safetensors holds weights, inputs and results by the names of `sluice layer`, plus router_weight:
hidden_states, router_logits (without router_bias), router_weight -> topk_ids (i32), topk_weights, output; all else f32.
index.json says which class computed each case. Slots are sorted by descending score for choosing: where the module asks
torch.topk for sorted results that is its own order.
"""

import json
import sys

import numpy as np
import torch
import transformers
from torch import nn
from transformers.models.afmoe import modeling_afmoe
from transformers.models.deepseek_v2 import modeling_deepseek_v2
from transformers.models.deepseek_v3 import modeling_deepseek_v3
from transformers.models.deepseek_v4 import modeling_deepseek_v4
from transformers.models.ernie4_5_moe import modeling_ernie4_5_moe
from transformers.models.glm4_moe import modeling_glm4_moe
from transformers.models.gpt_oss import modeling_gpt_oss
from transformers.models.hunyuan_v1_moe import modeling_hunyuan_v1_moe
from transformers.models.kimi_linear import modeling_kimi_linear
from transformers.models.llama4 import modeling_llama4
from transformers.models.minimax_m2 import modeling_minimax_m2
from transformers.models.mixtral import modeling_mixtral
from transformers.models.nemotron_h import modeling_nemotron_h
from transformers.models.olmoe import modeling_olmoe
from transformers.models.qwen3_moe import modeling_qwen3_moe
from transformers.models.qwen3_next import modeling_qwen3_next

import common
from moe_layer_check import check_live, evaluate

OUT = "moe_layer"


class Case:
    """A module, how to call its router, and the spec of what it computes."""

    def __init__(self, module, route, sizes, router, experts=None, layer=None, spread=1.0, tokens=9, routed_only=False):
        num_experts, top_k, hidden, inter = sizes
        self.module, self.route, self.spread, self.tokens, self.routed_only = module, route, spread, tokens, routed_only
        self.spec = {
            "router": {"num_experts": num_experts, "top_k": top_k, **router},
            "experts": {"hidden_size": hidden, "intermediate_size": inter, "activation": "swiglu",
                        "weight_format": "f32", "activation_format": "f32", **(experts or {})},
            "layer": layer or {},
        }


def build(module_class, config_class, *args, **options):
    config = config_class(**options)
    config._experts_implementation = "eager"
    with torch.device("cpu"):
        return module_class(config, *args).eval()


V3_NORM = dict(norm_topk_prob=True, norm_eps=1e-20, norm_rule="add")
PLAIN_NORM = dict(norm_topk_prob=True, norm_eps=0.0, norm_rule="add")


def v3(factor, n_group=1, topk_group=1):
    groups = dict(n_group=n_group, topk_group=topk_group, group_score="sum_of_top2") if n_group > 1 else {}
    return dict(score_func="sigmoid", e_score_correction_bias=True, routed_scaling_factor=factor, **V3_NORM, **groups)


def mixtral():
    m = build(modeling_mixtral.MixtralSparseMoeBlock, transformers.MixtralConfig, hidden_size=24, intermediate_size=24,
              num_local_experts=8, num_experts_per_tok=2)
    return Case(m, lambda x: m.gate(x), (8, 2, 24, 24), dict(score_func="softmax", **PLAIN_NORM))


def qwen3_moe():
    m = build(modeling_qwen3_moe.Qwen3MoeSparseMoeBlock, transformers.Qwen3MoeConfig, hidden_size=32,
              moe_intermediate_size=16, num_experts=12, num_experts_per_tok=4, norm_topk_prob=True)
    return Case(m, lambda x: m.gate(x), (12, 4, 32, 16), dict(score_func="softmax", **PLAIN_NORM), tokens=7)


def olmoe():
    m = build(modeling_olmoe.OlmoeSparseMoeBlock, transformers.OlmoeConfig, hidden_size=40, intermediate_size=16,
              num_experts=10, num_experts_per_tok=5, norm_topk_prob=False)
    return Case(m, lambda x: m.gate(x), (10, 5, 40, 16), dict(score_func="softmax"))


def deepseek_v2():
    m = build(modeling_deepseek_v2.DeepseekV2Moe, transformers.DeepseekV2Config, hidden_size=24, moe_intermediate_size=16,
              n_routed_experts=12, num_experts_per_tok=3, n_group=4, topk_group=2, topk_method="group_limited_greedy",
              routed_scaling_factor=16.0, n_shared_experts=2, num_attention_heads=4)
    router = dict(score_func="softmax", n_group=4, topk_group=2, group_score="max", routed_scaling_factor=16.0)
    return Case(m, lambda x: m.gate(x), (12, 3, 24, 16), router, layer=dict(num_shared_experts=2), tokens=11)


def deepseek_v3():
    m = build(modeling_deepseek_v3.DeepseekV3MoE, transformers.DeepseekV3Config, hidden_size=24, moe_intermediate_size=16,
              n_routed_experts=16, num_experts_per_tok=4, n_group=4, topk_group=2, routed_scaling_factor=2.5,
              n_shared_experts=1, norm_topk_prob=True)
    return Case(m, lambda x: m.gate(x), (16, 4, 24, 16), v3(2.5, 4, 2), layer=dict(num_shared_experts=1), tokens=13)


def deepseek_v4():
    """Routed part only: the shared expert of this family is clamped like the routed ones."""
    m = build(modeling_deepseek_v4.DeepseekV4SparseMoeBlock, transformers.DeepseekV4Config, 3, hidden_size=24,
              moe_intermediate_size=16, n_routed_experts=10, num_experts_per_tok=3, routed_scaling_factor=1.5,
              swiglu_limit=2.0, num_hidden_layers=4)
    router = dict(score_func="sqrt_softplus", e_score_correction_bias=True, routed_scaling_factor=1.5, **V3_NORM)
    return Case(m, lambda x: m.gate(x), (10, 3, 24, 16), router, dict(swiglu_limit=2.0), spread=2.5, routed_only=True)


def glm4_moe():
    m = build(modeling_glm4_moe.Glm4MoeMoE, transformers.Glm4MoeConfig, hidden_size=32, moe_intermediate_size=24,
              n_routed_experts=9, num_experts_per_tok=3, n_group=1, topk_group=1, routed_scaling_factor=2.5,
              n_shared_experts=1, norm_topk_prob=True)
    return Case(m, lambda x: m.gate(x), (9, 3, 32, 24), v3(2.5), layer=dict(num_shared_experts=1), tokens=7)


def glm4_moe_no_norm():
    m = build(modeling_glm4_moe.Glm4MoeMoE, transformers.Glm4MoeConfig, hidden_size=24, moe_intermediate_size=16,
              n_routed_experts=12, num_experts_per_tok=3, n_group=3, topk_group=2, routed_scaling_factor=0.7,
              n_shared_experts=3, norm_topk_prob=False)
    router = v3(0.7, 3, 2)
    for key in V3_NORM:
        del router[key]
    return Case(m, lambda x: m.gate(x), (12, 3, 24, 16), router, layer=dict(num_shared_experts=3))


def minimax_m2():
    m = build(modeling_minimax_m2.MiniMaxM2SparseMoeBlock, transformers.MiniMaxM2Config, hidden_size=24,
              intermediate_size=24, num_local_experts=11, num_experts_per_tok=4)
    router = dict(score_func="sigmoid", e_score_correction_bias=True, **PLAIN_NORM)
    return Case(m, lambda x: m.gate(x, m.e_score_correction_bias), (11, 4, 24, 24), router)


def ernie4_5():
    """moe_norm_min is far above the released 1e-12, so that the clamp binds for some tokens."""
    m = build(modeling_ernie4_5_moe.Ernie4_5_MoeSparseMoeBlock, transformers.Ernie4_5_MoeConfig, hidden_size=24,
              moe_intermediate_size=16, moe_num_experts=14, moe_k=3, moe_num_shared_experts=2, moe_norm_min=0.5)
    router = dict(score_func="softmax", e_score_correction_bias=True, norm_topk_prob=True, norm_eps=0.5, norm_rule="clamp")
    return Case(m, lambda x: m.gate(x), (14, 3, 24, 16), router, layer=dict(num_shared_experts=2), tokens=13)


def gpt_oss():
    m = build(modeling_gpt_oss.GptOssMLP, transformers.GptOssConfig, hidden_size=24, intermediate_size=16,
              num_local_experts=8, num_experts_per_tok=4)
    router = dict(score_func="softmax", score_order="after_topk", router_bias=True)
    experts = dict(swiglu_alpha=1.702, swiglu_beta=1.0, swiglu_limit=7.0, gate_up_bias=True, down_bias=True,
                   gate_up_order="interleaved")
    return Case(m, lambda x: m.router(x), (8, 4, 24, 16), router, experts, spread=6.0)


def llama4():
    m = build(modeling_llama4.Llama4TextMoe, transformers.Llama4TextConfig, hidden_size=24, intermediate_size=32,
              num_local_experts=8, num_experts_per_tok=1)

    def route(x):
        scores, logits = m.router(x)
        weights, ids = scores.topk(1, dim=-1)
        return logits, weights, ids

    router = dict(score_func="sigmoid", score_order="after_topk", apply_router_weight_on_input=True)
    return Case(m, route, (8, 1, 24, 32), router, layer=dict(num_shared_experts=1))


def nemotron_h():
    m = build(modeling_nemotron_h.NemotronHMoE, transformers.NemotronHConfig, hidden_size=32, moe_intermediate_size=24,
              moe_shared_expert_intermediate_size=40, n_routed_experts=12, num_experts_per_tok=3, n_group=2, topk_group=1,
              routed_scaling_factor=2.5, norm_topk_prob=True, mlp_hidden_act="relu2", moe_latent_size=None)
    return Case(m, lambda x: m.gate(x), (12, 3, 32, 24), v3(2.5, 2, 1), dict(activation="relu2"),
                dict(num_shared_experts=1, shared_intermediate_size=40))


def qwen3_next():
    m = build(modeling_qwen3_next.Qwen3NextSparseMoeBlock, transformers.Qwen3NextConfig, hidden_size=24,
              moe_intermediate_size=16, shared_expert_intermediate_size=40, num_experts=13, num_experts_per_tok=6,
              norm_topk_prob=True)
    layer = dict(num_shared_experts=1, shared_intermediate_size=40, shared_expert_gate=True)
    return Case(m, lambda x: m.gate(x), (13, 6, 24, 16), dict(score_func="softmax", **PLAIN_NORM), layer=layer, tokens=8)


def kimi_linear():
    m = build(modeling_kimi_linear.KimiLinearMoE, transformers.KimiLinearConfig, hidden_size=24, moe_intermediate_size=8,
              num_local_experts=16, num_experts_per_tok=5, n_group=2, topk_group=1, routed_scaling_factor=2.446,
              n_shared_experts=2, norm_topk_prob=True)
    return Case(m, lambda x: m.gate(x), (16, 5, 24, 8), v3(2.446, 2, 1), layer=dict(num_shared_experts=2), tokens=12)


def afmoe():
    m = build(modeling_afmoe.AfmoeSparseMoeBlock, transformers.AfmoeConfig, hidden_size=40, moe_intermediate_size=16,
              num_experts=10, num_experts_per_tok=4, num_shared_experts=2, route_scale=2.826)
    return Case(m, lambda x: m.router(x[None], m.expert_bias), (10, 4, 40, 16), v3(2.826), layer=dict(num_shared_experts=2))


def hunyuan_v1():
    m = build(modeling_hunyuan_v1_moe.HunYuanMoEV1Moe, transformers.HunYuanMoEV1Config, hidden_size=24,
              intermediate_size=24, num_experts=8, moe_topk=3)
    return Case(m, lambda x: m.gate(x), (8, 3, 24, 24), dict(score_func="softmax", **PLAIN_NORM),
                layer=dict(num_shared_experts=1))


CASES = [mixtral, qwen3_moe, olmoe, deepseek_v2, deepseek_v3, deepseek_v4, glm4_moe, glm4_moe_no_norm,
         minimax_m2, ernie4_5, gpt_oss, llama4, nemotron_h, qwen3_next, kimi_linear, afmoe, hunyuan_v1]

BIAS_NAMES = ("e_score_correction_bias", "expert_bias")


@torch.no_grad()
def randomise(module, gen, spread):
    """No parameter stays neutral; gate and up, and experts, differ in size so that a swap cannot hide."""
    for name, p in [*module.named_parameters(), *module.named_buffers()]:
        noise = torch.randn(p.shape, generator=gen)
        if name.endswith(BIAS_NAMES):
            p.copy_(torch.rand(p.shape, generator=gen) * 0.6 - 0.3)
        elif name.endswith("bias"):
            p.copy_(noise * 0.5)
        elif p.dim() == 3:
            p.copy_(noise * spread / p.shape[-1] ** 0.5 * torch.linspace(0.6, 1.4, p.shape[0])[:, None, None])
        else:
            p.copy_(noise * 1.2 / p.shape[-1] ** 0.5)


def find(module, *names):
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for name in names:
        if name in tensors:
            return tensors[name].detach()
    return None


def weights_of(case):
    """The module's parameters by the names of `sluice layer`, in the module's own row order."""
    m, gated = case.module, case.spec["experts"]["activation"] != "relu2"
    gate_up = find(m, "experts.gate_up_proj", "experts.up_proj")
    down = find(m, "experts.down_proj")
    if isinstance(m, (modeling_gpt_oss.GptOssMLP, modeling_llama4.Llama4TextMoe)):  # these store [E, in, out]
        gate_up, down = gate_up.transpose(1, 2), down.transpose(1, 2)
    out = {
        "router_weight": find(m, "gate.weight", "router.weight", "router.gate.weight", "gate.wg.weight"),
        "router_bias": find(m, "router.bias"),
        "e_score_correction_bias": find(m, "gate.e_score_correction_bias", "e_score_correction_bias", "expert_bias",
                                        "gate.moe_statics.e_score_correction_bias"),
        "gate_up_proj": gate_up,
        "down_proj": down,
        "gate_up_bias": find(m, "experts.gate_up_proj_bias"),
        "down_bias": find(m, "experts.down_proj_bias"),
        "shared_expert_gate": find(m, "shared_expert_gate.weight"),
    }
    shared = None if case.routed_only else next(
        (getattr(m, n) for n in ("shared_experts", "shared_expert", "shared_mlp") if hasattr(m, n)), None)
    if shared is not None:
        rows = [shared.gate_proj.weight, shared.up_proj.weight] if gated else [shared.up_proj.weight]
        out["shared.gate_up_proj"] = torch.cat(rows).detach()
        out["shared.down_proj"] = shared.down_proj.weight.detach()
    out = {k: v for k, v in out.items() if v is not None}
    for name in ("e_score_correction_bias", "shared_expert_gate"):
        if name in out:
            out[name] = out[name].reshape(-1)
    return out


@torch.no_grad()
def run(case, x):
    """The module's router and output for tokens [T, H]."""
    logits, weights, ids = case.route(x)
    if case.routed_only:
        return logits, weights, ids, case.module.experts(x, ids, weights)
    output = case.module(x[None])
    if isinstance(output, tuple):
        output = output[0]
    return logits, weights, ids, output.reshape(x.shape)


def sort_slots(case, logits, weights, ids, bias):
    """Slots by descending score for choosing; equal to torch.topk's order where the module asks for it."""
    score = {"softmax": lambda t: t.softmax(-1), "sigmoid": torch.sigmoid,
             "sqrt_softplus": lambda t: nn.functional.softplus(t).sqrt()}[case.spec["router"]["score_func"]](logits)
    choice = score if bias is None else score + bias
    order = choice.gather(1, ids).argsort(dim=-1, descending=True)
    return weights.gather(1, order), ids.gather(1, order)


def make(builder):
    name = builder.__name__
    for seed in range(1, 300):
        gen = torch.Generator().manual_seed(seed)
        case = builder()
        randomise(case.module, gen, case.spread)
        hidden = case.spec["experts"]["hidden_size"]
        x = torch.randn(case.tokens, hidden, generator=gen) * (0.5 + torch.rand(case.tokens, 1, generator=gen))
        logits, weights, ids, output = run(case, x)
        # Rounding must not decide a choice: the same experts under noise a hundred times larger.
        noisy = [run(case, x * (1 + 2e-5 * torch.randn(x.shape, generator=gen)))[2] for _ in range(8)]
        if all(torch.equal(n.sort(-1).values, ids.sort(-1).values) for n in noisy):
            break
    else:
        raise SystemExit(f"{name}: no seed is safe")

    tensors = weights_of(case)
    weights, ids = sort_slots(case, logits, weights, ids, tensors.get("e_score_correction_bias"))
    plain_logits = nn.functional.linear(x, tensors["router_weight"]) if "router_bias" in tensors else logits
    tensors |= {"hidden_states": x, "router_logits": plain_logits.float(), "topk_ids": ids.int(), "topk_weights": weights,
                "output": output}
    for flag, group in (("gate_up_bias", "experts"), ("down_bias", "experts"), ("router_bias", "router"),
                        ("e_score_correction_bias", "router"), ("shared_expert_gate", "layer")):
        assert case.spec[group].get(flag, False) == (flag in tensors), (name, flag)

    arrays = {k: v.detach().numpy().astype(np.float64 if v.is_floating_point() else np.int64) for k, v in tensors.items()}
    worst = evaluate(case.spec, arrays).distance(arrays)
    inert = check_live(case.spec, arrays)
    assert worst < 1e-5, (name, worst)
    assert not inert, (name, inert)

    path = common.DATA / OUT
    common.write_json(path / f"{name}.json", case.spec, indent=1)
    source = f"{type(case.module).__module__}.{type(case.module).__name__}"
    common.write_tensors(path / f"{name}.safetensors", tensors, versions=common.versions(), source=source, seed=seed)
    print(f"{name}: {(path / f'{name}.safetensors').stat().st_size / 1024:.0f} KiB, seed {seed}, "
          f"against the formulas {worst:.1e}", flush=True)
    return {"name": name, "source": source, "note": (builder.__doc__ or "").strip()}


if __name__ == "__main__":
    common.fresh_dir(OUT)
    index = [make(builder) for builder in CASES]
    common.write_json(common.DATA / OUT / "index.json", {"versions": common.versions(), "cases": index}, indent=1)
