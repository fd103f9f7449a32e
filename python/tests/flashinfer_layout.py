"""FlashInfer's weight preparation, written down a second time, from its definition.

FlashInfer prepares one expert's BF16 matrix for its TensorRT-LLM kernels in three steps (its names:
reorder_rows_for_gated_act_gemm, shuffle_matrix_a with epilogue_tile_m = 128,
convert_to_block_layout with a block of 128 bytes). Nothing here is shared with the package.
"""

import numpy as np

# Where row i of a block of 32 rows goes, as FlashInfer's table lists it.
ROW_MAP_32 = [0, 8, 16, 24, 1, 9, 17, 25, 2, 10, 18, 26, 3, 11, 19, 27,
              4, 12, 20, 28, 5, 13, 21, 29, 6, 14, 22, 30, 7, 15, 23, 31]


def reorder_rows_for_gated_act(matrix):
    """[r0 … r(N-1)] -> [r0, r(N/2), r1, r(N/2+1), …]."""
    half = len(matrix) // 2
    rows = []
    for i in range(half):
        rows += [matrix[i], matrix[half + i]]
    return np.stack(rows)


def shuffle_matrix_a(matrix):
    shuffled = np.empty_like(matrix)
    for old in range(len(matrix)):
        shuffled[old // 32 * 32 + ROW_MAP_32[old % 32]] = matrix[old]
    return shuffled


def convert_to_block_layout(matrix, block=64):
    """[M, K] -> [K / block, M, block]; 128 bytes are 64 BF16."""
    return np.stack([matrix[:, k:k + block] for k in range(0, matrix.shape[1], block)])


def prepare(gate_up, down, *, gated, shuffled, blocked):
    """Stacked [E, 2I, H] (gate rows first) and [E, H, I] as FlashInfer takes them."""
    out = []
    for stacked, is_gemm1 in ((gate_up, True), (down, False)):
        matrices = []
        for matrix in stacked:
            if is_gemm1 and gated:
                gate, up = np.split(matrix, 2)
                matrix = np.concatenate([up, gate])  # FlashInfer: up rows before gate rows
            if shuffled:
                if is_gemm1 and gated:
                    matrix = reorder_rows_for_gated_act(matrix)
                matrix = shuffle_matrix_a(matrix)
            matrices.append(convert_to_block_layout(matrix) if blocked else matrix)
        out.append(np.stack(matrices))
    return out
