"""A peer: the standard grouped GEMM of MoE layers in Triton, as most engines have it.

Rows are (token, slot) pairs sorted by expert, each expert's padded to whole blocks; one program per
block of rows and columns. GEMM 1, SwiGLU, GEMM 2 times the slot's weight, and the sum over slots are
four launches. Sorting and padding are made ahead and are not timed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl


@triton.jit
def _grouped_gemm(a, b, c, rows, block_expert, weights, columns, depth, slots, blocks_m,
                  ROWS_PER_A: tl.constexpr, WEIGHTED: tl.constexpr, BLOCK_M: tl.constexpr,
                  BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP: tl.constexpr):
    # Neighbouring programs share columns of one expert's weights while these are in cache.
    blocks_n = tl.cdiv(columns, BLOCK_N)
    program = tl.program_id(0)
    band = program // (GROUP * blocks_n)
    band_rows = min(blocks_m - band * GROUP, GROUP)
    within = program % (GROUP * blocks_n)
    block_m = band * GROUP + within % band_rows
    block_n = within // band_rows
    expert = tl.load(block_expert + block_m).to(tl.int64)
    if expert < 0:
        return
    row = tl.load(rows + block_m * BLOCK_M + tl.arange(0, BLOCK_M))
    valid = row < slots
    column = block_n * BLOCK_N + tl.arange(0, BLOCK_N)
    inside = column < columns
    k = tl.arange(0, BLOCK_K)
    a_at = a + (row // ROWS_PER_A).to(tl.int64)[:, None] * depth + k[None, :]
    b_at = b + expert * columns * depth + column.to(tl.int64)[None, :] * depth + k[:, None]
    sums = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in range(0, depth, BLOCK_K):
        left = k < depth - start
        x = tl.load(a_at + start, mask=valid[:, None] & left[None, :], other=0.0)
        w = tl.load(b_at + start, mask=inside[None, :] & left[:, None], other=0.0)
        sums = tl.dot(x, w, sums)
    if WEIGHTED:
        sums *= tl.load(weights + row, mask=valid, other=0.0)[:, None]
    c_at = c + row.to(tl.int64)[:, None] * columns + column[None, :]
    tl.store(c_at, sums.to(tl.bfloat16), mask=valid[:, None] & inside[None, :])


@triton.jit
def _swiglu(both, out, width, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < width
    gate = tl.load(both + row * 2 * width + column, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(both + row * 2 * width + width + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row * width + column, (gate * tl.sigmoid(gate) * up).to(tl.bfloat16), mask=inside)


@triton.jit
def _sum_slots(parts, out, hidden, TOP_K: tl.constexpr, BLOCK: tl.constexpr):
    token = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < hidden
    total = tl.zeros((BLOCK,), tl.float32)
    for slot in tl.static_range(TOP_K):
        at = parts + (token * TOP_K + slot) * hidden + column
        total += tl.load(at, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + token * hidden + column, total.to(tl.bfloat16), mask=inside)


@dataclass(frozen=True)
class Blocks:
    m: int
    n: int
    k: int
    group: int
    warps: int
    stages: int


def candidates(rows_per_expert: float) -> list[Blocks]:
    """Block sizes worth trying for so many rows per expert that is hit."""
    few = [Blocks(16, 32, 128, 1, 4, 4), Blocks(16, 64, 128, 1, 4, 4), Blocks(16, 64, 256, 1, 4, 3),
           Blocks(16, 128, 64, 1, 4, 4), Blocks(16, 128, 128, 1, 4, 3)]
    some = [Blocks(32, 64, 128, 1, 4, 4), Blocks(32, 128, 64, 1, 4, 4), Blocks(64, 64, 128, 1, 4, 3),
            Blocks(64, 128, 64, 1, 4, 4), Blocks(64, 128, 64, 8, 8, 4)]
    many = [Blocks(64, 256, 64, 8, 8, 3), Blocks(128, 128, 64, 8, 8, 3), Blocks(128, 128, 64, 8, 4, 4),
            Blocks(128, 256, 64, 8, 8, 3), Blocks(128, 256, 64, 16, 8, 4)]
    if rows_per_expert <= 8:
        return few
    if rows_per_expert <= 24:
        return few + some
    return (some if rows_per_expert <= 200 else []) + many


class Sorted:
    """A routing as the kernel takes it: slot numbers by expert, padded to blocks."""

    def __init__(self, ids: torch.Tensor, experts: int, block: int) -> None:
        flat = ids.flatten().long()
        order = torch.argsort(flat, stable=True)
        counts = torch.bincount(flat, minlength=experts)
        blocks = (counts + block - 1) // block
        first = torch.cumsum(blocks, 0) - blocks  # first block of each expert
        starts = torch.cumsum(counts, 0) - counts
        expert_of = flat[order]
        at = first[expert_of] * block + torch.arange(len(flat), device=ids.device) - starts[expert_of]
        self.blocks = int(blocks.sum())
        self.rows = torch.full((self.blocks * block,), len(flat), dtype=torch.int32,
                               device=ids.device)
        self.rows[at] = order.int()
        self.block_expert = torch.repeat_interleave(
            torch.arange(experts, device=ids.device, dtype=torch.int32), blocks)


class TritonExperts:
    name = "Triton grouped GEMM (routing not timed)"

    def __init__(self, gate_up: torch.Tensor, down: torch.Tensor, top_k: int, most_tokens: int):
        self.gate_up, self.down, self.top_k = gate_up, down, top_k
        self.width, self.hidden = gate_up.shape[1] // 2, gate_up.shape[2]
        slots = most_tokens * top_k
        new = lambda columns: torch.empty(slots, columns, dtype=torch.bfloat16, device=down.device)
        self.both, self.inner, self.parts = new(2 * self.width), new(self.width), new(self.hidden)

    def _gemm(self, a, b, c, rows, weights, blocks: Blocks, rows_per_a, slots):
        columns, depth = b.shape[1], b.shape[2]
        grid = (rows.blocks * triton.cdiv(columns, blocks.n),)
        _grouped_gemm[grid](a, b, c, rows.rows, rows.block_expert, weights, columns, depth, slots,
                            rows.blocks, ROWS_PER_A=rows_per_a, WEIGHTED=rows_per_a == 1,
                            BLOCK_M=blocks.m, BLOCK_N=blocks.n, BLOCK_K=blocks.k,
                            GROUP=blocks.group, num_warps=blocks.warps, num_stages=blocks.stages)

    def forward(self, hidden, rows: Sorted, weights, output, blocks: Blocks):
        tokens = hidden.shape[0]
        slots = tokens * self.top_k
        self._gemm(hidden, self.gate_up, self.both, rows, weights, blocks, self.top_k, slots)
        _swiglu[(slots, triton.cdiv(self.width, 1024))](self.both, self.inner, self.width, BLOCK=1024)
        self._gemm(self.inner, self.down, self.parts, rows, weights, blocks, 1, slots)
        _sum_slots[(tokens, triton.cdiv(self.hidden, 1024))](self.parts, output, self.hidden,
                                                             TOP_K=self.top_k, BLOCK=1024)
