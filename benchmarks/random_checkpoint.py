#!/usr/bin/env python3
"""Writes an AFMoE checkpoint of a released model's shape with random weights, to measure speed with.

Usage: benchmarks/random_checkpoint.py --shape trinity-nano --like demo/trinity-tiny --out DIR
Needs numpy. trinity-nano: 6.1 billion parameters, 12 GB. The tokenizer, and with it the size of the
vocabulary, is that of --like: embedding and head are small, everything between is the real size.
"""

import argparse
import json
import pathlib
import shutil
import struct

import numpy as np

SHAPES = {
    "trinity-nano": dict(hidden_size=1024, num_hidden_layers=56, num_dense_layers=2,
                         num_attention_heads=8, num_key_value_heads=2, head_dim=128,
                         intermediate_size=3072, moe_intermediate_size=256, num_experts=128,
                         num_experts_per_tok=8, sliding_window=2048, max_position_embeddings=131072),
}
SHARD_BYTES = 4 << 30
POOL = 1 << 24  # random elements, from which every tensor takes a run of its own


def layer_tensors(config: dict, layer: int):
    """(name, shape, dtype) of one layer, in the released names."""
    h, d = config["hidden_size"], config["head_dim"]
    q, kv = config["num_attention_heads"] * d, config["num_key_value_heads"] * d
    stem = f"model.layers.{layer}."
    for norm in ("input_layernorm", "post_attention_layernorm", "pre_mlp_layernorm", "post_mlp_layernorm"):
        yield f"{stem}{norm}.weight", (h,), "F32"
    for name, shape in (("q_proj", (q, h)), ("k_proj", (kv, h)), ("v_proj", (kv, h)),
                        ("gate_proj", (q, h)), ("o_proj", (h, q))):
        yield f"{stem}self_attn.{name}.weight", shape, "BF16"
    for name in ("q_norm", "k_norm"):
        yield f"{stem}self_attn.{name}.weight", (d,), "F32"

    def mlp(prefix: str, width: int):
        yield f"{prefix}gate_proj.weight", (width, h), "BF16"
        yield f"{prefix}up_proj.weight", (width, h), "BF16"
        yield f"{prefix}down_proj.weight", (h, width), "BF16"

    if layer < config["num_dense_layers"]:
        yield from mlp(f"{stem}mlp.", config["intermediate_size"])
        return
    width = config["moe_intermediate_size"]
    yield f"{stem}mlp.router.gate.weight", (config["num_experts"], h), "BF16"
    yield f"{stem}mlp.expert_bias", (config["num_experts"],), "F32"
    yield from mlp(f"{stem}mlp.shared_experts.", width * config["num_shared_experts"])
    for expert in range(config["num_experts"]):
        yield from mlp(f"{stem}mlp.experts.{expert}.", width)


def tensors(config: dict):
    vocab = (config["vocab_size"], config["hidden_size"])
    yield "model.embed_tokens.weight", vocab, "BF16"
    for layer in range(config["num_hidden_layers"]):
        yield from layer_tensors(config, layer)
    yield "model.norm.weight", (config["hidden_size"],), "F32"
    yield "lm_head.weight", vocab, "BF16"


class RandomTensors:
    """Bytes of a tensor: norms near one, the bias small, matrices of deviation 1 / sqrt(columns)."""

    def __init__(self, seed: int):
        self.random = np.random.default_rng(seed)
        self.pool = self.random.standard_normal(POOL, dtype=np.float32)

    def run(self, count: int) -> np.ndarray:
        start = int(self.random.integers(0, POOL))
        return np.take(self.pool, np.arange(start, start + count), mode="wrap")

    def __call__(self, name: str, shape: tuple, dtype: str) -> bytes:
        values = self.run(int(np.prod(shape)))
        if dtype == "F32":
            return (values * np.float32(0.01) + np.float32(name.endswith("norm.weight"))).tobytes()
        bits = (values * np.float32(shape[1] ** -0.5)).view(np.uint32)
        return ((bits + 0x8000) >> 16).astype(np.uint16).tobytes()


def write_shard(path: pathlib.Path, part: list, data: RandomTensors) -> None:
    header, offset = {}, 0
    for name, shape, dtype in part:
        end = offset + int(np.prod(shape)) * (4 if dtype == "F32" else 2)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape, dtype in part:
            file.write(data(name, shape, dtype))


def shards(all_tensors: list):
    part, size = [], 0
    for name, shape, dtype in all_tensors:
        part.append((name, shape, dtype))
        size += int(np.prod(shape)) * (4 if dtype == "F32" else 2)
        if size >= SHARD_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=sorted(SHAPES), required=True)
    parser.add_argument("--like", type=pathlib.Path, required=True, help="checkpoint with the tokenizer")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    config = json.loads((args.like / "config.json").read_text()) | SHAPES[args.shape]
    every = config["global_attn_every_n_layers"]
    config["layer_types"] = ["full_attention" if (i + 1) % every == 0 else "sliding_attention"
                             for i in range(config["num_hidden_layers"])]
    args.out.mkdir(parents=True, exist_ok=True)
    for name in ("generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(args.like / name, args.out / name)
    (args.out / "config.json").write_text(json.dumps(config, indent=2))

    parts = list(shards(list(tensors(config))))
    data = RandomTensors(args.seed)
    index = {}
    for i, part in enumerate(parts):
        file = f"model-{i + 1:05}-of-{len(parts):05}.safetensors"
        write_shard(args.out / file, part, data)
        index |= {name: file for name, _, _ in part}
        print(f"{file}: {len(part)} tensors", flush=True)
    (args.out / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


if __name__ == "__main__":
    main()
