"""Other shapes of call, as what ``sluice.audit`` takes.

Each adapter is an object with ``load`` and with the ``claims`` that its call can express, so that
``sluice.audit(adapters.from_routing(fn))`` needs no claims; pass fewer to audit fewer fields.
"""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from . import _arrays
from ._core import MoeSpec, Tensor
from ._errors import Error
from ._layer import layer, route
from .compat import _flashinfer_layout as layout
from .compat._flashinfer_enums import ActivationType, RoutingMethodType, WeightLayout

_ROUTING_TENSORS = ("router_bias", "e_score_correction_bias")


def _on_host(array: Any) -> Any:
    return array.cpu() if _arrays.is_torch(array) else array


def _route(spec: MoeSpec, weights: dict[str, Any], router_logits: Any) -> tuple[Any, Any]:
    """Our router's choice, in the kind and on the device of the logits."""
    biases = {name: _on_host(weights[name]) for name in _ROUTING_TENSORS if name in weights}
    ids, routed = route(spec, _on_host(router_logits), **biases)
    if _arrays.is_torch(router_logits):
        import torch

        device = router_logits.device
        return torch.from_numpy(ids).to(device), torch.from_numpy(routed).to(device)
    return ids, routed


class from_routing:
    """For fn(spec, weights, hidden_states, topk_ids, topk_weights) -> output.

    Where a case gives logits, our router routes them and fn gets the result: topk_weights are final
    but for apply_routed_scale_to_output and apply_router_weight_on_input, which are fn's to apply.
    """

    claims: Any = None

    def __init__(self, fn: Callable[..., Any]) -> None:
        self._fn = fn
        self.__name__ = getattr(fn, "__name__", type(fn).__name__)

    def load(self, spec: MoeSpec, weights: dict[str, Any]) -> Callable[..., Any]:
        def forward(hidden_states, router_logits, topk_ids, topk_weights):
            if topk_ids is None:
                topk_ids, topk_weights = _route(spec, weights, router_logits)
            return self._fn(spec, weights, hidden_states, topk_ids, topk_weights)

        return forward


class from_logits:
    """For fn(spec, weights, hidden_states, router_logits) -> output, or (output, ids, weights).

    Such a call cannot be given a routing: those cases are computed by the ``reference`` backend and
    say nothing about fn.
    """

    claims: Any = None

    def __init__(self, fn: Callable[..., Any]) -> None:
        self._fn = fn
        self.__name__ = getattr(fn, "__name__", type(fn).__name__)

    def load(self, spec: MoeSpec, weights: dict[str, Any]) -> Callable[..., Any]:
        given: list = []  # the reference layer, made when a case needs it

        def forward(hidden_states, router_logits, topk_ids, topk_weights):
            if router_logits is not None:
                return self._fn(spec, weights, hidden_states, router_logits)
            return _by_reference(given, spec, weights, hidden_states, None, topk_ids, topk_weights)

        return forward


def _by_reference(made: list, spec: MoeSpec, weights: dict[str, Any], hidden_states: Any,
                  router_logits: Any, topk_ids: Any, topk_weights: Any) -> Any:
    """What the call that is audited cannot be given, computed by the definition."""
    if not made:
        made.append(layer(spec, {name: _on_host(a) for name, a in weights.items()}, "reference",
                          threads=1))
    given = (hidden_states, router_logits, topk_ids, topk_weights)
    return made[0](*(_on_host(array) for array in given))


# ---- FlashInfer --------------------------------------------------------------------------------

_FLASHINFER_ACTIVATIONS = {
    "swiglu": ActivationType.Swiglu, "geglu": ActivationType.Geglu,
    "geglu_tanh": ActivationType.GegluTanh, "relu2": ActivationType.Relu2,
    "silu": ActivationType.Silu, "gelu": ActivationType.Gelu,
    "identity": ActivationType.Identity,
}
_GATED = ("swiglu", "geglu", "geglu_tanh")
_EXPERT_CLAIMS = ["experts.activation", "experts.swiglu_alpha", "experts.swiglu_beta",
                  "experts.swiglu_limit", "layer.local_expert_offset", "layer.num_local_experts"]


def _method_of(spec: MoeSpec) -> RoutingMethodType | None:
    """The FlashInfer method whose formula the spec's router has."""
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


def _like(array: Any, bits: np.ndarray) -> Any:
    """BF16 bits as an array of the other's kind and device."""
    if _arrays.is_torch(array):
        import torch

        return torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16).to(array.device)
    return Tensor(bits, "BF16")


def _is_bf16(array: Any) -> bool:
    return _arrays.view(_on_host(array), "hidden_states").dtype == "BF16"


