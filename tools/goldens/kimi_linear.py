"""Golden Kimi-Linear checkpoints: random tiny KimiLinearForCausalLM models, fp32, eager attention and experts.

tests/data/kimi_linear/<case>/: config.json and the weights, golden.safetensors (ids.N [S] i64, logits.N [n, vocab] f32: the
last n positions of the sequence, all of them if n = S; each sequence computed alone, by the chunked form), greedy.json
(prompt -> 24 tokens, by the recurrent form after a chunked prefill).

Tensor names. released: Moonshot's, as in their checkpoint. save_pretrained: exactly what transformers writes by default.
in_memory: what it writes with save_original_format=False. Config dialects likewise: released, saved, class (the names of
KimiLinearConfig's own fields, which transformers reads but does not write).
"""

import copy
import json
import sys

import torch
from torch import nn
from transformers import KimiLinearConfig, KimiLinearForCausalLM
from transformers.models.kimi_linear import modeling_kimi_linear as hf

import common

FAMILY = "kimi_linear"
GREEDY_STEPS = 24
KEPT_POSITIONS = 12

# full: the 0-based MLA layers. lengths: (tokens, all positions kept?).
CASES = {
    "released": dict(
        names="released", dialect="released", vocab_size=32, hidden_size=24, intermediate_size=24, moe_intermediate_size=8,
        num_hidden_layers=4, full=[2], sparse=[1, 2, 3], num_attention_heads=3, kv_lora_rank=12, qk_rope_head_dim=4,
        qk_nope_head_dim=6, v_head_dim=10, num_local_experts=6, num_experts_per_tok=2, n_shared_experts=1, n_group=2,
        topk_group=1, linear_num_heads=2, linear_head_dim=8, rms_norm_eps=1e-5,
        lengths=[(130, True), (65, False), (64, False), (63, False), (1, True)],
    ),
    "save_pretrained": dict(
        names="save_pretrained", dialect="saved", vocab_size=48, hidden_size=16, intermediate_size=24, moe_intermediate_size=8,
        num_hidden_layers=5, full=[0, 3], sparse=[2, 3, 4], num_attention_heads=2, kv_lora_rank=10, qk_rope_head_dim=6,
        qk_nope_head_dim=4, v_head_dim=6, num_local_experts=6, num_experts_per_tok=3, n_shared_experts=2, n_group=1,
        topk_group=1, linear_num_heads=3, linear_head_dim=8, rms_norm_eps=1e-3, lengths=[(41, True), (3, True)],
    ),
    "in_memory": dict(
        names="in_memory", dialect="class", vocab_size=40, hidden_size=24, intermediate_size=32, moe_intermediate_size=16,
        num_hidden_layers=3, full=[1], sparse=[0, 2], num_attention_heads=4, kv_lora_rank=14, qk_rope_head_dim=2,
        qk_nope_head_dim=5, v_head_dim=7, num_local_experts=6, num_experts_per_tok=3, n_shared_experts=1, n_group=3,
        topk_group=2, norm_topk_prob=False, linear_num_heads=3, linear_head_dim=4, linear_conv_kernel_dim=3,
        rms_norm_eps=1e-4, lengths=[(67, True), (2, True)],
    ),
    "bf16_moe_layer_freq": dict(
        names="released", dialect="released", dtype="bfloat16", moe_layer_freq=2, vocab_size=48, hidden_size=40,
        intermediate_size=24, moe_intermediate_size=8, num_hidden_layers=5, full=[1, 4], sparse=[2, 4],
        num_attention_heads=2, kv_lora_rank=18, qk_rope_head_dim=8, qk_nope_head_dim=12, v_head_dim=14,
        num_local_experts=5, num_experts_per_tok=2, n_shared_experts=1, n_group=1, topk_group=1, linear_num_heads=2,
        linear_head_dim=12, rms_norm_eps=1e-5, lengths=[(80, False), (17, True)],
    ),
    # The weight is divided by itself: routed_scaling_factor, whatever the score.
    "single_expert": dict(
        names="released", dialect="released", vocab_size=32, hidden_size=16, intermediate_size=24, moe_intermediate_size=8,
        num_hidden_layers=3, full=[1], sparse=[1, 2], num_attention_heads=2, kv_lora_rank=8, qk_rope_head_dim=4,
        qk_nope_head_dim=6, v_head_dim=6, num_local_experts=4, num_experts_per_tok=1, n_shared_experts=1, n_group=2,
        topk_group=1, linear_num_heads=2, linear_head_dim=4, rms_norm_eps=1e-5, lengths=[(66, False), (5, True)],
    ),
}


