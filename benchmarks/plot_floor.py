#!/usr/bin/env python3
"""Percent of the floor against T, one panel per shape, from the JSON of `sluice bench moe --json` and
of peers/compare_gpu.py --json; files of one shape, routing and instruction set share a panel.

    benchmarks/plot_floor.py benchmarks/results/h200/{compare.*,bench.*.uniform*}.json \\
        --out docs/percent-of-floor.svg
    benchmarks/plot_floor.py benchmarks/results/cpu/*.json --out docs/percent-of-floor-cpu.svg

Needs matplotlib.
"""

from __future__ import annotations

import argparse
import json
import pathlib

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

STYLE = {"sluice": ("#c2410c", "o"), "rounded": ("#f59e0b", "."), "triton": ("#1d4ed8", "s"),
         "torch": ("#64748b", "^"), "oneDNN": ("#1d4ed8", "s"), "ggml": ("#0f766e", "^"),
         "ik_llama.cpp": ("#7e22ce", "v")}
LABEL = {"sluice": "Sluice, routing included", "rounded": "the same, slot outputs rounded",
         "triton": "Triton grouped GEMM, routing left out",
         "torch": "torch grouped_mm, sorting left out",
         "oneDNN": "oneDNN, a matmul per expert, routing left out",
         "ggml": "ggml's MoE layer, routing left out",
         "ik_llama.cpp": "ik_llama.cpp's MoE layer, routing left out"}


def curves(report: dict) -> dict[str, list[tuple[int, float]]]:
    """{engine: [(tokens, percent)]}"""
    found: dict[str, list[tuple[int, float]]] = {}
    own = "rounded" if report.get("may_round_slot_outputs") else "sluice"
    for row in report["rows"]:
        if "engines" in row:
            for name, engine in row["engines"].items():
                found.setdefault(name, []).append((row["tokens"], engine["percent_of_floor"]))
        else:
            found.setdefault(own, []).append((row["tokens"], row["percent_of_floor"]["median"]))
        if "peer_milliseconds" in row:  # of the CPU's bench, whose peers are "oneDNN 2.6.3", "ggml …"
            percent = 100 * row["floor_milliseconds"]["median"] / row["peer_milliseconds"]["median"]
            found.setdefault(report["peer"].split()[0], []).append((row["tokens"], percent))
    return found


def instruction_set(report: dict) -> str:
    """Of the CPU's variants, "gemm_<weights>_<activations>_<instruction set>"; else nothing."""
    parts = report.get("variant", "").split("_", 3)
    return parts[3] if report.get("threads") and len(parts) == 4 else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args()
    panels: dict[tuple, dict[str, dict[int, float]]] = {}
    machines = set()
    for file in options.files:
        report = json.loads(file.read_text(encoding="utf-8"))
        machines.add(report["machine"])
        sizes = (report["hidden_size"], report["intermediate_size"], report["num_experts"],
                 report["top_k"])
        panel = panels.setdefault((report["shape"], sizes, report["draw"], instruction_set(report)), {})
        for name, points in curves(report).items():
            panel.setdefault(name, {}).update(points)

    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4.2 * columns, 3.2 * rows), squeeze=False,
                                sharey=True, layout="constrained")
    for axis in axes.flat[len(panels):]:
        axis.set_visible(False)
    top = max(105, *(percent + 5 for panel in panels.values() for points in panel.values()
                     for percent in points.values()))
    for axis, ((shape, sizes, draw, isa), panel) in zip(axes.flat, sorted(panels.items())):
        for name, points in panel.items():
            color, marker = STYLE[name]
            tokens = sorted(points)
            axis.plot(tokens, [points[t] for t in tokens], color=color, marker=marker, markersize=4,
                      label=LABEL[name])
        axis.set(title=f"{shape} {sizes}, {isa or draw}", xlabel="tokens", ylim=(0, top))
        axis.title.set_fontsize(9)
        axis.set_xscale("log", base=2)
        ticks = sorted({t for points in panel.values() for t in points})
        axis.set_xticks(ticks, [f"{t // 1024}k" if t >= 1024 else str(t) for t in ticks], fontsize=8)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.axhline(100, color="black", linewidth=0.8)
    for axis in axes[:, 0]:
        axis.set_ylabel("% of floor")
    handles = {label: handle for axis in axes.flat
               for handle, label in zip(*axis.get_legend_handles_labels())}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, fontsize=8)
    figure.suptitle(", ".join(sorted(machines)), fontsize=10)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out, metadata={"Date": None})


if __name__ == "__main__":
    main()
