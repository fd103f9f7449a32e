#!/usr/bin/env python3
"""Trains many variants at once on one GPU and keeps what they reached.

    explore.py VARIANTS.json RESULTS --minutes 9

VARIANTS.json is a list of {"name", "kind": "afmoe" | "kimi", "tokenizer": [args], "pool": [args], "train": [args],
"from": optional path of a checkpoint to continue, "share": optional part of the time}. Variants with the same tokenizer
and problems share them. RESULTS gets the logs and one tar file of checkpoints per variant.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time

HERE = pathlib.Path(__file__).parent


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("variants", type=pathlib.Path)
    ap.add_argument("results", type=pathlib.Path)
    ap.add_argument("--minutes", type=float, default=9.0, help="until the last training step, data included")
    ap.add_argument("--work", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "sluice-demo")
    a = ap.parse_args()
    begin = time.time()
    until = begin + 60 * a.minutes
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(a.work / "inductor"))
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "2"
    variants = json.loads(a.variants.read_text())
    a.results.mkdir(parents=True, exist_ok=True)
    python = sys.executable
    workers = str(min(os.cpu_count(), 14))
    pools, running = {}, []
    for v in variants:
        folder = a.work / v["name"]
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if v.get("from"):
            for f in pathlib.Path(v["from"]).iterdir():
                shutil.copy(f, folder)
        else:
            subprocess.run([python, HERE / "train_tokenizer.py", v["kind"], folder, *v["tokenizer"]], check=True)
        key = json.dumps([v["kind"], v["tokenizer"], v["pool"]])
        if key not in pools:
            pools[key] = a.work / f"pool{len(pools)}"
            subprocess.run([python, HERE / "make_pools.py", folder, pools[key], "--workers", workers, *v["pool"]],
                           check=True)
        log = open(a.results / f"{v['name']}.log", "w")
        command = [python, HERE / f"train_{v['kind']}.py", "--out", folder, "--pool", pools[key] / "train.npz", "--valid",
                   pools[key] / "valid.npz", "--until", str(begin + (until - begin) * v.get("share", 1.0)), *v["train"]]
        if v.get("from"):
            command += ["--init-from", v["from"]]
        running.append((v["name"], folder, subprocess.Popen([str(c) for c in command], stdout=log, stderr=log)))
        print(f"{time.time() - begin:.0f} s: started {v['name']}", flush=True)
    for name, _, process in running:
        try:
            process.wait(timeout=max(1, until + 55 - time.time()))
        except subprocess.TimeoutExpired:
            process.kill()
            print(f"{name}: killed, did not end in time")
    for name, folder, process in running:
        log = (a.results / f"{name}.log").read_text().splitlines()
        wanted = [l for l in log if l.startswith(name)]
        print("\n".join([wanted[0][:200]] + wanted[-3:] if wanted else log[-12:]), flush=True)
        with tarfile.open(a.results / f"{name}.tar", "w") as tar:
            for made in (folder, folder.with_name(name + "-early")):
                if (made / "summary.json").exists():
                    tar.add(made, made.name)
    with tarfile.open(a.results / "logs.tar.gz", "w:gz") as tar:
        for name, _, _ in running:
            tar.add(a.results / f"{name}.log", f"{name}.log")
            (a.results / f"{name}.log").unlink()
    print(f"{time.time() - begin:.0f} s in all", flush=True)


if __name__ == "__main__":
    main()
