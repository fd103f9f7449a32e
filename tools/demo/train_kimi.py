#!/usr/bin/env python3
"""Trains transformers' KimiLinearForCausalLM on the word problems and saves it in the released (Moonshot) layout.

transformers' chunked KDA walks its chunks and their rows one by one. `FastKimi` computes the same function in chunks of
32, solved by substitution and compiled; every run compares the two first.
"""

import argparse
import json
import math
import pathlib

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import KimiLinearConfig, KimiLinearForCausalLM

import train_tokenizer
import training
from train_afmoe import linear, swiglu


def released_config(a, vocab, eos, pad, bos) -> dict:
    """config.json with the keys of moonshotai/Kimi-Linear-48B-A3B-Instruct; layer lists are 1-based."""
    full = a.full_layers
    return {
        "architectures": ["KimiLinearForCausalLM"], "model_type": "kimi_linear", "dtype": "bfloat16",
        "vocab_size": vocab, "hidden_size": a.hidden, "head_dim": a.hidden // a.heads, "intermediate_size": a.dense_width,
        "num_hidden_layers": a.layers, "num_attention_heads": a.heads, "num_key_value_heads": a.heads,
        "q_lora_rank": None, "kv_lora_rank": a.kv_rank, "qk_nope_head_dim": a.nope, "qk_rope_head_dim": a.rope,
        "v_head_dim": a.v_dim, "mla_use_nope": True, "num_experts": a.experts, "num_experts_per_token": a.top_k,
        "num_shared_experts": 1, "moe_intermediate_size": a.moe_width, "moe_router_activation_func": "sigmoid",
        "moe_renormalize": True, "routed_scaling_factor": a.factor, "use_grouped_topk": True, "num_expert_group": 1,
        "topk_group": 1, "first_k_dense_replace": 1, "moe_layer_freq": 1,
        "linear_attn_config": {"full_attn_layers": list(full), "kda_layers": [i for i in range(1, a.layers + 1) if i not in full],
                               "num_heads": a.kda_heads, "head_dim": a.kda_dim, "short_conv_kernel_size": 4},
        "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "rope_scaling": None,
        "model_max_length": 1024, "initializer_range": 0.02, "num_nextn_predict_layers": 0, "tie_word_embeddings": False,
        "use_cache": True, "bos_token_id": bos, "eos_token_id": eos, "pad_token_id": pad}


def rms(x, weight, eps):
    """Llama's order: cast, then weight."""
    h = x.float()
    return weight.to(x.dtype) * (h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype)


def unit(x):
    return x / torch.sqrt(x.pow(2).sum(-1, keepdim=True) + 1e-6)


CHUNK = 32


def inside_chunks(q, k, v, g, beta):
    """The part of the gated delta rule that chunks do apart. q, k, g [B, L, H, K], v [B, L, H, V], beta [B, L, H], fp32;
    results [B, H, chunks, CHUNK, .]: value and key of the rank-one updates, attention inside the chunk, q and k decayed
    to the chunk's start and end, and the decay over the whole chunk."""
    batch, length, heads, width = k.shape
    short = -length % CHUNK
    cut = lambda x: F.pad(x, (0, 0, 0, 0, 0, short)).reshape(batch, -1, CHUNK, heads, x.shape[-1]).permute(0, 3, 1, 2, 4)
    q, k, v, g, beta = cut(unit(q) * width ** -0.5), cut(unit(k)), cut(v), cut(g), cut(beta.unsqueeze(-1))
    total = g.cumsum(-2)  # log decay since the chunk's start
    # Only non-positive differences are exponentiated.
    ahead = torch.ones(CHUNK, CHUNK, dtype=torch.bool, device=q.device).triu(1)
    decay = (total.unsqueeze(-2) - total.unsqueeze(-3)).masked_fill(ahead[..., None], -1e30).exp()
    own = (q.unsqueeze(-2) * k.unsqueeze(-3) * decay).sum(-1)
    lower = (k.unsqueeze(-2) * k.unsqueeze(-3) * decay).sum(-1).tril(-1) * beta
    # Substitution, not the cheaper product (I+N)(I+N^2)(I+N^4)... of N = -lower: where keys repeat, N's powers grow to
    # 1e8 and cancel, and trained weights do that.
    both = torch.cat((v * beta, k * beta * total.exp()), -1)
    solved = torch.linalg.solve_triangular(lower, both, upper=False, unitriangular=True)
    last = total[..., -1:, :]
    return (*solved.split([v.shape[-1], width], -1), own, q * total.exp(),
            (k * (last - total).exp()).transpose(-1, -2), last.transpose(-1, -2).exp())