class _FlashInfer:
    numpy_as = "tensor"  # NumPy has no bfloat16, and these calls take nothing else

    def __init__(self, fn: Callable[..., Any], use_shuffled_weight: bool = True,
                 weight_layout: int = WeightLayout.BlockMajorK, **extra: Any) -> None:
        self._fn = fn
        self._shuffled = use_shuffled_weight
        self._layout = WeightLayout(weight_layout)
        self._extra = extra
        self.__name__ = getattr(fn, "__name__", type(fn).__name__)

    def _prepare(self, array: Any, name: str, gated: bool) -> Any:
        prepared = layout.prepare(_arrays.bits_of(_on_host(array), name), name, gated=gated, shuffled=self._shuffled,
                                  blocked=self._layout is WeightLayout.BlockMajorK)
        return _like(array, prepared)

    def _size_refusals(self, spec: MoeSpec) -> dict[str, str]:
        rows = 32 if self._shuffled else 1
        columns = 64 if self._layout is WeightLayout.BlockMajorK else 1
        step = max(rows, columns)
        return {f"experts.{key}": f"is {value}; this weight layout needs a multiple of {step}"
                for key, value in (("hidden_size", spec.hidden_size),
                                   ("intermediate_size", spec.intermediate_size)) if value % step}

    def _common(self, spec: MoeSpec, weights: dict[str, Any], hidden: Any) -> dict[str, Any]:
        local = spec.num_experts if spec.num_local_experts < 0 else spec.num_local_experts
        constants = {}
        for field, name in (("swiglu_alpha", "gemm1_alpha"), ("swiglu_beta", "gemm1_beta"),
                            ("swiglu_limit", "gemm1_clamp_limit")):
            value = getattr(spec, field)
            if value != {"swiglu_alpha": 1.0, "swiglu_beta": 0.0}.get(field, np.inf):
                constants[name] = self._constant(value, local, hidden)
        return dict(
            num_experts=spec.num_experts, top_k=spec.top_k,
            n_group=None if spec.n_group == 1 else spec.n_group,
            topk_group=None if spec.n_group == 1 else spec.topk_group,
            intermediate_size=spec.intermediate_size,
            local_expert_offset=spec.local_expert_offset, local_num_experts=local,
            use_shuffled_weight=self._shuffled, weight_layout=int(self._layout),
            activation_type=int(_FLASHINFER_ACTIVATIONS[spec.activation]), **constants,
            **self._extra)

    @staticmethod
    def _constant(value: float, experts: int, hidden: Any) -> Any:
        if _arrays.is_torch(hidden):
            import torch

            return torch.full((experts,), value, dtype=torch.float32, device=hidden.device)
        return np.full(experts, value, np.float32)

    @staticmethod
    def _first(result: Any) -> Any:
        return result[0] if isinstance(result, list) else result


class flashinfer_bf16_moe(_FlashInfer):
    """For a function with the signature of FlashInfer's ``trtllm_bf16_moe``.

    Cases that give a routing, or hidden states that are not bfloat16, are computed by the
    ``reference`` backend and say nothing about fn. NumPy arrays reach fn as sluice.Tensor. For
    FlashInfer itself: arrays="torch", device="cuda".
    """

    claims = ["router.score_func", "router.score_order", "router.e_score_correction_bias",
              "router.n_group", "router.topk_group", "router.norm_topk_prob", "router.norm_eps",
              "router.norm_rule", "router.routed_scaling_factor",
              "router.apply_router_weight_on_input", *_EXPERT_CLAIMS]

    def refusals(self, spec: MoeSpec) -> dict[str, str]:
        reasons = self._size_refusals(spec)
        method = _method_of(spec)
        if method is None:
            reasons["router.score_func"] = "no routing method of FlashInfer has these router fields"
        elif spec.n_group > 1 and method is not RoutingMethodType.DeepSeekV3:
            reasons["router.n_group"] = f"FlashInfer's {method.name} has no groups"
        return reasons

    def load(self, spec: MoeSpec, weights: dict[str, Any]) -> Callable[..., Any]:
        gated = spec.activation in _GATED
        gemm1 = self._prepare(weights["gate_up_proj"], "gemm1_weights", gated)
        gemm2 = self._prepare(weights["down_proj"], "gemm2_weights", False)
        method = _method_of(spec)
        given: list = []

        def forward(hidden_states, router_logits, topk_ids, topk_weights):
            if router_logits is None or not _is_bf16(hidden_states):
                return _by_reference(given, spec, weights, hidden_states, router_logits, topk_ids,
                                     topk_weights)
            return self._first(self._fn(
                routing_logits=router_logits,
                routing_bias=weights.get("e_score_correction_bias"),
                hidden_states=hidden_states, gemm1_weights=gemm1, gemm2_weights=gemm2,
                routed_scaling_factor=spec.routed_scaling_factor,
                routing_method_type=int(method), **self._common(spec, weights, hidden_states)))

        return forward


