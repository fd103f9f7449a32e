#!/usr/bin/env python3
"""Where a layer's time goes on the GPU: every kernel of a call by itself, by Nsight Compute.

    benchmarks/profile_gpu.py --sluice build/release/bin/sluice --shapes qwen3-30b --tokens 256,1024 [--json OUT]

For each shape and number of tokens it prints one row per kernel: microseconds, megabytes read from and written to memory,
their rate, megabytes that multiprocessors read from the second-level cache, percent of the cycles in which the tensor cores
work, and the clock. Medians over the launches that `sluice bench moe` makes, the first of each kernel left out. Caches and
clocks are left as they are. Kernels do not overlap here, and the GPU rests between them, so that neither their sum nor the
clock of long ones is that of the layer; what each of them waits for is.

Needs a GPU whose counters may be read, ncu and sluice. Exit status: 0, or 2 if a program failed.
"""

import argparse
import collections
import csv
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile

METRICS = {
    "gpu__time_duration.sum": "ns",
    "dram__bytes_read.sum": "read",
    "dram__bytes_write.sum": "written",
    "lts__t_sectors_srcunit_tex_op_read.sum": "sectors",
    "sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_elapsed": "tensor",
    "smsp__cycles_elapsed.avg.per_second": "hertz",
}
UNITS = {"": 1, "%": 1, "ns": 1, "us": 1e3, "ms": 1e6, "byte": 1, "Kbyte": 1e3, "Mbyte": 1e6, "Gbyte": 1e9,
         "sector": 1, "hz": 1, "Ghz": 1e9, "Mhz": 1e6, "cycle/nsecond": 1e9, "cycle/usecond": 1e6}


def fail(message):
    print(message, file=sys.stderr)
    sys.exit(2)


def profile(sluice, shape, tokens, routing, launches):
    """One row per kernel: a dict of medians."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "out.csv")
        command = ["ncu", "--clock-control", "none", "--cache-control", "none", "--graph-profiling", "node",
                   "-k", "regex:(route|place|ffn|combine|combine_dense|stage_dense|stage_sorted|clear|up|down)_kernel", "--launch-count", str(launches),
                   "--metrics", ",".join(METRICS), "--csv", "--log-file", out,
                   sluice, "bench", "moe", "--backend", "cuda", "--shape", shape, "--tokens", str(tokens), "--routing", routing,
                   "--seconds", "0.02"]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except OSError as error:
            fail(f"ncu does not start: {error}")
        if done.returncode != 0 or not os.path.exists(out):
            fail(f"ncu ended with {done.returncode} for {shape}, {tokens} tokens: {done.stderr.strip() or done.stdout.strip()}")
        with open(out) as file:
            lines = [line for line in file if line.startswith('"')]
    seen = collections.defaultdict(lambda: collections.defaultdict(list))
    order = []
    for row in csv.DictReader(lines):
        name = re.search(r"(\w+)_kernel", row["Kernel Name"])
        name = name.group(1) if name else row["Kernel Name"]
        if name not in order:
            order.append(name)
        value = float(row["Metric Value"].replace(",", "")) * UNITS[row["Metric Unit"]]
        seen[name][METRICS[row["Metric Name"]]].append(value)
    if not order:
        fail(f"no kernel was profiled for {shape}, {tokens} tokens: {done.stdout.strip()[-500:]}")
    rows = []
    for name in order:
        of = {key: statistics.median(values[1:] or values) for key, values in seen[name].items()}
        rows.append({"kernel": name, "launches": len(seen[name]["ns"]), "microseconds": of["ns"] / 1e3,
                     "read_megabytes": of["read"] / 1e6, "written_megabytes": of["written"] / 1e6,
                     "terabytes_per_second": (of["read"] + of["written"]) / of["ns"] / 1e3,
                     "cache_megabytes": of["sectors"] * 32 / 1e6, "tensor_percent": of["tensor"],
                     "gigahertz": of["hertz"] / 1e9})
    return rows


def write(report, path):
    """After every row: what a later one fails at loses none of those before."""
    if not path:
        return
    with open(path + ".part", "w") as file:
        json.dump(report, file, indent=1)
    os.replace(path + ".part", path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sluice", default="build/release/bin/sluice", help="the program")
    parser.add_argument("--shapes", default="qwen3-30b", help="names, between commas (sluice bench moe --shapes)")
    parser.add_argument("--tokens", default="1,16,64,256,1024,4096", help="numbers, between commas")
    parser.add_argument("--routing", default="uniform", help="uniform, zipf or hot, between commas")
    parser.add_argument("--launches", type=int, default=24, help="of all kernels together, per row")
    parser.add_argument("--json", help="write the figures here, too")
    args = parser.parse_args()
    report = []
    print("| shape | routing | T | kernel | µs | MB read | MB written | TB/s | MB out of L2 | tensor % | GHz |")
    print("|---|---|--:|---|--:|--:|--:|--:|--:|--:|--:|")
    for shape in args.shapes.split(","):
        for routing, tokens in itertools.product(args.routing.split(","), map(int, args.tokens.split(","))):
            for row in profile(args.sluice, shape, tokens, routing, args.launches):
                report.append({"shape": shape, "routing": routing, "tokens": tokens, **row})
                print(f"| {shape} | {routing} | {tokens} | {row['kernel']} | {row['microseconds']:.1f} | {row['read_megabytes']:.0f} "
                      f"| {row['written_megabytes']:.0f} | {row['terabytes_per_second']:.2f} | {row['cache_megabytes']:.0f} "
                      f"| {row['tensor_percent']:.0f} | {row['gigahertz']:.2f} |", flush=True)
            write(report, args.json)


if __name__ == "__main__":
    main()