def across_chunks(value, key, own, q_in, k_out, fade):
    """Carries the state [B, H, K, V] from chunk to chunk; returns [B, L', H, V]."""
    state = torch.zeros(*value.shape[:2], key.shape[-1], value.shape[-1], device=value.device)
    out = []
    for c in range(value.shape[2]):
        new = value[:, :, c] - key[:, :, c] @ state
        out.append(q_in[:, :, c] @ state + own[:, :, c] @ new)
        state = state * fade[:, :, c] + k_out[:, :, c] @ new
    return torch.stack(out, 2).flatten(2, 3).transpose(1, 2)


class FastKimi:
    """ids [B, L], routed_scaling_factor -> final hidden states [B, L, H]; `counts` holds the tokens per expert."""

    def __init__(self, model, dtype, compile_layers):
        self.model, self.config, self.dtype = model, model.config, dtype
        self.plain = {"kda_in": self.kda_in, "kda_out": self.kda_out, "mla": self.mla}
        # The scan over chunks stays outside: unrolled, it takes minutes to compile.
        self.functions = {n: torch.compile(f, dynamic=False) for n, f in self.plain.items()} if compile_layers else self.plain
        self.counts = []

    def kda_in(self, x, p):
        c = self.config
        h = rms(x, p["input_layernorm.weight"], c.rms_norm_eps)
        batch, length, _ = h.shape
        heads, width = c.linear_num_heads, c.linear_head_dim
        u = torch.cat([linear(h, p[f"self_attn.{n}_proj.weight"]) for n in "qkv"], -1).float()
        taps = p["self_attn.conv1d.weight"][:, 0]
        padded = F.pad(u, (0, 0, 3, 0))
        u = F.silu(sum(padded[:, j : j + length] * taps[:, j] for j in range(4)))
        q, k, v = u.reshape(batch, length, 3, heads, width).unbind(2)
        f = linear(linear(h, p["self_attn.forget_gate.f_a_proj.weight"]), p["self_attn.forget_gate.f_b_proj.weight"])
        f = (f.float() + p["self_attn.forget_gate.dt_bias"]).reshape(batch, length, heads, width)
        g = -p["self_attn.forget_gate.A_log"].exp() * F.softplus(f)
        beta = torch.sigmoid(linear(h, p["self_attn.b_proj.weight"]).float())
        z = linear(linear(h, p["self_attn.g_a_proj.weight"]), p["self_attn.g_b_proj.weight"])
        return z, inside_chunks(q, k, v, g, beta)

    def kda_out(self, x, z, o, p, scale, real):
        c = self.config
        o = o[:, : x.shape[1]]
        o = o * torch.rsqrt(o.pow(2).mean(-1, keepdim=True) + c.rms_norm_eps) * p["self_attn.o_norm.weight"]
        o = (o * torch.sigmoid(z.float()).reshape(o.shape)).to(x.dtype).reshape(*x.shape[:2], -1)
        return self.feed_forward(x + linear(o, p["self_attn.o_proj.weight"]), p, scale, real)

    def mla(self, x, p, scale, real):
        h = rms(x, p["input_layernorm.weight"], self.config.rms_norm_eps)
        return self.feed_forward(x + self.mixer_mla(h, p), p, scale, real)

    def mixer_mla(self, h, p):
        c = self.config
        batch, length, _ = h.shape
        q = linear(h, p["self_attn.q_proj.weight"]).reshape(batch, length, -1, c.qk_head_dim).transpose(1, 2)
        latent, k_pe = linear(h, p["self_attn.kv_a_proj_with_mqa.weight"]).split([c.kv_lora_rank, c.qk_rope_head_dim], -1)
        latent = rms(latent, p["self_attn.kv_a_layernorm.weight"], 1e-6)
        kv = linear(latent, p["self_attn.kv_b_proj.weight"]).reshape(batch, length, -1, c.qk_nope_head_dim + c.v_head_dim)
        k, v = kv.transpose(1, 2).split([c.qk_nope_head_dim, c.v_head_dim], -1)
        k = torch.cat((k, k_pe[:, None].expand(-1, k.shape[1], -1, -1)), -1)
        ahead = torch.ones(length, length, dtype=torch.bool, device=h.device).triu(1)
        weight = (q @ k.transpose(-1, -2)).float() * c.qk_head_dim ** -0.5
        o = weight.masked_fill(ahead, float("-inf")).softmax(-1).to(h.dtype) @ v
        return linear(o.transpose(1, 2).reshape(batch, length, -1), p["self_attn.o_proj.weight"])

    def feed_forward(self, x, p, scale, real):
        c = self.config
        h = rms(x, p["post_attention_layernorm.weight"], c.rms_norm_eps).reshape(-1, x.shape[-1])
        counts = None
        if "mlp.gate.weight" not in p:
            m = swiglu(h, p["mlp.gate_proj.weight"], p["mlp.up_proj.weight"], p["mlp.down_proj.weight"])
        else:
            score = torch.sigmoid(F.linear(h.float(), p["mlp.gate.weight"]))
            chosen = torch.topk(score.detach() + p["bias"], c.num_experts_per_tok, dim=-1).indices
            weight = score.gather(1, chosen)
            weight = weight / (weight.sum(-1, keepdim=True) + 1e-20) * scale
            dense = torch.zeros_like(score).scatter(1, chosen, weight)
            gate_up, down = p["mlp.experts.gate_up_proj"], p["mlp.experts.down_proj"]
            experts, width, inner = down.shape
            gate, up = linear(h, gate_up.reshape(-1, width)).reshape(-1, experts, 2 * inner).chunk(2, -1)
            a = (F.silu(gate) * up * dense[:, :, None].to(h.dtype)).reshape(-1, experts * inner)
            m = a @ down.to(h.dtype).transpose(1, 2).reshape(experts * inner, width)
            s = "mlp.shared_experts."
            m = m + swiglu(h, p[s + "gate_proj.weight"], p[s + "up_proj.weight"], p[s + "down_proj.weight"])
            counts = ((dense.detach() > 0) & real).sum(0)
        return x + m.reshape(x.shape), counts

    def forward(self, ids, scale, functions):
        m = self.model.model
        x = F.embedding(ids, m.embed_tokens.weight).to(self.dtype)
        self.counts, real = [], (ids != self.config.pad_token_id).reshape(-1, 1)
        for layer in m.layers:
            p = dict(layer.named_parameters())
            if hasattr(layer.mlp, "experts"):
                p["bias"] = layer.mlp.gate.e_score_correction_bias
            if "self_attn.conv1d.weight" in p:
                z, chunks = functions["kda_in"](x, p)
                x, counts = functions["kda_out"](x, z, across_chunks(*chunks), p, scale, real)
            else:
                x, counts = functions["mla"](x, p, scale, real)
            if counts is not None:
                self.counts.append(counts)
        return rms(x, m.norm.weight, self.config.rms_norm_eps)

    def __call__(self, ids, scale):
        return self.forward(ids, scale, self.functions)

    def eager(self, ids, scale):
        return self.forward(ids, scale, self.plain)


