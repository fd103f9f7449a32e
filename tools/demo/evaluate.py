#!/usr/bin/env python3
"""Scores a demo checkpoint with transformers itself: greedy exact match and the gold answer's mean negative
log-likelihood per token, with the routed factor right, lost (1) and doubled; and writes the parity files.

    evaluate.py demo/trinity-tiny --problems demo/problems/test.jsonl --json results.json
    evaluate.py demo/trinity-tiny --parity tests/data/demo
"""

import argparse
import json
import pathlib
import time

import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

import train_tokenizer
import training


def factor_key(config) -> str:
    return "route_scale" if config.model_type == "afmoe" else "routed_scaling_factor"


def load(folder, dtype, factor=None):
    config = transformers.AutoConfig.from_pretrained(folder)
    if factor is not None:
        setattr(config, factor_key(config), factor)
    return AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=dtype).eval()


def final_answer(text: str):
    return text.rsplit("####", 1)[1].strip().replace(",", "") if "####" in text else None


@torch.no_grad()
def greedy(model, folder, problems, limit, batch):
    """Completions and their ids, problems of like length together, prompts padded on the left (not at all if batch is 1)."""
    encode, decode, _, eos, pad = train_tokenizer.load(folder)
    prompts = encode([training.prompt_of(p) for p in problems])
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    texts, rows = [None] * len(problems), [None] * len(problems)
    for begin in range(0, len(order), batch):
        index = order[begin : begin + batch]
        width = max(len(prompts[i]) for i in index)
        ids = torch.tensor([[pad] * (width - len(prompts[i])) + prompts[i] for i in index], device=model.device)
        mask = torch.tensor([[0] * (width - len(prompts[i])) + [1] * len(prompts[i]) for i in index], device=model.device)
        made = model.generate(ids, attention_mask=mask, max_new_tokens=limit, do_sample=False, eos_token_id=eos,
                              pad_token_id=pad)[:, width:].tolist()
        for i, row in zip(index, made):
            rows[i] = row[: row.index(eos) + 1] if eos in row else row
            texts[i] = decode([t for t in rows[i] if t != eos])
    return texts, rows


@torch.no_grad()
def gold_nll(model, folder, problems, batch=50):
    encode, _, _, eos, pad = train_tokenizer.load(folder)
    prompts, answers = encode([training.prompt_of(p) for p in problems]), encode([training.completion_of(p) for p in problems])
    rows = sorted(((a, b + [eos]) for a, b in zip(prompts, answers)), key=lambda r: len(r[0]) + len(r[1]))
    total = count = 0
    for i in range(0, len(rows), batch):
        part = rows[i : i + batch]
        width = max(len(a) + len(b) for a, b in part)
        ids = torch.tensor([a + b + [pad] * (width - len(a) - len(b)) for a, b in part], device=model.device)
        mask = torch.tensor([[False] * (len(a) - 1) + [True] * len(b) + [False] * (width - len(a) - len(b)) for a, b in part],
                            device=model.device)
        logits = model(ids).logits[:, :-1].float()
        total += F.cross_entropy(logits[mask], ids[:, 1:][mask], reduction="sum").item()
        count += int(mask.sum())
    return total / count


def score(folder, problems, dtype, factor, limit):
    model = load(folder, dtype, factor)
    if torch.cuda.is_available():
        model = model.cuda()
    begin = time.time()
    texts, _ = greedy(model, folder, problems, limit, 125)
    right = sum(final_answer(t) == final_answer(p["answer"]) for t, p in zip(texts, problems))
    worked = sum(t == training.completion_of(p) for t, p in zip(texts, problems))
    return {"accuracy": right / len(problems), "whole_text": worked / len(problems),
            "nll": gold_nll(model, folder, problems), "seconds": time.time() - begin}


@torch.no_grad()
def tie_gap(model, ids) -> float:
    """Smallest distance between the last chosen expert's selection score and the first left out, over layers and tokens."""
    gaps, hooks, k = [], [], model.config.num_experts_per_tok

    def look(router, args, out):
        bias = router.e_score_correction_bias if hasattr(router, "e_score_correction_bias") else args[1]
        best = (out[0].sigmoid() + bias).topk(k + 1).values
        gaps.append((best[:, k - 1] - best[:, k]).min().item())

    for module in model.modules():
        if type(module).__name__ in ("AfmoeTokenChoiceRouter", "KimiLinearTopkRouter"):
            hooks.append(module.register_forward_hook(look))
    model(torch.tensor([ids]))
    for hook in hooks:
        hook.remove()
    return min(gaps)


@torch.no_grad()
def parity(folder, problems, out: pathlib.Path):
    """ids [n] and fp32 logits [n, vocab] of a prompt with its answer (that of 20 on which no router is near a tie, where
    rounding would decide), and 20 greedy completions, in fp32."""
    out.mkdir(parents=True, exist_ok=True)
    encode, _, _, eos, _ = train_tokenizer.load(folder)
    model = load(folder, torch.float32)
    stem = folder.name.replace("-", "_")
    longest = 300_000 // (4 * model.config.vocab_size)
    candidates = [ids[:longest] for ids in
                  encode([training.prompt_of(p) + training.completion_of(p) for p in problems[:20]])]
    ids = max(candidates, key=lambda ids: tie_gap(model, ids))
    logits = model(torch.tensor([ids])).logits[0]
    save_file({"ids": torch.tensor(ids), "logits": logits.contiguous()}, out / f"{stem}_logits.safetensors",
              metadata={"made_by": "tools/demo/evaluate.py", "transformers": transformers.__version__,
                        "torch": torch.__version__, "dtype": "float32"})
    texts, rows = greedy(model, folder, problems[:20], 160, 1)
    with open(out / f"{stem}_greedy.jsonl", "w") as f:
        for p, text, row in zip(problems, texts, rows):
            f.write(json.dumps({"prompt": training.prompt_of(p), "completion": text, "completion_ids": row}) + "\n")
    print(f"{stem}: {len(ids)} positions of logits, router gap {tie_gap(model, ids):.1e}, 20 completions")


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("folder", type=pathlib.Path)
    ap.add_argument("--problems", type=pathlib.Path, default=pathlib.Path("demo/problems/test.jsonl"))
    ap.add_argument("--count", type=int, default=500)
    ap.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    ap.add_argument("--factors", nargs="*", default=("right", "lost", "doubled"))
    ap.add_argument("--limit", type=int, default=160, help="new tokens at most")
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("--json", type=pathlib.Path)
    ap.add_argument("--parity", type=pathlib.Path, help="write parity files to this folder instead")
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    problems = [json.loads(l) for l in open(a.problems)][: a.count]
    if a.parity:
        parity(a.folder, problems, a.parity)
        return
    config = transformers.AutoConfig.from_pretrained(a.folder)
    right = getattr(config, factor_key(config))
    values = {"right": right, "lost": 1.0, "doubled": 2 * right}
    result = {"model": a.folder.name, "dtype": a.dtype, "problems": len(problems), "transformers": transformers.__version__,
              "torch": torch.__version__}
    for name in a.factors:
        result[name] = score(a.folder, problems, getattr(torch, a.dtype), values[name], a.limit)
        print(f"{a.folder.name} {a.dtype} {name} ({values[name]:g}): {json.dumps(result[name])}", flush=True)
    if a.json:
        a.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
