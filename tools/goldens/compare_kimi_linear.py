"""Random tiny Kimi-Linear checkpoints: our logits against transformers' in fp32 and in double precision.

    compare_kimi_linear.py SLUICE [--count 72] [--first 0] [--init NAME ...] [--keep DIR]

Per checkpoint the worst position's max|a - b| / max|b| of three distances, over all positions of the prompts and over 32
decoded tokens: ours from double, ours from fp32, fp32 from double. Ours are computed as one ragged batch and again in pieces of
17, 64, 5, 5, ... (prefill), and one token at a time behind the prompt (decode). The decoded tokens are those of the double model;
greedy decoding is the same if our best logit is theirs at every step. Exit 1 if we are further than 1e-5 from double or a token
differs, in a checkpoint of an initialisation that a trained model could have (see STRAINED).
"""

import argparse
import contextlib
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file
from transformers import KimiLinearConfig
from transformers.models.kimi_linear import modeling_kimi_linear as hf

import common
import kimi_linear

STEPS = 32
# What transformers initialises with the given initializer_range, and weights drawn with `gain` / sqrt(columns).
RANGES = {"range 0.02": 0.02, "range 0.05": 0.05, "range 0.2": 0.2, "range 0.5": 0.5}
GAINS = {"gain 0.9": 0.9, "gain 1.4": 1.4, "gain 3": 3.0}
INITS = ["range 0.02", "range 0.05", "gain 0.9", "range 0.02", "range 0.2", "gain 1.4", "range 0.02", "gain 3", "range 0.5"]
# Saturated scores and gates: storing activations in fp32 is by itself worth 1e-5 here.
STRAINED = {"range 0.5", "gain 3"}


class _DoubleTorch:
    """torch as the model's code sees it, with a double in place of fp32."""

    def __getattr__(self, name):
        return torch.float64 if name == "float32" else getattr(torch, name)


@contextlib.contextmanager
def double_precision():
    """A .double() model still casts to fp32 in its code (norms, softmax, the whole delta rule): to double instead."""
    with kimi_linear.patched(hf, "torch", _DoubleTorch()), kimi_linear.patched(torch.Tensor, "float", torch.Tensor.double):
        yield


def random_config(gen, init):
    def pick(*values):
        return values[torch.randint(len(values), (1,), generator=gen).item()]

    layers, experts, chosen = pick(2, 3, 4, 5, 6), pick(4, 5, 6, 7, 8, 12, 16), pick(1, 2, 3, 4)
    groups = 2 if experts >= 8 and pick(True, False) else 1
    full = [pick(True, False, False) for _ in range(layers)]
    if len(set(full)) == 1:
        full[pick(*range(layers))] ^= True
    heads, dense = pick(1, 2, 3, 4, 5), pick(0, 1, 1, 2)
    return KimiLinearConfig(
        vocab_size=pick(29, 64, 131, 257, 300), hidden_size=8 * pick(2, 3, 4, 5, 6, 7, 8, 9, 12, 16),
        intermediate_size=pick(24, 32, 37, 40, 64, 96), moe_intermediate_size=8 * pick(1, 2, 3, 4, 5),
        num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=heads, q_lora_rank=None,
        kv_lora_rank=pick(8, 12, 13, 16, 24, 32, 40), qk_rope_head_dim=pick(2, 4, 6, 8, 16),
        qk_nope_head_dim=pick(4, 5, 6, 8, 10, 16), v_head_dim=pick(4, 6, 7, 8, 10, 16),
        num_local_experts=experts, num_experts_per_tok=chosen, n_shared_experts=pick(1, 1, 2), n_group=groups,
        topk_group=pick(1, 2) if groups == 2 else 1, norm_topk_prob=pick(True, True, True, False),
        routed_scaling_factor=pick(2.446, 2.446, 1.0), linear_num_heads=pick(1, 2, 3, 4, 5),
        linear_head_dim=pick(4, 6, 8, 10, 12, 16, 32), linear_conv_kernel_dim=pick(4, 4, 4, 2, 3),
        layer_types=["full_attention" if f else "linear_attention" for f in full],
        mlp_layer_types=["dense" if i < dense else "sparse" for i in range(layers)],
        rms_norm_eps=pick(1e-5, 1e-5, 1e-6, 1e-3), tie_word_embeddings=False, max_position_embeddings=1024,
        initializer_range=RANGES.get(init, 0.02), pad_token_id=None, bos_token_id=1, eos_token_id=None)


