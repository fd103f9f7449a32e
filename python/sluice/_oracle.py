"""The audit's oracle by itself: the layer in double precision, with a bound per element."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping

import numpy as np

from . import _arrays, _core
from ._core import MoeSpec
from ._errors import Error


@dataclass(frozen=True)
class Truth:
    """What a layer's output must be, and how far a correct implementation may be from it."""

    expected: np.ndarray  #: [tokens, H] float64
    bound: np.ndarray  #: [tokens, H] float64, the rounding to the output's dtype included
    topk_ids: np.ndarray  #: [tokens, K] int32: what exact arithmetic chooses, or what was given
    topk_weights: np.ndarray  #: [tokens, K] float64

    def share_of_bound(self, output: Any) -> np.ndarray:
        """|output - expected| / bound per element: above 1 is wrong, and so is NaN.

        Raises Error (user) for an output of another shape, or of 8-bit floats.
        """
        got = _arrays.numbers(_arrays.view(output, "output"), "output").astype(np.float64)
        # NumPy would broadcast one row, or none, against all of them, and find nothing wrong.
        if got.shape != self.expected.shape:
            raise Error(f"output has shape {list(got.shape)}; it must be "
                        f"{list(self.expected.shape)}")
        with np.errstate(invalid="ignore"):
            share = np.abs(got - self.expected) / self.bound
        return np.where(got == self.expected, 0.0, share)

    def accepts(self, output: Any) -> bool:
        """Whether every element is within its bound. NaN is not."""
        return bool((self.share_of_bound(output) <= 1.0).all())

    def __iter__(self):
        return iter((self.expected, self.bound))


def oracle(
    spec: MoeSpec,
    weights: Mapping[str, Any],
    inputs: Mapping[str, Any],
    *,
    slot_outputs_rounded: bool = False,
) -> Truth:
    """Computes the layer in double precision on the unpacked weights.

    weights: as for :func:`sluice.layer`. inputs: "hidden_states" [tokens, H] with "router_logits"
    [tokens, E], or with "topk_ids" and "topk_weights" [tokens, K]. Host memory.
    slot_outputs_rounded: expert outputs may be rounded to the activation format before they are
    combined; the bound allows for it.

    ``expected, bound = sluice.oracle(…)``; the derivation of the bound is docs/numerics.md.
    Raises Error (user) for whatever sluice.layer would refuse.
    """
    expected, bound, ids, routed = _core.oracle(
        spec, _arrays.host_views(dict(weights)), _arrays.host_views(dict(inputs)),
        slot_outputs_rounded,
    )
    return Truth(expected.bits(), bound.bits(), ids.bits(), routed.bits())
