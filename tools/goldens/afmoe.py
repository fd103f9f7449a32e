"""Golden AFMoE checkpoints: random tiny AfmoeForCausalLM models, fp32, eager attention and experts.

tests/data/afmoe/<case>/: config.json and the weights, golden.safetensors (ids.N [S] i64, logits.N [S, vocab] f32: each
sequence computed alone), greedy.json (prompt -> 24 tokens). A seed is taken only if no routing choice and no greedy
step is closer than rounding could decide; every parameter that a case is about must move the logits.
"""

import copy
import json
import sys

import torch
from transformers import AfmoeConfig, AfmoeForCausalLM
from transformers.models.afmoe import modeling_afmoe

import common

FAMILY = "afmoe"
GREEDY_STEPS = 24
ROUTE_SCALE = 2.826

# layout: how expert weights are stored. released: one tensor per expert; fused: what transformers keeps in memory;
# stacked: experts.{gate,up,down}_proj.weight [E, ...]; save_pretrained: the directory exactly as transformers writes it.
# absent: keys removed from config.json. The other keys are the config's.
CASES = {
    "gqa_window": dict(
        layout="released", absent=["layer_types", "rope_parameters"], rope_theta=10000.0,
        vocab_size=56, hidden_size=24, intermediate_size=40, moe_intermediate_size=8, num_hidden_layers=4,
        num_dense_layers=1, num_attention_heads=4, num_key_value_heads=2, head_dim=8, num_experts=6,
        num_experts_per_tok=3, num_shared_experts=1, global_attn_every_n_layers=2, sliding_window=8,
        mup_enabled=True, rms_norm_eps=1e-5, lengths=[29, 8, 1],
    ),
    "fused_two_dense": dict(
        layout="fused", vocab_size=64, hidden_size=24, intermediate_size=24, moe_intermediate_size=8,
        num_hidden_layers=4, num_dense_layers=2, num_attention_heads=3, num_key_value_heads=1, head_dim=16,
        num_experts=6, num_experts_per_tok=2, num_shared_experts=2, sliding_window=5, mup_enabled=False,
        layer_types=["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
        rope_parameters={"rope_type": "default", "rope_theta": 500.0}, rms_norm_eps=1e-3, lengths=[21, 13],
    ),
    "stacked_tied": dict(
        layout="stacked", tie_word_embeddings=True, vocab_size=80, hidden_size=24, intermediate_size=56,
        moe_intermediate_size=8, num_hidden_layers=3, num_dense_layers=0, num_attention_heads=3,
        num_key_value_heads=3, head_dim=12, num_experts=7, num_experts_per_tok=4, num_shared_experts=1,
        sliding_window=6, layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0}, mup_enabled=True, rms_norm_eps=1e-4,
        lengths=[19, 7],
    ),
    "save_pretrained": dict(
        layout="save_pretrained", vocab_size=56, hidden_size=24, intermediate_size=32, moe_intermediate_size=8,
        num_hidden_layers=4, num_dense_layers=1, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
        num_experts=7, num_experts_per_tok=3, num_shared_experts=1, sliding_window=7,
        rope_theta=1000.0, mup_enabled=True, rms_norm_eps=1e-5, lengths=[23, 10],
    ),
    "sharded": dict(
        layout="save_pretrained", max_shard_size="24KB", vocab_size=56, hidden_size=16, intermediate_size=24,
        moe_intermediate_size=8, num_hidden_layers=3, num_dense_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, num_experts=5, num_experts_per_tok=2, num_shared_experts=3,
        sliding_window=4, global_attn_every_n_layers=3, rope_theta=10000.0, mup_enabled=True,
        rms_norm_eps=1e-4, lengths=[11, 3],
    ),
    "bf16_weights": dict(
        layout="released", dtype="bfloat16", absent=["rope_parameters"], vocab_size=64, hidden_size=40,
        intermediate_size=40, moe_intermediate_size=24, num_hidden_layers=3, num_dense_layers=1,
        num_attention_heads=2, num_key_value_heads=1, head_dim=16, num_experts=5, num_experts_per_tok=2,
        num_shared_experts=1, sliding_window=9, rope_theta=10000.0, mup_enabled=True, rms_norm_eps=1e-5,
        lengths=[26, 12],
    ),
    # The weight is divided by itself: route_scale, whatever the score.
    "single_expert": dict(
        layout="released", absent=["rope_parameters"], vocab_size=40, hidden_size=16, intermediate_size=24,
        moe_intermediate_size=8, num_hidden_layers=3, num_dense_layers=1, num_attention_heads=3, num_key_value_heads=1,
        head_dim=6, num_experts=5, num_experts_per_tok=1, num_shared_experts=1, sliding_window=4, rope_theta=10000.0,
        mup_enabled=True, rms_norm_eps=1e-5, lengths=[17, 2],
    ),
}

