"""What every adapter is made of, and the two for functions of one's own."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from .. import _arrays
from .._core import MoeSpec, Tensor
from .._layer import Layer, layer, route


def on_host(array: Any) -> Any:
    return array.cpu() if _arrays.is_torch(array) else array


def like(reference: Any, bits: np.ndarray, dtype: str | None = None) -> Any:
    """An array as torch on the reference's device where that is torch; BF16 from uint16 bits."""
    if _arrays.is_torch(reference):
        import torch

        if dtype == "BF16":
            return torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16).to(reference.device)
        return torch.from_numpy(bits).to(reference.device)
    return bits if dtype is None else Tensor(bits, dtype)


def route_logits(spec: MoeSpec, weights: dict[str, Any], router_logits: Any) -> tuple[Any, Any]:
    """Our router's choice, in the kind and on the device of the logits."""
    biases = {name: on_host(weights[name]) for name in ("router_bias", "e_score_correction_bias")
              if name in weights}
    ids, routed = route(spec, on_host(router_logits), **biases)
    return like(router_logits, ids), like(router_logits, routed)


class Reference:
    """The definition, for cases that a call cannot be given; packed when first needed."""

    def __init__(self, spec: MoeSpec, weights: dict[str, Any]) -> None:
        self._spec, self._weights = spec, weights
        self._layer: Layer | None = None

    def __call__(self, *tensors: Any) -> Any:
        if self._layer is None:
            weights = {name: on_host(array) for name, array in self._weights.items()}
            self._layer = layer(self._spec, weights, "reference", threads=1)
        return self._layer(*(on_host(tensor) for tensor in tensors))


class Adapter:
    def __init__(self, fn: Callable[..., Any], **extra: Any) -> None:
        self._fn = fn
        self._extra = extra
        self.__name__ = getattr(fn, "__name__", type(fn).__name__)


class from_routing(Adapter):
    """For fn(spec, weights, hidden_states, topk_ids, topk_weights) -> output.

    Where a case gives logits, our router routes them and fn gets the result: topk_weights are final
    but for apply_routed_scale_to_output and apply_router_weight_on_input, which are fn's to apply.
    """

    def load(self, spec: MoeSpec, weights: dict[str, Any]) -> Callable[..., Any]:
        def forward(hidden_states, router_logits, topk_ids, topk_weights):
            if topk_ids is None:
                topk_ids, topk_weights = route_logits(spec, weights, router_logits)
            return self._fn(spec, weights, hidden_states, topk_ids, topk_weights, **self._extra)

        return forward


class from_logits(Adapter):
    """For fn(spec, weights, hidden_states, router_logits) -> output, or (output, ids, weights)."""

    def load(self, spec: MoeSpec, weights: dict[str, Any]) -> Callable[..., Any]:
        reference = Reference(spec, weights)

        def forward(hidden_states, router_logits, topk_ids, topk_weights):
            if router_logits is None:
                return reference(hidden_states, None, topk_ids, topk_weights)
            return self._fn(spec, weights, hidden_states, router_logits, **self._extra)

        return forward