def build_config(case):
    layers = case["num_hidden_layers"]
    own = {k: v for k, v in case.items()
           if k not in ("names", "dialect", "dtype", "full", "sparse", "lengths", "moe_layer_freq")}
    return KimiLinearConfig(
        layer_types=["full_attention" if i in case["full"] else "linear_attention" for i in range(layers)],
        mlp_layer_types=["sparse" if i in case["sparse"] else "dense" for i in range(layers)],
        num_key_value_heads=case["num_attention_heads"], routed_scaling_factor=2.446, max_position_embeddings=512,
        bos_token_id=1, eos_token_id=2, pad_token_id=0, **own)


def build_model(config, state=None):
    config = copy.deepcopy(config)
    config._attn_implementation = "eager"
    config._experts_implementation = "eager"
    model = KimiLinearForCausalLM(config).eval()
    if state is not None:
        model.load_state_dict(state)
    return model


# In the released checkpoint these are F32 beside BF16 weights.
F32_TENSORS = ("conv1d.weight", "A_log", "dt_bias", "o_norm.weight", "e_score_correction_bias")


@torch.no_grad()
def randomise(model, seed, bf16):
    gen = torch.Generator().manual_seed(seed)
    for name, p in model.state_dict().items():
        noise, flat = torch.randn(p.shape, generator=gen), torch.rand(p.shape, generator=gen)
        if name.endswith("A_log"):
            value = (1 + 15 * flat).log()
        elif name.endswith("dt_bias"):  # the inverse softplus of a step between 1e-3 and 1e-1
            dt = torch.exp(flat * 4.6 - 6.9)
            value = dt + torch.log(-torch.expm1(-dt))
        elif name.endswith("e_score_correction_bias"):
            value = flat * 0.6 - 0.3
        elif "norm" in name:
            value = 0.5 + flat
        elif name.endswith("conv1d.weight"):
            value = noise * 0.6
        elif "embed_tokens" in name:
            value = noise
        elif name.endswith("kv_a_proj_with_mqa.weight"):  # small latents, so that kv_a_layernorm's eps shows
            value = noise * 0.05 / p.shape[-1] ** 0.5
        else:
            value = noise * 0.9 / p.shape[-1] ** 0.5
        p.copy_(value.bfloat16().float() if bf16 and not name.endswith(F32_TENSORS) else value)


@torch.no_grad()
def logits_of(model, ids):
    return model(torch.tensor([ids]), use_cache=False).logits[0]


class RouterProbe:
    """Sees every router call: the closest choice of a group or an expert, and how often the bias changed it."""

    def __init__(self, model):
        self.margin, self.tokens, self.changed = float("inf"), 0, 0
        for module in model.modules():
            if isinstance(module, hf.KimiLinearTopkRouter):
                module.register_forward_hook(self.see)

    def see(self, module, args, output):
        scores = output[0].sigmoid()
        biased = scores + module.e_score_correction_bias
        groups = biased.view(len(biased), module.num_group, -1)
        rank = groups.topk(2, dim=-1).values.sum(-1)
        kept = rank.topk(module.topk_group, dim=-1).indices
        mask = torch.full_like(rank, float("-inf")).scatter_(1, kept, 0.0)
        allowed = (groups + mask[..., None]).flatten(1)
        self.margin = min(self.margin, common.selection_margin(rank, module.topk_group),
                          common.selection_margin(allowed, module.top_k))
        unbiased = scores.topk(module.top_k, dim=-1).indices.sort(-1).values
        self.changed += (unbiased != output[2].sort(-1).values).any(-1).sum().item()
        self.tokens += len(scores)


class patched:
    """Replaces an attribute of a transformers module or class for a while."""

    def __init__(self, owner, name, value):
        self.owner, self.name, self.value = owner, name, value

    def __enter__(self):
        self.kept = getattr(self.owner, self.name)
        setattr(self.owner, self.name, self.value)

    def __exit__(self, *_):
        setattr(self.owner, self.name, self.kept)


def exact_softplus_gate(self, h):
    g = self.f_b_proj(self.f_a_proj(h)).double() + self.dt_bias.double()
    g = g.view(*h.shape[:2], -1, self.head_dim)
    return (-torch.exp(self.A_log.double()) * torch.logaddexp(g, torch.zeros_like(g))).float()