# Keys of the released configs that AfmoeConfig does not know: they must be read or ignored, never refused.
RELEASED_EXTRAS = dict(
    score_func="sigmoid", route_norm=True, n_group=1, topk_group=1, num_expert_groups=1, num_limited_groups=1,
    load_balance_coeff=0.001, use_grouped_mm=True, rope_scaling=None,
)


def build_config(case):
    own = {k: v for k, v in case.items() if k not in ("layout", "absent", "lengths", "dtype", "max_shard_size")}
    return AfmoeConfig(route_scale=ROUTE_SCALE, max_position_embeddings=256, bos_token_id=0, eos_token_id=1,
                       pad_token_id=None, **own)


def build_model(config, state=None):
    config = copy.deepcopy(config)
    config._attn_implementation = "eager"
    config._experts_implementation = "eager"
    model = AfmoeForCausalLM(config).eval()
    if state is not None:
        model.load_state_dict(state)
    return model


def is_kept_fp32(name):
    return "norm" in name or name.endswith("expert_bias")


@torch.no_grad()
def randomise(model, seed, bf16):
    gen = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=gen)
        if "norm" in name:
            value = 0.5 + torch.rand(p.shape, generator=gen)
        elif name.endswith("expert_bias"):
            value = torch.rand(p.shape, generator=gen) * 0.8 - 0.4
        elif "embed_tokens" in name:
            value = noise * 0.25
        elif "router" in name:
            value = noise * 1.5 / p.shape[-1] ** 0.5
        else:
            value = noise * 1.4 / p.shape[-1] ** 0.5
        p.copy_(value.bfloat16().float() if bf16 and not is_kept_fp32(name) else value)
    model.tie_weights()


@torch.no_grad()
def logits_of(model, ids):
    return model(torch.tensor([ids]), use_cache=False).logits[0]


class RouterProbe:
    """Sees every router call: the closest choice, and how many choices the bias changed."""

    def __init__(self, model):
        self.margin, self.tokens, self.changed = float("inf"), 0, 0
        for module in model.modules():
            if isinstance(module, modeling_afmoe.AfmoeTokenChoiceRouter):
                module.register_forward_hook(self.see)

    def see(self, module, args, output):
        logits, _, chosen = output
        scores = torch.sigmoid(logits)
        self.margin = min(self.margin, common.selection_margin(scores + args[1], module.top_k))
        unbiased = scores.topk(module.top_k, dim=-1).indices
        self.changed += (unbiased.sort(-1).values != chosen.sort(-1).values).any(-1).sum().item()
        self.tokens += logits.shape[0]


def sensitivities(config, state, ids):
    """How far the logits move when one parameter is lost: proof that the case can see it."""
    base = logits_of(build_model(config, state), ids)

    def changed(state_edit=None, **edit):
        other = copy.deepcopy(config)
        for key, value in edit.items():
            setattr(other, key, value)
        tensors = {k: (state_edit(k, v) if state_edit else v) for k, v in state.items()}
        return common.relative_change(base, logits_of(build_model(other, tensors), ids))

    flipped = ["full_attention" if t == "sliding_attention" else "sliding_attention" for t in config.layer_types]
    theta = dict(config.rope_parameters, rope_theta=config.rope_parameters["rope_theta"] * 2)
    ones = lambda key: lambda k, v: torch.ones_like(v) if k.endswith(key) else v
    return {
        "route_scale": changed(route_scale=1.0),
        "expert_bias": changed(lambda k, v: v * 0 if k.endswith("expert_bias") else v),
        "sliding_window": changed(sliding_window=config.sliding_window + 1),
        "layer_types": changed(layer_types=flipped),
        "mup_enabled": changed(mup_enabled=not config.mup_enabled),
        "rope_theta": changed(rope_parameters=theta),
        "rms_norm_eps": changed(rms_norm_eps=config.rms_norm_eps * 10),
        "shared_experts": changed(lambda k, v: v * 0 if "shared_experts.down" in k else v),
        "post_mlp_layernorm": changed(ones("post_mlp_layernorm.weight")),
        "q_norm": changed(ones("q_norm.weight")),
        "attention_gate": changed(lambda k, v: v * 0 if "self_attn.gate_proj" in k else v),
    }


