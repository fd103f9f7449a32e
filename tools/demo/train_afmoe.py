#!/usr/bin/env python3
"""Trains transformers' AfmoeForCausalLM on the word problems and saves it in the released (Trinity) layout.

transformers' expert loop visits experts one by one. `FastAfmoe` computes the same function with every expert on every
token as one wide product, slots not chosen weighted by zero; every run compares the two first.
"""

import argparse
import json
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import AfmoeConfig, AfmoeForCausalLM

import train_tokenizer
import training


def released_config(a, vocab, eos, pad, bos) -> dict:
    """config.json with the keys of arcee-ai/Trinity-Mini."""
    layers = ["full_attention" if (i + 1) % a.global_every == 0 else "sliding_attention" for i in range(a.layers)]
    return {
        "architectures": ["AfmoeForCausalLM"], "model_type": "afmoe", "dtype": "bfloat16", "vocab_size": vocab,
        "hidden_size": a.hidden, "num_hidden_layers": a.layers, "num_dense_layers": a.dense_layers,
        "num_attention_heads": a.heads, "num_key_value_heads": a.kv_heads, "head_dim": a.head_dim,
        "intermediate_size": a.dense_width, "moe_intermediate_size": a.moe_width, "num_experts": a.experts,
        "num_experts_per_tok": a.top_k, "num_shared_experts": 1, "score_func": "sigmoid", "route_norm": True,
        "route_scale": a.route_scale, "n_group": 1, "topk_group": 1, "num_expert_groups": 1, "num_limited_groups": 1,
        "load_balance_coeff": a.bias_rate, "sliding_window": a.window, "global_attn_every_n_layers": a.global_every,
        "layer_types": layers, "mup_enabled": True, "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 10000,
        "rope_scaling": None, "max_position_embeddings": 1024, "attention_dropout": 0.0, "initializer_range": 0.02,
        "tie_word_embeddings": False, "use_cache": True, "use_grouped_mm": True, "bos_token_id": bos,
        "eos_token_id": eos, "pad_token_id": pad}


def rms(x, weight, eps):
    h = x.float()
    return (weight * (h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + eps))).to(x.dtype)


def linear(x, weight):
    return F.linear(x, weight.to(x.dtype))


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat((-b, a), -1) * sin


def swiglu(x, gate, up, down):
    return linear(F.silu(linear(x, gate)) * linear(x, up), down)


