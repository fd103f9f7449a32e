"""Layers for the tests: never at neutral values, and a definition of their own to compare with."""

from __future__ import annotations

import dataclasses
import os

# Before NumPy: the products here are tiny, and BLAS threads that spin for each are slower by orders.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pytest

import sluice


def bf16(values) -> np.ndarray:
    """The values rounded to bfloat16, as float32."""
    return sluice.Tensor.from_float32(np.ascontiguousarray(values, np.float32)).numpy()


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def choose(logits, bias, top_k, scores, factor, eps=1e-20):
    """ids and weights of one token: DeepSeek-V3 without groups, in float64."""
    raw = scores(logits.astype(np.float64))
    ids = np.lexsort((np.arange(len(raw)), -(raw + bias)))[:top_k]
    weights = raw[ids]
    return ids, weights / (weights.sum() + eps) * factor


def expert(x, gate_up, down):
    """One SwiGLU expert in float64, its inputs rounded to bfloat16."""
    gate, up = np.split(gate_up.astype(np.float64) @ x, 2)
    inner = bf16((gate * sigmoid(gate) * up).astype(np.float32))
    return down.astype(np.float64) @ inner


@dataclasses.dataclass
class Problem:
    spec: sluice.MoeSpec
    weights: dict
    hidden: np.ndarray  # float32 holding bfloat16 values
    logits: np.ndarray

    @property
    def inputs(self):
        return {"hidden_states": self.hidden, "router_logits": self.logits}

    def expected(self):
        """float64, by the formulas above."""
        out = np.zeros(self.hidden.shape)
        for token, x in enumerate(self.hidden):
            ids, weights = choose(self.logits[token], self.weights["e_score_correction_bias"],
                                  self.spec.top_k, sigmoid, self.spec.routed_scaling_factor)
            for e, weight in zip(ids, weights):
                out[token] += weight * expert(x, self.weights["gate_up_proj"][e],
                                              self.weights["down_proj"][e])
        return out


def make_problem(*, experts=8, top_k=3, hidden=64, inner=96, tokens=7, factor=2.446, seed=1):
    draw = np.random.default_rng(seed)
    normal = lambda *shape: draw.standard_normal(shape).astype(np.float32)
    spec = sluice.MoeSpec(num_experts=experts, top_k=top_k, hidden_size=hidden,
                          intermediate_size=inner, routing_method="DeepSeekV3",
                          routed_scaling_factor=factor)
    weights = {
        "gate_up_proj": bf16(normal(experts, 2 * inner, hidden) / np.sqrt(hidden)),
        "down_proj": bf16(normal(experts, hidden, inner) / np.sqrt(inner)),
        "e_score_correction_bias": normal(experts),
    }
    return Problem(spec, weights, bf16(normal(tokens, hidden)), normal(tokens, experts))


@pytest.fixture
def problem() -> Problem:
    return make_problem()


@pytest.fixture
def torch():
    module = pytest.importorskip("torch", reason="torch is not installed")
    module.set_num_threads(1)
    return module
