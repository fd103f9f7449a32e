"""Calls of other libraries that take and return bfloat16, and the claims that they share."""

from __future__ import annotations

from typing import Any, Callable

from .. import _arrays
from .._core import MoeSpec
from .._errors import Error
from ._calls import Adapter, Reference, on_host

ROUTER_CLAIMS = [f"router.{key}" for key in (
    "score_func", "score_order", "router_bias", "e_score_correction_bias",
    "weights_from_biased_scores", "n_group", "topk_group", "group_score", "norm_topk_prob",
    "norm_single_expert", "norm_eps", "norm_rule", "routed_scaling_factor", "router_logits_dtype")]
EXPERT_CLAIMS = ["experts.activation", "layer.local_expert_offset", "layer.num_local_experts"]


class Bf16Call(Adapter):
    """A call for bfloat16 tokens, and no others; what else it cannot be given, the reference computes.

    The output's dtype is not among the claims: such a call writes what it reads.
    """

    numpy_as = "tensor"  # NumPy has no bfloat16
    bf16_tokens = True  # the audit gives no others
    takes_routing = True
    activations: dict[str, Any] = {}

    def refusals(self, spec: MoeSpec) -> dict[str, str]:
        if spec.activation in self.activations:
            return {}
        known = ", ".join(self.activations)
        return {"experts.activation": f"is {spec.activation}; the call knows {known}"}

    def load(self, spec: MoeSpec, weights: dict[str, Any]) -> Callable[..., Any]:
        reference = Reference(spec, weights)
        call = self._bind(spec, weights)

        def forward(hidden_states, router_logits, topk_ids, topk_weights):
            dtype = _arrays.view(on_host(hidden_states), "hidden_states").dtype
            if dtype != "BF16":
                raise Error(f"hidden_states is {dtype} and {self.__name__} takes BF16 alone; "
                            "audit it with bf16_tokens=True", "unsupported")
            if topk_ids is not None and not self.takes_routing:
                return reference(hidden_states, None, topk_ids, topk_weights)
            return call(hidden_states, router_logits, topk_ids, topk_weights)

        return forward

    def _bind(self, spec: MoeSpec, weights: dict[str, Any]) -> Callable[..., Any]:
        raise NotImplementedError