def expert_tensors(state, layout):
    """The model's in-memory (fused) names rewritten to the layout."""
    out = {}
    for name, tensor in state.items():
        if name.endswith(".experts.gate_up_proj") and layout != "fused":
            stem = name.removesuffix("gate_up_proj")
            gate, up = tensor.chunk(2, dim=1)
            parts = {"gate_proj": gate, "up_proj": up}
        elif name.endswith(".experts.down_proj") and layout != "fused":
            stem, parts = name.removesuffix("down_proj"), {"down_proj": tensor}
        else:
            out[name] = tensor
            continue
        for part, stacked in parts.items():
            if layout == "stacked":
                out[f"{stem}{part}.weight"] = stacked
            else:
                out |= {f"{stem}{e}.{part}.weight": stacked[e] for e in range(stacked.shape[0])}
    return out


def save_checkpoint(case, model, path):
    if case["layout"] == "save_pretrained":
        model.save_pretrained(path, max_shard_size=case.get("max_shard_size", "1GB"))
        return
    config = json.loads(model.config.to_json_string(use_diff=False))
    junk = ("id2label", "label2id", "return_dict", "is_encoder_decoder", "output_", "problem_type", "chunk_size", "_")
    config = {k: v for k, v in config.items() if not k.startswith(junk)}
    config |= RELEASED_EXTRAS | {"architectures": ["AfmoeForCausalLM"]}
    theta = config["rope_parameters"]["rope_theta"]
    for key in case.get("absent", []):
        config.pop(key)
    if "rope_parameters" not in config:
        config["rope_theta"] = theta
    config["dtype"] = case.get("dtype", "float32")
    common.write_json(path / "config.json", dict(sorted(config.items())), indent=1)
    state = {k: v for k, v in model.state_dict().items()
             if not (model.config.tie_word_embeddings and k == "lm_head.weight")}
    if case.get("dtype") == "bfloat16":
        state = {k: v if is_kept_fp32(k) else v.bfloat16() for k, v in state.items()}
    common.write_tensors(path / "model.safetensors", expert_tensors(state, case["layout"]), format="pt")


def check_reload(case, path, model, ids):
    """transformers reads back what was written. It does not know the stacked layout."""
    if case["layout"] == "stacked":
        return
    again = AfmoeForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager",
                                             experts_implementation="eager").eval()
    assert torch.equal(logits_of(again, ids), logits_of(model, ids)), path


def make(name, case):
    config = build_config(case)
    for seed in range(1, 400):
        model = build_model(config)
        randomise(model, seed, case.get("dtype") == "bfloat16")
        probe = RouterProbe(model)
        gen = torch.Generator().manual_seed(10_000 + seed)
        sequences = [torch.randint(config.vocab_size, (n,), generator=gen).tolist() for n in case["lengths"]]
        logits = [logits_of(model, ids) for ids in sequences]
        runs, gap = [], float("inf")
        for prompt in (sequences[0][:5], sequences[0][: case["sliding_window"] + 3]):
            continuation, closest = common.greedy(model, prompt, GREEDY_STEPS)
            runs.append({"prompt": prompt, "continuation": continuation})
            gap = min(gap, closest)
        varied = min(len(set(r["continuation"])) for r in runs)
        if probe.margin > 1e-4 and gap > 2e-3 and varied >= 4 and probe.changed > 0.3 * probe.tokens:
            break
    else:
        raise SystemExit(f"{name}: no seed is safe")

    moved = sensitivities(config, model.state_dict(), sequences[0])
    inert = [k for k, v in moved.items() if v < 1e-4]
    assert not inert, (name, inert, moved)

    path = common.fresh_dir(FAMILY, name)
    save_checkpoint(case, model, path)
    check_reload(case, path, model, sequences[0])
    tensors = {}
    for i, (ids, values) in enumerate(zip(sequences, logits)):
        tensors |= {f"ids.{i}": torch.tensor(ids), f"logits.{i}": values}
    facts = dict(
        seed=seed, layout=case["layout"], closest_choice=f"{probe.margin:.2e}", closest_greedy=f"{gap:.2e}",
        moved_by_losing=json.dumps({k: float(f"{v:.2e}") for k, v in moved.items()}),
    )
    common.write_tensors(path / "golden.safetensors", tensors, versions=common.versions(), **facts)
    common.write_json(path / "greedy.json", {"versions": common.versions(), "runs": runs})
    size = common.directory_bytes(path)
    print(f"{name}: {size / 1024:.0f} KiB, seed {seed}, {facts}", flush=True)
    assert size <= 150 * 1024, size


if __name__ == "__main__":
    for name in sys.argv[1:] or CASES:
        make(name, CASES[name])