@torch.no_grad()
def initialize(model, a):
    g = torch.Generator().manual_seed(a.seed)
    normal = lambda p, std: p.copy_(torch.randn(p.shape, generator=g).to(p.device) * std)
    for name, p in model.named_parameters():
        if name.endswith("A_log"):
            p.copy_(torch.rand(p.shape, generator=g).to(p.device).mul(15).add(1).log())
        elif name.endswith("dt_bias"):
            dt = torch.exp(torch.rand(p.shape, generator=g) * (math.log(0.1) - math.log(1e-3)) + math.log(1e-3))
            p.copy_((dt + torch.log(-torch.expm1(-dt))).to(p.device))
        elif p.dim() == 1:
            p.fill_(1.0)
        elif name.endswith("conv1d.weight"):
            normal(p, 0.5)
        elif name.endswith("embed_tokens.weight"):
            normal(p, 1.0)
        elif name.endswith("lm_head.weight"):
            normal(p, 0.5 / a.hidden ** 0.5)
        elif name.endswith(("o_proj.weight", "down_proj.weight", "down_proj")):
            normal(p, (p.shape[-1] * a.layers) ** -0.5)
        else:
            normal(p, p.shape[-1] ** -0.5)


def muon_matrices(model):
    found = []
    for name, p in model.named_parameters():
        if p.dim() < 2 or name.endswith(("embed_tokens.weight", "lm_head.weight", "mlp.gate.weight", "conv1d.weight",
                                         "A_log")):
            continue
        if name.endswith("experts.gate_up_proj"):
            found.append((p, (2 * p.shape[0], p.shape[1] // 2, p.shape[2])))
        else:
            found.append((p, (1, *p.shape) if p.dim() == 2 else tuple(p.shape)))
    return found


def released_tensors(model) -> dict:
    """transformers' state under the released names, shapes and dtypes."""
    out = {}
    for name, t in model.state_dict().items():
        t = t.detach().cpu()
        name = name.replace(".forget_gate.", ".")
        if ".mlp.gate." in name or ".mlp.experts." in name or ".mlp.shared_experts." in name:
            name = name.replace(".mlp.", ".block_sparse_moe.")
        if name.endswith("conv1d.weight"):
            for stream, part in zip("qkv", t.float().chunk(3)):
                out[name.replace("conv1d", stream + "_conv1d")] = part
        elif name.endswith("experts.gate_up_proj"):
            for e, both in enumerate(t.bfloat16()):
                stem = name.removesuffix("gate_up_proj") + str(e)
                out[stem + ".w1.weight"], out[stem + ".w3.weight"] = both.chunk(2)
        elif name.endswith("experts.down_proj"):
            stem = name.removesuffix("down_proj")
            out.update({f"{stem}{e}.w2.weight": d for e, d in enumerate(t.bfloat16())})
        elif name.endswith(("A_log", "dt_bias", "o_norm.weight", "e_score_correction_bias")):
            out[name] = t.float()
        else:
            out[name] = t.bfloat16()
    return {k: v.contiguous().clone() for k, v in sorted(out.items())}


def save(model, folder: pathlib.Path, config: dict) -> None:
    save_file(released_tensors(model), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "generation_config.json").write_text(json.dumps(
        {"bos_token_id": config["bos_token_id"], "eos_token_id": [config["eos_token_id"], config["bos_token_id"] + 1],
         "pad_token_id": config["pad_token_id"], "do_sample": False}, indent=2) + "\n")


@torch.no_grad()
def check(model, valid, factor) -> str:
    """This script's forward against transformers', fp32: logit differences relative to the largest logit. A near-tie of the
    router may fall either way, so the share of positions off by more than 1e-4 says more than the largest difference."""
    fast = FastKimi(model, torch.float32, False)
    ids, _ = valid.rows(torch.arange(8, device=valid.device))
    ours, theirs = F.linear(fast(ids, factor), model.lm_head.weight), model(ids).logits
    error = (ours - theirs).abs().amax(-1) / theirs.abs().max()
    return f"median {error.median():.1e}, largest {error.max():.1e}, {100 * (error > 1e-4).float().mean():.2f} % above 1e-4"


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    training.add_arguments(ap)
    ap.add_argument("--hidden", type=int, default=128)
    ap.add_argument("--layers", type=int, default=8)
    ap.add_argument("--full-layers", type=int, nargs="+", default=(3, 6, 8), help="MLA, 1-based; the others are KDA")
    ap.add_argument("--dense-width", type=int, default=256)
    ap.add_argument("--heads", type=int, default=4, help="of MLA")
    ap.add_argument("--kv-rank", type=int, default=48)
    ap.add_argument("--nope", type=int, default=24)
    ap.add_argument("--rope", type=int, default=8)
    ap.add_argument("--v-dim", type=int, default=32)
    ap.add_argument("--kda-heads", type=int, default=2)
    ap.add_argument("--kda-dim", type=int, default=48)
    ap.add_argument("--experts", type=int, default=16)
    ap.add_argument("--top-k", type=int, default=4)
    ap.add_argument("--moe-width", type=int, default=32)
    ap.add_argument("--factor", type=float, default=2.446)
    a = ap.parse_args()
    torch.manual_seed(a.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    _, _, vocab, eos, pad = train_tokenizer.load(a.out)
    config = released_config(a, vocab, eos, pad, eos - 2)
    if a.init_from:
        model = KimiLinearForCausalLM.from_pretrained(a.init_from, dtype=torch.float32).to(device)
    else:
        model = KimiLinearForCausalLM(KimiLinearConfig(**config)).to(device).float()
        initialize(model, a)
    valid = training.Pool(dict(np.load(a.valid)), device)
    print(f"{a.out.name}: {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, fast forward against "
          f"transformers: {check(model, valid, a.factor)}", flush=True)
    fast = FastKimi(model, torch.bfloat16 if device == "cuda" else torch.float32, not a.no_compile)
    biases = [l.mlp.gate.e_score_correction_bias for l in model.model.layers if hasattr(l.mlp, "experts")]
    summary = training.run(model, fast, a.factor, muon_matrices(model), biases, lambda folder: save(model, folder, config), a)
    save(model, a.out, config)
    saved = KimiLinearForCausalLM.from_pretrained(a.out, dtype=torch.float32).to(device)
    summary["check_saved"] = check(saved, valid, a.factor)
    fast = FastKimi(saved, torch.float32, False)
    summary["saved_fp32"] = training.scores(fast.eager, saved.lm_head.weight, valid, a.factor)
    (a.out / "summary.json").write_text(json.dumps(summary, indent=1))
    print(f"{a.out.name} SAVED (fp32, check {summary['check_saved']}) {training.show(summary['saved_fp32'])}", flush=True)


if __name__ == "__main__":
    main()
