"""How FlashInfer lays BF16 expert weights out, in both directions.

A matrix [rows, K] is prepared in three steps, each optional:

1. Gated GEMM 1 only: rows [up_0 … up_I-1, gate_0 … gate_I-1] alternate: up_0, gate_0, up_1, …
   (part of "shuffled").
2. Shuffled: inside each block of 32 rows, row i moves to row (i % 4) * 8 + i // 4.
3. BlockMajorK: [K / 64, rows, 64]: columns in blocks of 128 bytes, the block's index first.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _arrays
from .._errors import Error

SHUFFLE_ROWS = 32  # what FlashInfer's epilogue tile of 128 rows implies
BLOCK_COLUMNS = 64  # 128 bytes of BF16


def stored_rows(rows: int, *, gated: bool, shuffled: bool) -> np.ndarray:
    """Where each row of [gate; up] (or of a plain matrix) stands in the prepared matrix."""
    half = rows // 2
    row = np.arange(rows)
    if gated:
        # [gate; up] -> [up; gate], alternating if shuffled.
        is_up, index = row >= half, row % max(half, 1)
        row = np.where(is_up, 2 * index, 2 * index + 1) if shuffled else (row + half) % rows
    if shuffled:
        inside = row % SHUFFLE_ROWS
        row = row - inside + (inside % 4) * 8 + inside // 4
    return row


def _check(rows: int, columns: int, name: str, *, shuffled: bool, blocked: bool) -> None:
    if shuffled and rows % SHUFFLE_ROWS:
        raise Error(f"{name} has {rows} rows; shuffled weights need a multiple of {SHUFFLE_ROWS}")
    if blocked and columns % BLOCK_COLUMNS:
        raise Error(f"{name} has {columns} columns; BlockMajorK needs a multiple of "
                    f"{BLOCK_COLUMNS}")


def _take_rows(matrix: Any, rows: np.ndarray) -> Any:
    if not _arrays.is_torch(matrix):
        return matrix[rows]
    import torch

    return matrix[torch.from_numpy(rows).to(matrix.device)]


def _empty(shape: tuple, like: Any) -> Any:
    return like.new_empty(shape) if _arrays.is_torch(like) else np.empty(shape, like.dtype)


def restore(stored: Any, name: str, *, gated: bool, shuffled: bool, blocked: bool) -> Any:
    """[E, rows, K], gate rows before up rows, from weights as FlashInfer takes them. A copy.

    NumPy for NumPy; torch for torch, on its device.
    """
    if blocked:
        experts, blocks, rows, width = stored.shape
        if width != BLOCK_COLUMNS:
            raise Error(f"{name} has blocks of {width} columns; BlockMajorK of BF16 has "
                        f"{BLOCK_COLUMNS}")
        stored = stored.swapaxes(1, 2)  # [E, rows, blocks, 64]
        columns = blocks * width
    else:
        experts, rows, columns = stored.shape
    _check(rows, columns, name, shuffled=shuffled, blocked=blocked)
    source = stored_rows(rows, gated=gated, shuffled=shuffled)
    restored = _empty((experts, *stored.shape[1:]), stored)
    for expert in range(experts):  # one by one: no second copy of the whole
        restored[expert] = _take_rows(stored[expert], source)
    return restored.reshape(experts, rows, columns)


def prepare(matrices: np.ndarray, name: str, *, gated: bool, shuffled: bool,
            blocked: bool) -> np.ndarray:
    """The inverse of :func:`restore`: [E, rows, K], gate rows first, as FlashInfer takes it."""
    experts, rows, columns = matrices.shape
    _check(rows, columns, name, shuffled=shuffled, blocked=blocked)
    prepared = np.empty_like(matrices)
    prepared[:, stored_rows(rows, gated=gated, shuffled=shuffled)] = matrices
    if not blocked:
        return prepared
    blocks = prepared.reshape(experts, rows, columns // BLOCK_COLUMNS, BLOCK_COLUMNS)
    return np.ascontiguousarray(blocks.transpose(0, 2, 1, 3))