class FastAfmoe:
    """ids [B, L], route_scale -> final hidden states [B, L, H]; `counts` holds the tokens per expert of each MoE layer."""

    def __init__(self, model, dtype, compile_layers):
        self.model, self.config, self.dtype = model, model.config, dtype
        self.plain = self.layer
        self.functions = torch.compile(self.layer, dynamic=False) if compile_layers else self.plain
        self.counts = []
        self.tables = {}

    def table(self, length, device):
        if length not in self.tables:
            c = self.config
            half = torch.arange(0, c.head_dim, 2, device=device).float() / c.head_dim
            angle = torch.arange(length, device=device).float()[:, None] / 10000.0 ** half
            angle = torch.cat((angle, angle), -1)
            i = torch.arange(length, device=device)
            distance = i[:, None] - i[None, :]
            self.tables[length] = (angle.cos().to(self.dtype), angle.sin().to(self.dtype),
                                   (distance >= 0) & (distance < c.sliding_window))
        return self.tables[length]

    def parameters_of(self, layer):
        return {name: p for name, p in layer.named_parameters()}

    def layer(self, x, p, scale, cos, sin, window, real):
        """One decoder layer; `window` is None in a full-attention layer; `real` [B*L, 1] leaves padding out of the
        experts' loads."""
        c = self.config
        batch, length, width = x.shape
        h = rms(x, p["input_layernorm.weight"], c.rms_norm_eps)
        split = lambda name: linear(h, p[f"self_attn.{name}.weight"]).reshape(batch, length, -1, c.head_dim)
        q = rms(split("q_proj"), p["self_attn.q_norm.weight"], c.rms_norm_eps).transpose(1, 2)
        k = rms(split("k_proj"), p["self_attn.k_norm.weight"], c.rms_norm_eps).transpose(1, 2)
        v = split("v_proj").transpose(1, 2)
        if window is not None:
            q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        repeat = c.num_attention_heads // c.num_key_value_heads
        k, v = k.repeat_interleave(repeat, 1), v.repeat_interleave(repeat, 1)
        o = F.scaled_dot_product_attention(q, k, v, attn_mask=window, is_causal=window is None)
        o = o.transpose(1, 2).reshape(batch, length, -1) * torch.sigmoid(linear(h, p["self_attn.gate_proj.weight"]))
        o = linear(o, p["self_attn.o_proj.weight"])
        x = x + rms(o, p["post_attention_layernorm.weight"], c.rms_norm_eps)
        h = rms(x, p["pre_mlp_layernorm.weight"], c.rms_norm_eps).reshape(-1, width)
        counts = None
        if "mlp.gate_proj.weight" in p:
            m = swiglu(h, p["mlp.gate_proj.weight"], p["mlp.up_proj.weight"], p["mlp.down_proj.weight"])
        else:
            score = torch.sigmoid(F.linear(h.float(), p["mlp.router.gate.weight"]))
            chosen = torch.topk(score.detach() + p["mlp.expert_bias"], c.num_experts_per_tok, dim=-1).indices
            weight = score.gather(1, chosen)
            weight = weight / (weight.sum(-1, keepdim=True) + 1e-20) * scale
            dense = torch.zeros_like(score).scatter(1, chosen, weight)
            gate_up, down = p["mlp.experts.gate_up_proj"], p["mlp.experts.down_proj"]
            experts, _, inner = down.shape
            gate, up = linear(h, gate_up.reshape(-1, width)).reshape(-1, experts, 2 * inner).chunk(2, -1)
            a = (F.silu(gate) * up * dense[:, :, None].to(h.dtype)).reshape(-1, experts * inner)
            m = a @ down.to(h.dtype).transpose(1, 2).reshape(experts * inner, width)
            s = "mlp.shared_experts."
            m = m + swiglu(h, p[s + "gate_proj.weight"], p[s + "up_proj.weight"], p[s + "down_proj.weight"])
            counts = ((dense.detach() > 0) & real).sum(0)
        return x + rms(m.reshape(x.shape), p["post_mlp_layernorm.weight"], c.rms_norm_eps), counts

    def forward(self, ids, scale, layer_fn):
        c, m = self.config, self.model.model
        cos, sin, window = self.table(ids.shape[1], ids.device)
        x = F.embedding(ids, m.embed_tokens.weight).to(self.dtype) * c.hidden_size ** 0.5
        self.counts, real = [], (ids != c.pad_token_id).reshape(-1, 1)
        for layer, kind in zip(m.layers, c.layer_types):
            x, counts = layer_fn(x, self.parameters_of(layer), scale, cos, sin,
                                 window if kind == "sliding_attention" else None, real)
            if counts is not None:
                self.counts.append(counts)
        return rms(x, m.norm.weight, c.rms_norm_eps)

    def __call__(self, ids, scale):
        return self.forward(ids, scale, self.functions)

    def eager(self, ids, scale):
        return self.forward(ids, scale, self.plain)


@torch.no_grad()
def initialize(model, a):
    """Random start: fan-in scaled matrices, unit embeddings after muP's factor, post-norms scaled by depth."""
    g = torch.Generator().manual_seed(a.seed)
    normal = lambda p, std: p.copy_(torch.randn(p.shape, generator=g).to(p.device) * std)
    for name, p in model.named_parameters():
        if name.endswith("expert_bias"):
            p.zero_()
        elif name.endswith(("post_attention_layernorm.weight", "post_mlp_layernorm.weight")):
            p.fill_(a.post_gain or a.layers ** -0.5)
        elif name.endswith(("q_norm.weight", "k_norm.weight")):
            p.fill_(1.5)
        elif p.dim() == 1:
            p.fill_(1.0)
        elif name.endswith("embed_tokens.weight"):
            normal(p, a.hidden ** -0.5)
        elif name.endswith("lm_head.weight"):
            normal(p, 0.5 / a.hidden ** 0.5)
        else:
            normal(p, p.shape[-1] ** -0.5)


