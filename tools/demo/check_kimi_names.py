#!/usr/bin/env python3
"""Checks a Kimi-Linear checkpoint in the released layout against transformers.

Reads the file's own names, maps them to transformers' module names here, independently of transformers' converter, loads
them strictly, and requires the logits of `from_pretrained` bit for bit; then that writing the model out again gives the
file's names, shapes, dtypes and values.

    check_kimi_names.py demo/kimi-linear-tiny
"""

import pathlib
import re
import sys

import torch
from safetensors.torch import load_file
from transformers import KimiLinearConfig, KimiLinearForCausalLM

import train_kimi


def to_transformers(released: dict, config) -> dict:
    out = {}
    for name, t in released.items():
        if re.search(r"\.(w[123])\.weight$|\.[kv]_conv1d\.weight$", name) and "shared" not in name:
            continue  # gathered below, from expert 0 or the q stream
        name = name.replace(".block_sparse_moe.", ".mlp.")
        if match := re.search(r"self_attn\.(f_a_proj|f_b_proj|dt_bias|A_log)", name):
            name = name.replace(f"self_attn.{match[1]}", f"self_attn.forget_gate.{match[1]}")
        if name.endswith("q_conv1d.weight"):
            streams = [released[name.replace("q_conv1d", s + "_conv1d")] for s in "qkv"]
            name, t = name.replace("q_conv1d", "conv1d"), torch.cat(streams)
        out[name] = t
    for layer, kind in enumerate(config.mlp_layer_types):
        if kind == "sparse":
            stem = f"model.layers.{layer}.block_sparse_moe.experts."
            w = lambda e, which: released[f"{stem}{e}.{which}.weight"]
            experts = range(config.num_local_experts)
            target = f"model.layers.{layer}.mlp.experts."
            out[target + "gate_up_proj"] = torch.stack([torch.cat((w(e, "w1"), w(e, "w3"))) for e in experts])
            out[target + "down_proj"] = torch.stack([w(e, "w2") for e in experts])
    return out


@torch.no_grad()
def main(folder: pathlib.Path) -> None:
    released = load_file(folder / "model.safetensors")
    config = KimiLinearConfig.from_pretrained(folder)
    loaded = KimiLinearForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    mapped = KimiLinearForCausalLM(config).float().eval()
    mapped.load_state_dict({k: v.float() for k, v in to_transformers(released, config).items()}, strict=True)
    ids = torch.arange(100).remainder(config.vocab_size).view(1, -1)
    assert torch.equal(loaded(ids).logits, mapped(ids).logits), "logits differ"
    again = train_kimi.released_tensors(mapped)
    assert again.keys() == released.keys(), again.keys() ^ released.keys()
    for name, t in released.items():
        assert again[name].dtype == t.dtype and again[name].shape == t.shape and torch.equal(again[name], t), name
    dtypes = sorted({str(t.dtype) for t in released.values()})
    print(f"{folder}: {len(released)} tensors ({', '.join(dtypes)}) map one to one; logits equal bit for bit")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
