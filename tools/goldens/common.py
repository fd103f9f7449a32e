"""What the golden scripts share: versions, random parameters, files, and the checks that a golden can fail."""

import json
import os
import pathlib
import shutil

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import torch
import transformers
from safetensors.torch import save_file

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

DATA = pathlib.Path(__file__).resolve().parents[2] / "tests" / "data"


def versions(*modules):
    """The `versions` entry of every golden file: "torch 2.x, transformers 5.x"."""
    return ", ".join(f"{m.__name__} {m.__version__}" for m in (torch, transformers, *modules))


def fresh_dir(*parts):
    path = DATA.joinpath(*parts)
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def write_json(path, value, indent=None):
    separators = None if indent else (",", ":")
    path.write_text(json.dumps(value, indent=indent, separators=separators, ensure_ascii=False) + "\n")


def write_tensors(path, tensors, **metadata):
    tensors = {name: t.detach().clone().contiguous() for name, t in tensors.items()}
    save_file(tensors, str(path), metadata={k: str(v) for k, v in metadata.items()})
    sort_header(path)


def sort_header(path):
    """safetensors writes metadata in a random order; the same golden should be the same bytes."""
    data = path.read_bytes()
    body = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:body])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode().ljust(body - 8)
    assert len(text) == body - 8
    path.write_bytes(data[:8] + text + data[body:])


def directory_bytes(path):
    return sum(f.stat().st_size for f in path.rglob("*") if f.is_file())


def relative_change(a, b):
    """Largest change of a position's logits against that position's largest logit."""
    return ((a - b).abs().amax(-1) / a.abs().amax(-1)).max().item()


def selection_margin(scores_for_choice, k):
    """Smallest gap between the last chosen and the first not chosen score."""
    if k == scores_for_choice.shape[-1]:
        return float("inf")
    ordered = scores_for_choice.sort(dim=-1, descending=True).values
    return (ordered[..., k - 1] - ordered[..., k]).min().item()


@torch.no_grad()
def greedy(model, prompt, steps):
    """Continuation by generate() with its cache, and the smallest gap between the two best logits.

    The continuation is checked against the same model without a cache."""
    out = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=steps,
        min_new_tokens=steps,
        do_sample=False,
        use_cache=True,
        eos_token_id=None,
        pad_token_id=0,
        bos_token_id=None,
    )[0].tolist()
    logits = model(torch.tensor([out]), use_cache=False).logits[0, len(prompt) - 1 : -1]
    best = logits.topk(2, dim=-1)
    assert best.indices[:, 0].tolist() == out[len(prompt) :], "cache and no cache disagree"
    return out[len(prompt) :], (best.values[:, 0] - best.values[:, 1]).min().item()
