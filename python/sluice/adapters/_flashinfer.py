"""FlashInfer's calls, and its layout of the weights."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from .. import _arrays
from .._core import MoeSpec, Tensor
from .._errors import Error
from ..compat import _flashinfer_layout as layout
from ..compat._flashinfer_enums import ActivationType, RoutingMethodType, WeightLayout
from ..compat._flashinfer_fields import layout_of
from ._bf16_call import EXPERT_CLAIMS, ROUTER_CLAIMS, Bf16Call
from ._calls import like, on_host, route_logits

_GATED = ("swiglu", "geglu", "geglu_tanh")
_GRID = 128  # FlashInfer's kernels take widths of this grid


def method_of(spec: MoeSpec) -> RoutingMethodType | None:
    """The FlashInfer routing method whose formula the spec's router has, with or without a bias."""
    for method in RoutingMethodType:
        if method is RoutingMethodType.Unspecified:
            continue
        try:
            same = spec.replace(routing_method=method.name,
                                e_score_correction_bias=spec.e_score_correction_bias)
        except Error:
            continue  # the method contradicts the sizes, as Llama4 does for K > 1
        if same == spec:
            return method
    return None


def _padded(matrices: np.ndarray, halves: int) -> np.ndarray:
    """Rows of each half and columns padded with zeros to the grid: the layer stays the same."""
    experts, rows, columns = matrices.shape
    up = lambda size: -(-size // _GRID) * _GRID
    height = rows // halves  # spelled out: a rank may have no experts
    out = np.zeros((experts, halves, up(height), up(columns)), matrices.dtype)
    out[:, :, :height, :columns] = matrices.reshape(experts, halves, height, columns)
    return out.reshape(experts, halves * up(height), up(columns))


class _FlashInfer(Bf16Call):
    activations = {
        "swiglu": ActivationType.Swiglu, "geglu": ActivationType.Geglu,
        "geglu_tanh": ActivationType.GegluTanh, "relu2": ActivationType.Relu2,
        "silu": ActivationType.Silu, "gelu": ActivationType.Gelu,
        "identity": ActivationType.Identity,
    }

    def __init__(self, fn: Callable[..., Any], *, use_shuffled_weight: bool = True,
                 weight_layout: int = WeightLayout.BlockMajorK, **extra: Any) -> None:
        super().__init__(fn, **extra)
        self._shuffled = use_shuffled_weight
        self._layout = layout_of(weight_layout)

    def _prepare(self, array: Any, name: str, gated: bool) -> Any:
        matrices = _padded(_arrays.bits_of(on_host(array), name), 2 if gated else 1)
        prepared = layout.prepare(matrices, name, gated=gated, shuffled=self._shuffled,
                                  blocked=self._layout is WeightLayout.BlockMajorK)
        return like(array, prepared, "BF16")

    def _bind(self, spec: MoeSpec, weights: dict[str, Any]) -> Callable[..., Any]:
        gemm1 = self._prepare(weights["gate_up_proj"], "gemm1_weights", spec.activation in _GATED)
        gemm2 = self._prepare(weights["down_proj"], "gemm2_weights", False)
        local = spec.num_experts if spec.num_local_experts < 0 else spec.num_local_experts
        grouped = spec.n_group > 1
        constants = {}
        for name, value, neutral in (("gemm1_alpha", spec.swiglu_alpha, 1.0),
                                     ("gemm1_beta", spec.swiglu_beta, 0.0),
                                     ("gemm1_clamp_limit", spec.swiglu_limit, np.inf)):
            if value != neutral:
                constants[name] = like(gemm1, np.full(local, value, np.float32))
        common = dict(
            gemm1_weights=gemm1, gemm2_weights=gemm2, num_experts=spec.num_experts,
            top_k=spec.top_k, n_group=spec.n_group if grouped else None,
            topk_group=spec.topk_group if grouped else None,
            intermediate_size=-(-spec.intermediate_size // _GRID) * _GRID,
            local_expert_offset=spec.local_expert_offset, local_num_experts=local,
            use_shuffled_weight=self._shuffled, weight_layout=int(self._layout),
            activation_type=int(self.activations[spec.activation]), **constants, **self._extra)

        def call(hidden_states, router_logits, topk_ids, topk_weights):
            bits = _arrays.bits_of(on_host(hidden_states), "hidden_states")
            padded = like(hidden_states, _padded(bits[None], 1)[0, : len(bits)], "BF16")
            result = self._call(spec, weights, common, padded, router_logits, topk_ids,
                                topk_weights)
            result = result[0] if isinstance(result, list) else result
            narrow = _arrays.bits_of(on_host(result), "output")[:, : spec.hidden_size]
            return Tensor(np.ascontiguousarray(narrow), "BF16")

        return call

    def _call(self, spec, weights, common, hidden_states, router_logits, topk_ids, topk_weights):
        raise NotImplementedError


class flashinfer_bf16_moe(_FlashInfer):
    """For a function with the signature of FlashInfer's ``trtllm_bf16_moe``.

    ``flashinfer_bf16_moe(fn, use_shuffled_weight=True, weight_layout=BlockMajorK, **extra)``: weights
    are prepared accordingly, widths padded with zeros to multiples of 128, and ``extra`` is passed
    along. For FlashInfer itself audit with arrays="torch", device="cuda". Groups are not among the
    claims: only DeepSeekV3 has them there, and a claim is tried with every field else neutral.
    """

    claims = ["router.score_func", "router.score_order", "router.e_score_correction_bias",
              "router.norm_topk_prob", "router.norm_eps", "router.norm_rule",
              "router.routed_scaling_factor", "router.apply_router_weight_on_input",
              "experts.swiglu_alpha", "experts.swiglu_beta", "experts.swiglu_limit",
              *EXPERT_CLAIMS]
    takes_routing = False

    def refusals(self, spec: MoeSpec) -> dict[str, str]:
        reasons = super().refusals(spec)
        method = method_of(spec)
        if method is None:
            reasons["router.score_func"] = "no routing method of FlashInfer has these router fields"
        elif spec.n_group > 1 and method is not RoutingMethodType.DeepSeekV3:
            reasons["router.n_group"] = f"is {spec.n_group}; FlashInfer's {method.name} has no groups"
        return reasons

    def _call(self, spec, weights, common, hidden_states, router_logits, topk_ids, topk_weights):
        return self._fn(
            routing_logits=router_logits, routing_bias=weights.get("e_score_correction_bias"),
            hidden_states=hidden_states, routed_scaling_factor=spec.routed_scaling_factor,
            routing_method_type=int(method_of(spec)), **common)


class flashinfer_bf16_routed_moe(_FlashInfer):
    """For a function with the signature of FlashInfer's ``trtllm_bf16_routed_moe``.

    Where a case gives logits, our router routes them. Routings travel as (ids, weights): the packed
    form would round the weights to bfloat16 on the way. The rest is as for flashinfer_bf16_moe.
    """

    claims = [*ROUTER_CLAIMS, "experts.swiglu_alpha", "experts.swiglu_beta",
              "experts.swiglu_limit", *EXPERT_CLAIMS]

    def _call(self, spec, weights, common, hidden_states, router_logits, topk_ids, topk_weights):
        if topk_ids is None:
            topk_ids, topk_weights = route_logits(spec, weights, router_logits)
        return self._fn(topk_ids=(topk_ids, topk_weights), hidden_states=hidden_states, **common)
