#!/usr/bin/env python3
"""Generates and encodes training and validation problems with a tokenizer: FOLDER/train.npz and FOLDER/valid.npz."""

import argparse
import pathlib
import time

import numpy as np

import training

if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("tokenizer", type=pathlib.Path)
    ap.add_argument("folder", type=pathlib.Path)
    ap.add_argument("--count", type=int, default=400_000)
    ap.add_argument("--seed", type=int, default=7)
    ap.add_argument("--steps", type=int, nargs=2, default=(5, 6))
    ap.add_argument("--largest", type=int, default=999)
    ap.add_argument("--operand", type=int, default=499)
    ap.add_argument("--width", type=int, default=0, help="leave out the few longer training problems, to waste less")
    ap.add_argument("--workers", type=int, default=1)
    a = ap.parse_args()
    a.folder.mkdir(parents=True, exist_ok=True)
    begin = time.time()
    for name, split, count, workers in (("valid", "validation", 500, 1), ("train", "train", a.count, a.workers)):
        pool = training.encode_pool(a.tokenizer, split, count, a.seed, tuple(a.steps), a.largest, a.operand, workers)
        if a.width and name == "train":
            fits = pool["length"] <= a.width
            pool = {"ids": pool["ids"][fits, : a.width], "start": pool["start"][fits], "length": pool["length"][fits]}
        np.savez(a.folder / f"{name}.npz", **pool)
        print(f"{a.folder.name} {name}: {pool['ids'].shape}, {pool['length'].mean():.0f} tokens, answers "
              f"{(pool['length'] - pool['start']).mean():.0f}; {time.time() - begin:.0f} s", flush=True)
