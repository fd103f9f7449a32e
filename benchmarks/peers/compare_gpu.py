#!/usr/bin/env python3
"""Whole MoE layers on one GPU: ours beside Triton and torch, in one process and in the same rounds.

    PYTHONPATH=build/release/python benchmarks/peers/compare_gpu.py --shape kimi-linear \
        --tokens 1,16,256,4096 --json compare.json

Every time is a replay of a CUDA graph of eight routings, divided by eight. Ours is timed from router
logits to output. The peers' routing, sorting and padding are made ahead and not timed; the Triton
peer's block sizes are swept per row. Each result is compared with fp32 products before it is timed.
Needs torch with CUDA, Triton, and the Python package built with the cuda backend.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time

import torch
import triton
import triton.language as tl

import sluice
from triton_experts import Sorted, TritonExperts, candidates

SHAPES = {"kimi-linear": (2304, 1024, 256, 8), "trinity-mini": (2048, 1024, 128, 8),
          "qwen3-30b": (2048, 768, 128, 8), "deepseek-v3": (7168, 2048, 256, 8),
          "mixtral-8x7b": (4096, 14336, 8, 2)}
ROUTINGS = 8
FACTOR = 2.5


@triton.jit
def _read(data, sink, BLOCK: tl.constexpr):
    words = tl.load(data + tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK))
    if tl.sum(words) == 0x5EED5EED:
        tl.store(sink, 1)


class Ceilings:
    def __init__(self) -> None:
        self.memory = torch.randint(-2**31, 2**31 - 1, (2**30,), dtype=torch.int32, device="cuda")
        self.sink = torch.zeros(1, dtype=torch.int32, device="cuda")
        self.a, self.b = (torch.randn(8192, 8192, device="cuda").bfloat16() for _ in range(2))
        self.read(), self.dense()

    def read(self) -> float:
        grid = (self.memory.numel() // 8192,)
        work = lambda: _read[grid](self.memory, self.sink, BLOCK=8192, num_warps=4)
        work()  # the multiprocessors' clock is still low after matrix products
        seconds = timed(work)
        return self.memory.numel() * 4 / seconds

    def dense(self) -> float:
        return 2 * 8192**3 / timed(lambda: torch.matmul(self.a, self.b.T))


def timed(work) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    work()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) * 1e-3


def captured(work):
    work()  # compiles, and makes workspaces
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph


def draw_logits(kind: str, tokens: int, experts: int, seed: int) -> torch.Tensor:
    generator = torch.Generator("cuda").manual_seed(seed)
    uniform = torch.rand(tokens, experts, device="cuda", generator=generator).clamp_min(1e-9)
    level = torch.zeros(experts, device="cuda")
    if kind == "zipf":
        level = -torch.log(torch.arange(1, experts + 1, device="cuda").float())
    elif kind == "hot":
        level[0] = 25.0
    return level - torch.log(-torch.log(uniform))


class TorchExperts:
    """Gather, grouped_mm, SwiGLU, grouped_mm, weighted sum; sorting not timed."""

    def __init__(self, gate_up, down, top_k) -> None:
        self.gate_up, self.down, self.top_k = gate_up.mT, down.mT, top_k
        self.product = getattr(torch.nn.functional, "grouped_mm", None) or torch._grouped_mm

    def prepare(self, ids, weights):
        order = torch.argsort(ids.flatten(), stable=True)
        offsets = torch.cumsum(torch.bincount(ids.flatten().long(),
                                              minlength=self.gate_up.shape[0]), 0).int()
        return order // self.top_k, offsets, torch.argsort(order), weights.bfloat16()

    def forward(self, hidden, tokens, offsets, back, weights):
        gate, up = self.product(hidden[tokens], self.gate_up, offs=offsets).chunk(2, -1)
        inner = torch.nn.functional.silu(gate) * up
        parts = self.product(inner, self.down, offs=offsets)[back]
        parts = parts.view(-1, self.top_k, parts.shape[-1])
        return torch.bmm(weights.unsqueeze(1), parts).squeeze(1)


class Comparison:
    def __init__(self, options) -> None:
        self.options = options
        shape = SHAPES.get(options.shape) or tuple(int(n) for n in options.shape.split(","))
        self.hidden, self.width, self.experts, self.top_k = shape
        new = lambda *sizes: torch.empty(sizes, dtype=torch.bfloat16, device="cuda").normal_(0, 0.02)
        self.gate_up = new(self.experts, 2 * self.width, self.hidden)
        self.down = new(self.experts, self.hidden, self.width)
        spec = sluice.MoeSpec(num_experts=self.experts, top_k=self.top_k, hidden_size=self.hidden,
                              intermediate_size=self.width, norm_topk_prob=True,
                              routed_scaling_factor=FACTOR)
        self.ours = sluice.layer(spec, {"gate_up_proj": self.gate_up, "down_proj": self.down}, "cuda")
        self.triton = TritonExperts(self.gate_up, self.down, self.top_k, max(options.tokens))
        self.torch = TorchExperts(self.gate_up, self.down, self.top_k)
        self.ceilings = Ceilings()

    def expected(self, x, ids, weights):
        """One token in fp32."""
        total = torch.zeros(self.hidden, device="cuda")
        for expert, weight in zip(ids.tolist(), weights.tolist()):
            gate, up = (self.gate_up[expert].float() @ x.float()).chunk(2)
            inner = (torch.nn.functional.silu(gate) * up).bfloat16().float()
            total += weight * (self.down[expert].float() @ inner)
        return total

    def check(self, who, hidden, routing, output) -> None:
        ids, weights = routing
        for token in {0, hidden.shape[0] - 1}:
            expected = self.expected(hidden[token], ids[token], weights[token])
            error = (output[token].float() - expected).norm() / expected.norm()
            # Peers round GEMM 1, the activation and the slots' outputs to bf16: a few times 2^-8.
            if not error < 0.02:
                raise SystemExit(f"{who} is wrong at T = {hidden.shape[0]}, token {token}: relative "
                                 f"error {error:.3g}; not timed")

    def best_blocks(self, hidden, routings, output, rows_per_expert):
        best = None
        for blocks in candidates(rows_per_expert):
            rows = [Sorted(ids, self.experts, blocks.m) for ids, _ in routings]
            try:
                graph = captured(lambda: [self.triton.forward(hidden, r, w, output, blocks)
                                          for r, (_, w) in zip(rows, routings)])
            except triton.runtime.errors.OutOfResources:
                continue
            seconds = statistics.median(timed(graph.replay) for _ in range(5))
            if best is None or seconds < best[0]:
                best = (seconds, blocks, rows, graph)
        return best

    def row(self, tokens: int) -> dict:
        hidden = torch.randn(tokens, self.hidden, device="cuda").bfloat16()
        outputs = {name: torch.empty_like(hidden) for name in ("sluice", "triton", "torch")}
        logits = [draw_logits(self.options.routing, tokens, self.experts, seed)
                  for seed in range(ROUTINGS)]
        routings = [tuple(self.ours.forward(hidden, each)[1:]) for each in logits]
        hit = statistics.mean(len(torch.unique(ids)) for ids, _ in routings)
        graphs = {"sluice": captured(lambda: [
            self.ours.forward(hidden, each, output=outputs["sluice"]) for each in logits])}
        _, blocks, _rows, graphs["triton"] = self.best_blocks(
            hidden, routings, outputs["triton"], tokens * self.top_k / hit)
        prepared = [self.torch.prepare(ids, weights) for ids, weights in routings]
        graphs["torch"] = captured(lambda: [
            outputs["torch"].copy_(self.torch.forward(hidden, *each)) for each in prepared])
        for name, graph in graphs.items():
            outputs[name].fill_(float("nan"))
            graph.replay()
            self.check(name, hidden, routings[-1], outputs[name])

        bytes_read = hit * 6 * self.hidden * self.width
        operations = 6 * tokens * self.top_k * self.hidden * self.width
        samples = {name: [] for name in graphs}
        reads, rates = [], []
        until = time.monotonic() + self.options.seconds
        while time.monotonic() < until or len(reads) < 5:
            reads.append(self.ceilings.read())
            rates.append(self.ceilings.dense())
            # The first replay after the product meets clocks that it has lowered: nobody's is timed,
            # and nobody is always first.
            turn = len(reads) % len(graphs)
            for name in (*list(graphs)[turn:], *list(graphs)[:turn]):
                graphs[name].replay()
                samples[name].append(timed(graphs[name].replay) / ROUTINGS * 1e3)
        # Power limits the products' rate, and the layers' with it; the best read is what memory can do.
        floors = [max(bytes_read / max(reads), operations / rate) * 1e3 for rate in rates]
        floor = statistics.median(floors)
        spread = lambda values: dict(zip(("low", "median", "high"),
                                         statistics.quantiles(values, n=4, method="inclusive")))
        result = {"tokens": tokens, "experts_hit": hit, "bytes": bytes_read,
                  "operations": operations, "floor_milliseconds": spread(floors),
                  "read_bytes_per_second": spread(reads), "operations_per_second": spread(rates),
                  "triton_blocks": vars(blocks),
                  "engines": {}}
        for name, values in samples.items():
            result["engines"][name] = {
                "milliseconds": spread(values),
                "percent_of_floor": 100 * floor / statistics.median(values)}
        return result


def write(report: dict, path: str | None) -> None:
    """After every row: what a later one fails at loses none of those before."""
    if not path:
        return
    with open(path + ".part", "w", encoding="utf-8") as file:
        json.dump(report, file, indent=1)
    os.replace(path + ".part", path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", required=True, help="a model's name, or H,I,E,K")
    parser.add_argument("--tokens", default="1,4,16,64,256,1024,4096,16384")
    parser.add_argument("--routing", choices=("uniform", "zipf", "hot"), default="uniform")
    parser.add_argument("--seconds", type=float, default=1.0, help="per row")
    parser.add_argument("--json", help="where the figures go")
    options = parser.parse_args()
    options.tokens = [int(n) for n in options.tokens.split(",")]
    comparison = Comparison(options)
    report = {"shape": options.shape, "hidden_size": comparison.hidden,
              "intermediate_size": comparison.width, "num_experts": comparison.experts,
              "top_k": comparison.top_k, "draw": options.routing,
              "variant": comparison.ours.variant, "machine": torch.cuda.get_device_name(),
              "torch": torch.__version__, "triton": triton.__version__, "rows": []}
    print(f"{options.shape}, {options.routing} routing, {report['machine']}, {comparison.ours.variant}")
    print(f"{'tokens':>6} {'floor us':>9} " + "".join(
        f"{name + ' us':>18} {'%':>6}" for name in ("sluice", "triton", "torch")))
    for tokens in options.tokens:
        row = comparison.row(tokens)
        report["rows"].append(row)
        line = f"{tokens:>6} {row['floor_milliseconds']['median'] * 1e3:>9.1f} "
        for engine in row["engines"].values():
            ms = engine["milliseconds"]
            spread = f"{ms['median'] * 1e3:.1f} ±{(ms['high'] - ms['low']) * 500:.1f}"
            line += f"{spread:>18} {engine['percent_of_floor']:>6.1f}"
        print(line, flush=True)
        write(report, options.json)


if __name__ == "__main__":
    main()
