"""vLLM's call."""

from __future__ import annotations

import enum
import inspect
from typing import Any, Callable

import numpy as np

from .._core import MoeSpec
from ._bf16_call import EXPERT_CLAIMS, ROUTER_CLAIMS, Bf16Call
from ._calls import like, route_logits


class vllm_fused_experts(Bf16Call):
    """For a function with the signature of vLLM's ``fused_experts``.

    fused_experts(hidden_states, w1, w2, topk_weights, topk_ids, *, activation,
    apply_router_weight_on_input, global_num_experts, expert_map): where a case gives logits, our
    router routes them. Audit with slot_outputs_rounded=True: vLLM's Triton kernels write every slot's
    output in bfloat16 before the sum.
    """

    claims = [*ROUTER_CLAIMS, "router.apply_router_weight_on_input", "layer.expert_map",
              *EXPERT_CLAIMS]
    activations = {"swiglu": "silu", "geglu": "gelu", "relu2": "relu2_no_mul",
                   "silu": "silu_no_mul", "gelu": "gelu_no_mul"}

    def _bind(self, spec: MoeSpec, weights: dict[str, Any]) -> Callable[..., Any]:
        activation = self._activation(self.activations[spec.activation])
        expert_map = self._expert_map(spec, weights["down_proj"])

        def call(hidden_states, router_logits, topk_ids, topk_weights):
            if topk_ids is None:
                topk_ids, topk_weights = route_logits(spec, weights, router_logits)
            return self._fn(
                hidden_states, weights["gate_up_proj"], weights["down_proj"], topk_weights,
                topk_ids, activation=activation,
                apply_router_weight_on_input=spec.apply_router_weight_on_input,
                global_num_experts=spec.num_experts, expert_map=expert_map, **self._extra)

        return call

    def _activation(self, name: str) -> Any:
        """A string in older versions of vLLM, an enumeration in newer ones."""
        try:
            default = inspect.signature(self._fn).parameters["activation"].default
        except (KeyError, TypeError, ValueError):
            return name
        return type(default)(name) if isinstance(default, enum.Enum) else name

    @staticmethod
    def _expert_map(spec: MoeSpec, weights: Any) -> Any:
        """[E] int32 global -> local or -1; None if every expert is here."""
        mapping = np.array(spec.expert_map, np.int32)
        if not len(mapping):
            count = spec.num_local_experts
            if count < 0 or count == spec.num_experts:
                return None
            mapping = np.full(spec.num_experts, -1, np.int32)
            first = spec.local_expert_offset
            mapping[first:first + count] = np.arange(count)
        return like(weights, mapping)