def oracle_spread(model, ids):
    """How far the oracle is from itself: with an exactly rounded softplus (it has log(1 + exp x) in fp32), and token by
    token instead of in chunks."""
    base = logits_of(model, ids)
    with patched(hf.KimiLinearForgetGate, "forward", exact_softplus_gate):
        softplus = logits_of(model, ids)
    with torch.no_grad():
        cache, steps = None, []
        for token in ids:
            out = model(torch.tensor([[token]]), past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            steps.append(out.logits[0, 0])
    return common.relative_change(base, softplus), common.relative_change(base, torch.stack(steps))


def sensitivities(config, state, ids):
    """How far the logits move when one parameter is lost: proof that the case can see it."""
    base = logits_of(build_model(config, state), ids)

    def changed(state_edit=None, model_edit=None, **edit):
        other = copy.deepcopy(config)
        for key, value in edit.items():
            setattr(other, key, value)
        model = build_model(other, {k: (state_edit(k, v) if state_edit else v) for k, v in state.items()})
        if model_edit:
            model_edit(model)
        return common.relative_change(base, logits_of(model, ids))

    def latent_eps(model):
        for module in model.modules():
            if isinstance(module, hf.KimiLinearAttention):
                module.kv_a_layernorm.variance_epsilon = 1e-5

    zero = lambda key: lambda k, v: v * 0 if k.endswith(key) else v
    reversed_taps = lambda k, v: v.flip(-1) if k.endswith("conv1d.weight") else v
    out = {
        "routed_scaling_factor": changed(routed_scaling_factor=1.0),
        "e_score_correction_bias": changed(zero("e_score_correction_bias")),
        "norm_topk_prob": changed(norm_topk_prob=not config.norm_topk_prob),
        "A_log": changed(zero("A_log")),
        "dt_bias": changed(zero("dt_bias")),
        "rms_norm_eps": changed(rms_norm_eps=config.rms_norm_eps * 10),
        "kv_a_layernorm_eps": changed(model_edit=latent_eps),
        "o_norm": changed(lambda k, v: torch.ones_like(v) if k.endswith("o_norm.weight") else v),
        "output_gate": changed(zero("g_b_proj.weight")),
        "beta": changed(zero("b_proj.weight")),
        "conv_taps": changed(reversed_taps),
        "shared_experts": changed(zero("shared_experts.down_proj.weight")),
    }
    if config.n_group > 1:
        out["n_group"] = changed(n_group=1, topk_group=1)
    return out


def released_tensors(state, config):
    """In-memory names rewritten to Moonshot's: split convolutions, one tensor per expert, dense layers under mlp."""
    out = {}
    for name, tensor in state.items():
        name = name.replace(".forget_gate.", ".")
        layer = int(name.split(".")[2]) if name.startswith("model.layers.") else None
        if layer is not None and config.mlp_layer_types[layer] == "sparse":
            name = name.replace(".mlp.", ".block_sparse_moe.")
        stem = name.rsplit(".", 1)[0]
        if name.endswith("self_attn.conv1d.weight"):
            for stream, part in zip("qkv", tensor.chunk(3)):
                out[name.replace("conv1d", f"{stream}_conv1d")] = part
        elif name.endswith(".experts.gate_up_proj"):
            gate, up = tensor.chunk(2, dim=1)
            for e in range(len(tensor)):
                out |= {f"{stem}.{e}.w1.weight": gate[e], f"{stem}.{e}.w3.weight": up[e]}
        elif name.endswith(".experts.down_proj"):
            out |= {f"{stem}.{e}.w2.weight": tensor[e] for e in range(len(tensor))}
        else:
            out[name] = tensor
    return out


def released_config(case, config):
    full, layers = [i + 1 for i in case["full"]], range(1, config.num_hidden_layers + 1)
    return dict(
        architectures=["KimiLinearForCausalLM"], bos_token_id=1, dtype=case.get("dtype", "float32"), eos_token_id=2,
        first_k_dense_replace=min(case["sparse"]), head_dim=config.hidden_size // config.num_attention_heads,
        hidden_act="silu", hidden_size=config.hidden_size, initializer_range=0.02,
        intermediate_size=config.intermediate_size, kv_lora_rank=config.kv_lora_rank,
        linear_attn_config=dict(
            full_attn_layers=full, head_dim=config.linear_head_dim, kda_layers=[i for i in layers if i not in full],
            num_heads=config.linear_num_heads, short_conv_kernel_size=config.linear_conv_kernel_dim),
        mla_use_nope=True, model_max_length=512, model_type="kimi_linear",
        moe_intermediate_size=config.moe_intermediate_size, moe_layer_freq=case.get("moe_layer_freq", 1),
        moe_renormalize=config.norm_topk_prob, moe_router_activation_func="sigmoid",
        num_attention_heads=config.num_attention_heads, num_expert_group=config.n_group,
        num_experts=config.num_local_experts, num_experts_per_token=config.num_experts_per_tok,
        num_hidden_layers=config.num_hidden_layers, num_key_value_heads=config.num_key_value_heads,
        num_nextn_predict_layers=0, num_shared_experts=config.n_shared_experts, pad_token_id=0, q_lora_rank=None,
        qk_nope_head_dim=config.qk_nope_head_dim, qk_rope_head_dim=config.qk_rope_head_dim,
        rms_norm_eps=config.rms_norm_eps, rope_scaling=None, rope_theta=10000.0,
        routed_scaling_factor=config.routed_scaling_factor, tie_word_embeddings=False, topk_group=config.topk_group,
        use_cache=True, use_grouped_topk=True, v_head_dim=config.v_head_dim, vocab_size=config.vocab_size)


def class_config(saved):
    """The saved dialect with the class's own field names in place of the checkpoint's."""
    to_class = {v: k for k, v in KimiLinearConfig.attribute_map.items()}
    return {to_class.get(k, k): v for k, v in saved.items()}


def save_checkpoint(case, model, path):
    if case["names"] in ("save_pretrained", "in_memory"):
        model.save_pretrained(path, save_original_format=case["names"] == "save_pretrained")
        if case["dialect"] == "class":
            saved = json.loads((path / "config.json").read_text())
            common.write_json(path / "config.json", class_config(saved), indent=1)
        return
    common.write_json(path / "config.json", released_config(case, model.config), indent=1)
    state = model.state_dict()
    if case.get("dtype") == "bfloat16":
        state = {k: v if k.endswith(F32_TENSORS) else v.bfloat16() for k, v in state.items()}
    common.write_tensors(path / "model.safetensors", released_tensors(state, model.config), format="pt")


def check_reload(case, path, model, ids):
    """transformers reads back what was written. It does not know moe_layer_freq: there it gets the layer list."""
    config = KimiLinearConfig.from_pretrained(path)
    if case.get("moe_layer_freq", 1) != 1:
        config.mlp_layer_types = model.config.mlp_layer_types
    again = KimiLinearForCausalLM.from_pretrained(
        path, config=config, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager").eval()
    assert torch.equal(logits_of(again, ids), logits_of(model, ids)), path


def make(name, case):
    config = build_config(case)
    for seed in range(1, 400):
        model = build_model(config)
        randomise(model, seed, case.get("dtype") == "bfloat16")
        gen = torch.Generator().manual_seed(10_000 + seed)
        sequences = [torch.randint(config.vocab_size, (n,), generator=gen).tolist() for n, _ in case["lengths"]]
        probe = RouterProbe(model)
        logits = [logits_of(model, ids) for ids in sequences]
        if probe.margin < 3e-5:
            continue
        runs, gap = [], float("inf")
        for prompt in (sequences[0][:5], sequences[0][:66]):
            continuation, closest = common.greedy(model, prompt, GREEDY_STEPS)
            runs.append({"prompt": prompt, "continuation": continuation})
            gap = min(gap, closest)
        varied = min(len(set(r["continuation"])) for r in runs)
        if probe.margin < 3e-5 or gap < 2e-3 or varied < 4 or probe.changed < 0.3 * probe.tokens:
            continue
        softplus, recurrent = oracle_spread(model, sequences[0])
        if max(softplus, recurrent) < 3e-6:
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
    for i, (ids, values, (_, whole)) in enumerate(zip(sequences, logits, case["lengths"])):
        tensors |= {f"ids.{i}": torch.tensor(ids), f"logits.{i}": values if whole else values[-KEPT_POSITIONS:]}
    facts = dict(
        seed=seed, names=case["names"], dialect=case["dialect"], closest_choice=f"{probe.margin:.2e}",
        closest_greedy=f"{gap:.2e}", oracle_softplus=f"{softplus:.1e}", oracle_recurrent=f"{recurrent:.1e}",
        moved_by_losing=json.dumps({k: float(f"{v:.2e}") for k, v in moved.items()}),
    )
    common.write_tensors(path / "golden.safetensors", tensors, versions=common.versions(), **facts)
    common.write_json(path / "greedy.json", {"versions": common.versions(), "runs": runs})
    size = common.directory_bytes(path)
    print(f"{name}: {size / 1024:.0f} KiB, {facts}", flush=True)
    assert size <= 150 * 1024, size


if __name__ == "__main__":
    for name in sys.argv[1:] or CASES:
        make(name, CASES[name])