class flashinfer_bf16_routed_moe(_FlashInfer):
    """For a function with the signature of FlashInfer's ``trtllm_bf16_routed_moe``.

    Routings travel as (ids, weights): the packed form would round the weights to bfloat16 on the
    way. Hidden states that are not bfloat16 are computed by the ``reference`` backend.
    """

    claims = ["router.*", *_EXPERT_CLAIMS]

    def refusals(self, spec: MoeSpec) -> dict[str, str]:
        reasons = self._size_refusals(spec)
        for field in ("apply_routed_scale_to_output", "apply_router_weight_on_input"):
            if getattr(spec, field):
                reasons[f"router.{field}"] = "is true; the call cannot say it"
        return reasons

    def load(self, spec: MoeSpec, weights: dict[str, Any]) -> Callable[..., Any]:
        gated = spec.activation in _GATED
        gemm1 = self._prepare(weights["gate_up_proj"], "gemm1_weights", gated)
        gemm2 = self._prepare(weights["down_proj"], "gemm2_weights", False)

        given: list = []

        def forward(hidden_states, router_logits, topk_ids, topk_weights):
            if not _is_bf16(hidden_states):
                return _by_reference(given, spec, weights, hidden_states, router_logits, topk_ids,
                                     topk_weights)
            if topk_ids is None:
                topk_ids, topk_weights = _route(spec, weights, router_logits)
            return self._first(self._fn(
                topk_ids=(topk_ids, topk_weights), hidden_states=hidden_states,
                gemm1_weights=gemm1, gemm2_weights=gemm2,
                **self._common(spec, weights, hidden_states)))

        return forward


# ---- vLLM --------------------------------------------------------------------------------------

_VLLM_ACTIVATIONS = {"swiglu": "silu", "geglu": "gelu", "relu2": "relu2_no_mul",
                     "silu": "silu_no_mul", "gelu": "gelu_no_mul"}


def _vllm_activation(fn: Callable[..., Any], name: str) -> Any:
    """vLLM's activation is a string in older versions and an enumeration in newer ones."""
    import enum
    import inspect

    try:
        default = inspect.signature(fn).parameters["activation"].default
    except (KeyError, TypeError, ValueError):
        return name
    return type(default)(name) if isinstance(default, enum.Enum) else name


class vllm_fused_experts:
    """For a function with the signature of vLLM's ``fused_experts``.

    fused_experts(hidden_states, w1, w2, topk_weights, topk_ids, *, activation,
    apply_router_weight_on_input, global_num_experts, expert_map): the routing is given, and where a
    case has logits, our router makes it. Audit with slot_outputs_rounded=True: vLLM's Triton kernels
    write each slot's output in bf16 before they are summed.
    """

    claims = ["router.*", "experts.activation", "layer.local_expert_offset",
              "layer.num_local_experts", "layer.expert_map"]

    def __init__(self, fn: Callable[..., Any], **extra: Any) -> None:
        self._fn = fn
        self._extra = extra
        self.__name__ = getattr(fn, "__name__", type(fn).__name__)

    def refusals(self, spec: MoeSpec) -> dict[str, str]:
        reasons = {}
        if spec.apply_routed_scale_to_output:
            reasons["router.apply_routed_scale_to_output"] = "is true; the call cannot say it"
        if spec.activation not in _VLLM_ACTIVATIONS:
            reasons["experts.activation"] = (
                f"is {spec.activation}; the call knows {', '.join(_VLLM_ACTIVATIONS)}")
        return reasons

    def load(self, spec: MoeSpec, weights: dict[str, Any]) -> Callable[..., Any]:
        expert_map = self._expert_map(spec, weights["down_proj"])
        activation = _vllm_activation(self._fn, _VLLM_ACTIVATIONS[spec.activation])

        def forward(hidden_states, router_logits, topk_ids, topk_weights):
            if topk_ids is None:
                topk_ids, topk_weights = _route(spec, weights, router_logits)
            return self._fn(
                hidden_states, weights["gate_up_proj"], weights["down_proj"], topk_weights, topk_ids,
                activation=activation,
                apply_router_weight_on_input=spec.apply_router_weight_on_input,
                global_num_experts=spec.num_experts, expert_map=expert_map, **self._extra)

        return forward

    @staticmethod
    def _expert_map(spec: MoeSpec, like: Any) -> Any:
        """[E] int32 global -> local or -1; None if every expert is here."""
        mapping = np.array(spec.expert_map, np.int32)
        if not spec.expert_map:
            count = spec.num_local_experts
            if count < 0 or count == spec.num_experts:
                return None
            mapping = np.full(spec.num_experts, -1, np.int32)
            first = spec.local_expert_offset
            mapping[first:first + count] = np.arange(count)
        if _arrays.is_torch(like):
            import torch

            return torch.from_numpy(mapping).to(like.device)
        return mapping