def muon_matrices(model):
    """(parameter, [n, rows, cols]) of all matrices but embeddings, head and routers; gate and up are apart."""
    found = []
    for name, p in model.named_parameters():
        if p.dim() < 2 or name.endswith(("embed_tokens.weight", "lm_head.weight", "router.gate.weight")):
            continue
        if name.endswith("experts.gate_up_proj"):
            found.append((p, (2 * p.shape[0], p.shape[1] // 2, p.shape[2])))
        else:
            found.append((p, (1, *p.shape) if p.dim() == 2 else tuple(p.shape)))
    return found


FP32 = ("layernorm.weight", "q_norm.weight", "k_norm.weight", "model.norm.weight", "expert_bias")


def save(model, folder: pathlib.Path, config: dict) -> None:
    """config.json, generation_config.json and model.safetensors with one tensor per expert and projection."""
    tensors = {}
    for name, t in model.state_dict().items():
        t = t.detach().cpu()
        t = t.float() if name.endswith(FP32) else t.bfloat16()
        if name.endswith("experts.gate_up_proj"):
            stem = name.removesuffix("gate_up_proj")
            for e, both in enumerate(t):
                gate, up = both.chunk(2)
                tensors[f"{stem}{e}.gate_proj.weight"], tensors[f"{stem}{e}.up_proj.weight"] = gate, up
        elif name.endswith("experts.down_proj"):
            stem = name.removesuffix("down_proj")
            tensors.update({f"{stem}{e}.down_proj.weight": d for e, d in enumerate(t)})
        else:
            tensors[name] = t
    save_file({k: v.contiguous().clone() for k, v in sorted(tensors.items())}, folder / "model.safetensors",
              metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "generation_config.json").write_text(json.dumps(
        {k: config[k] for k in ("bos_token_id", "eos_token_id", "pad_token_id")} | {"do_sample": False}, indent=2) + "\n")


@torch.no_grad()
def check(model, valid, factor) -> str:
    """This script's forward against transformers', fp32: logit differences relative to the largest logit. A near-tie of the
    router may fall either way, so the share of positions off by more than 1e-4 says more than the largest difference."""
    fast = FastAfmoe(model, torch.float32, False)
    ids, _ = valid.rows(torch.arange(8, device=valid.device))
    ours, theirs = F.linear(fast(ids, factor), model.lm_head.weight), model(ids).logits
    error = (ours - theirs).abs().amax(-1) / theirs.abs().max()
    return f"median {error.median():.1e}, largest {error.max():.1e}, {100 * (error > 1e-4).float().mean():.2f} % above 1e-4"


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    training.add_arguments(ap)
    ap.add_argument("--hidden", type=int, default=128)
    ap.add_argument("--layers", type=int, default=8)
    ap.add_argument("--dense-layers", type=int, default=1)
    ap.add_argument("--dense-width", type=int, default=256)
    ap.add_argument("--heads", type=int, default=4)
    ap.add_argument("--kv-heads", type=int, default=2)
    ap.add_argument("--head-dim", type=int, default=32)
    ap.add_argument("--experts", type=int, default=16)
    ap.add_argument("--top-k", type=int, default=4)
    ap.add_argument("--moe-width", type=int, default=32)
    ap.add_argument("--window", type=int, default=48)
    ap.add_argument("--global-every", type=int, default=4)
    ap.add_argument("--route-scale", type=float, default=2.826)
    ap.add_argument("--post-gain", type=float, default=0.0, help="initial post-norm weights; 0: layers^-0.5")
    a = ap.parse_args()
    torch.manual_seed(a.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    _, _, vocab, eos, pad = train_tokenizer.load(a.out)
    config = released_config(a, vocab, eos, pad, eos - 1)
    model = AfmoeForCausalLM(AfmoeConfig(**config)).to(device).float()
    if a.init_from:
        model = AfmoeForCausalLM.from_pretrained(a.init_from, dtype=torch.float32).to(device)
    else:
        initialize(model, a)
    for name, p in model.named_parameters():
        p.requires_grad_(not name.endswith("expert_bias"))
    import numpy as np
    valid = training.Pool(dict(np.load(a.valid)), device)
    print(f"{a.out.name}: {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, fast forward against "
          f"transformers: {check(model, valid, a.route_scale)}", flush=True)
    fast = FastAfmoe(model, torch.bfloat16 if device == "cuda" else torch.float32, not a.no_compile)
    biases = [l.mlp.expert_bias for l in model.model.layers if hasattr(l.mlp, "expert_bias")]
    summary = training.run(model, fast, a.route_scale, muon_matrices(model), biases, lambda folder: save(model, folder, config), a)
    save(model, a.out, config)
    saved = AfmoeForCausalLM.from_pretrained(a.out, dtype=torch.float32).to(device)
    summary["check_saved"] = check(saved, valid, a.route_scale)
    fast = FastAfmoe(saved, torch.float32, False)
    summary["saved_fp32"] = training.scores(fast.eager, saved.lm_head.weight, valid, a.route_scale)
    (a.out / "summary.json").write_text(json.dumps(summary, indent=1))
    print(f"{a.out.name} SAVED (fp32, check {summary['check_saved']}) {training.show(summary['saved_fp32'])}", flush=True)


if __name__ == "__main__":
    main()