@torch.no_grad()
def randomise(model, init, gen):
    """What transformers initialised stays; a gain redraws everything, further from neutral than the goldens are."""
    for name, p in [*model.named_parameters(), *model.named_buffers()]:
        noise, flat = torch.randn(p.shape, generator=gen), torch.rand(p.shape, generator=gen)
        if name.endswith("e_score_correction_bias"):
            p.copy_(noise * 0.1)
        elif init in RANGES:
            continue
        elif name.endswith("A_log"):
            p.copy_(flat * 4 - 2)
        elif name.endswith("dt_bias"):
            p.copy_(noise * 1.5 - 1)
        elif "norm" in name:
            p.copy_(1 + noise * 0.3)
        elif name.endswith("conv1d.weight"):
            p.copy_(noise * 0.6)
        else:
            p.copy_(noise if "embed" in name else noise * GAINS[init] / p.shape[-1] ** 0.5)


@torch.no_grad()
def forward(model, prompt, continuation=None):
    """Logits of the prompt in one pass and of the steps behind it; without a continuation the greedy one."""
    out = model(torch.tensor([prompt]), use_cache=True)
    tokens, rows = [], [out.logits[0, -1]]
    for step in range(STEPS):
        tokens.append(continuation[step] if continuation else rows[-1].argmax().item())
        step = model(torch.tensor([[tokens[-1]]]), past_key_values=out.past_key_values, use_cache=True)
        rows.append(step.logits[0, -1])
    return out.logits[0], torch.stack(rows), tokens


def ours(sluice, directory, lists, *options):
    (directory / "ids.json").write_text(json.dumps(lists))
    out = directory / "logits.safetensors"
    subprocess.run([sluice, "logits", "--model", directory, "--ids", directory / "ids.json", "--out", out, *options],
                   check=True, stdout=subprocess.DEVNULL)
    return [t.double() for _, t in sorted(load_file(out).items())]


def distance(a, b):
    return common.relative_change(b.double(), a.double())


def compare(sluice, directory, seed, init):
    gen = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    config = random_config(gen, init)
    model = kimi_linear.build_model(config)
    randomise(model, init, gen)
    model.save_pretrained(directory)
    double = kimi_linear.build_model(config, model.state_dict()).double()
    longest = 600 if seed % 8 == 0 else (64, 97, 130, 160)[seed % 4]
    lengths = [longest, torch.randint(2, 60, (1,), generator=gen).item(), 1]
    prompts = [torch.randint(config.vocab_size, (n,), generator=gen).tolist() for n in lengths]

    at_once = ours(sluice, directory, prompts)
    in_pieces = ours(sluice, directory, prompts, "--pieces", "17,64,5")
    prefill, decode, same = [], [], True
    for prompt, *mine in zip(prompts, at_once, in_pieces):
        with double_precision():
            all64, steps64, tokens = forward(double, prompt)
            again = kimi_linear.logits_of(double, prompt + tokens)[len(prompt) - 1:]
        assert distance(steps64, again) < 1e-11, "something in the double model is not double"
        all32, steps32, _ = forward(model, prompt, tokens)
        steps = ours(sluice, directory, prompt + tokens, "--pieces", f"{len(prompt)},1")[0][len(prompt) - 1:]
        for logits in mine:
            prefill.append((distance(logits, all64), distance(logits, all32), distance(all32, all64)))
        decode.append((distance(steps, steps64), distance(steps, steps32), distance(steps32, steps64)))
        same &= steps[:-1].argmax(-1).tolist() == tokens
    return [max(column) for column in (*zip(*prefill), *zip(*decode))], same, lengths


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("sluice")
    parser.add_argument("--count", type=int, default=72)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--init", nargs="+", choices=[*RANGES, *GAINS], default=INITS)
    parser.add_argument("--keep", type=pathlib.Path, help="write the checkpoints here")
    args = parser.parse_args()
    heads = ["ours-f64", "ours-f32", "f32-f64"]
    print(f"{common.versions()}\n{'seed':>4} {'init':<11}{'prefill: ' + ' '.join(heads):<36}{'decode: ' + ' '.join(heads)}")
    results, failed = [], 0
    for seed in range(args.first, args.first + args.count):
        init = args.init[seed % len(args.init)]
        with tempfile.TemporaryDirectory() as temporary:
            directory = args.keep / str(seed) if args.keep else pathlib.Path(temporary)
            directory.mkdir(parents=True, exist_ok=True)
            columns, same, lengths = compare(args.sluice, directory, seed, init)
        wrong = not same or max(columns[0], columns[3]) > 1e-5
        failed += wrong and init not in STRAINED
        results.append((init, columns, same))
        print(f"{seed:4} {init:<11}", *(f"{c:.1e}" for c in columns), lengths, "" if same else "TOKENS DIFFER",
              "*" if wrong else "", flush=True)
    for what, chosen in (("usual", lambda i: i not in STRAINED), ("strained", lambda i: i in STRAINED)):
        rows = [(columns, same) for init, columns, same in results if chosen(init)]
        if rows:
            columns = list(zip(*(c for c, _ in rows)))
            print(f"{what}: {len(rows)} checkpoints, {sum(not same for _, same in rows)} with other tokens; "
                  f"median", *(f"{statistics.median(c):.1e}" for c in columns), "worst", *(f"{max(c):.1e}" for c in columns))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
