"""Other shapes of call, as what ``sluice.audit`` takes.

Each adapter is an object with ``load``. Those for a library's call carry the ``claims`` that the call
can express, so that ``sluice.audit(adapters.vllm_fused_experts(fn))`` needs none; pass fewer to audit
fewer fields. What a call cannot be given (a routing, where it takes logits) the ``reference`` backend
computes: those cases say nothing about fn.
"""

from __future__ import annotations

import enum
import inspect
from typing import Any, Callable

import numpy as np

from . import _arrays
from ._core import MoeSpec, Tensor
from ._errors import Error
from ._layer import Layer, layer, route
from .compat import _flashinfer_layout as layout
from .compat._flashinfer_enums import ActivationType, RoutingMethodType, WeightLayout

__all__ = ["flashinfer_bf16_moe", "flashinfer_bf16_routed_moe", "from_logits", "from_routing",
           "vllm_fused_experts"]


def _on_host(array: Any) -> Any:
    return array.cpu() if _arrays.is_torch(array) else array


def _like(reference: Any, bits: np.ndarray, dtype: str | None = None) -> Any:
    """An array as torch on the reference's device where that is torch; BF16 from uint16 bits."""
    if _arrays.is_torch(reference):
        import torch

        if dtype == "BF16":
            return torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16).to(reference.device)
        return torch.from_numpy(bits).to(reference.device)
    return bits if dtype is None else Tensor(bits, dtype)


def _route(spec: MoeSpec, weights: dict[str, Any], router_logits: Any) -> tuple[Any, Any]:
    """Our router's choice, in the kind and on the device of the logits."""
    biases = {name: _on_host(weights[name]) for name in ("router_bias", "e_score_correction_bias")
              if name in weights}
    ids, routed = route(spec, _on_host(router_logits), **biases)
    return _like(router_logits, ids), _like(router_logits, routed)


class _Reference:
    """The definition, for cases that a call cannot be given; packed when first needed."""

    def __init__(self, spec: MoeSpec, weights: dict[str, Any]) -> None:
        self._spec, self._weights = spec, weights
        self._layer: Layer | None = None

    def __call__(self, *tensors: Any) -> Any:
        if self._layer is None:
            weights = {name: _on_host(array) for name, array in self._weights.items()}
            self._layer = layer(self._spec, weights, "reference", threads=1)
        return self._layer(*(_on_host(tensor) for tensor in tensors))


class _Adapter:
    def __init__(self, fn: Callable[..., Any], **extra: Any) -> None:
        self._fn = fn
        self._extra = extra
        self.__name__ = getattr(fn, "__name__", type(fn).__name__)


class from_routing(_Adapter):
    """For fn(spec, weights, hidden_states, topk_ids, topk_weights) -> output.

    Where a case gives logits, our router routes them and fn gets the result: topk_weights are final
    but for apply_routed_scale_to_output and apply_router_weight_on_input, which are fn's to apply.
    """

    def load(self, spec: MoeSpec, weights: dict[str, Any]) -> Callable[..., Any]:
        def forward(hidden_states, router_logits, topk_ids, topk_weights):
            if topk_ids is None:
                topk_ids, topk_weights = _route(spec, weights, router_logits)
            return self._fn(spec, weights, hidden_states, topk_ids, topk_weights, **self._extra)

        return forward


class from_logits(_Adapter):
    """For fn(spec, weights, hidden_states, router_logits) -> output, or (output, ids, weights)."""

    def load(self, spec: MoeSpec, weights: dict[str, Any]) -> Callable[..., Any]:
        reference = _Reference(spec, weights)

        def forward(hidden_states, router_logits, topk_ids, topk_weights):
            if router_logits is None:
                return reference(hidden_states, None, topk_ids, topk_weights)
            return self._fn(spec, weights, hidden_states, router_logits, **self._extra)

        return forward


# ---- Calls that take and return bfloat16 -------------------------------------------------------

_ROUTER_CLAIMS = [f"router.{key}" for key in (
    "score_func", "score_order", "router_bias", "e_score_correction_bias",
    "weights_from_biased_scores", "n_group", "topk_group", "group_score", "norm_topk_prob",
    "norm_single_expert", "norm_eps", "norm_rule", "routed_scaling_factor", "router_logits_dtype")]
_EXPERT_CLAIMS = ["experts.activation", "layer.local_expert_offset", "layer.num_local_experts"]


class _Bf16Call(_Adapter):
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
        reference = _Reference(spec, weights)
        call = self._bind(spec, weights)

        def forward(hidden_states, router_logits, topk_ids, topk_weights):
            dtype = _arrays.view(_on_host(hidden_states), "hidden_states").dtype
            if dtype != "BF16":
                raise Error(f"hidden_states is {dtype} and {self.__name__} takes BF16 alone; "
                            "audit it with bf16_tokens=True", "unsupported")
            if topk_ids is not None and not self.takes_routing:
                return reference(hidden_states, None, topk_ids, topk_weights)
            result = call(hidden_states, router_logits, topk_ids, topk_weights)
            return result[0] if isinstance(result, list) else result

        return forward

    def _bind(self, spec: MoeSpec, weights: dict[str, Any]) -> Callable[..., Any]:
        raise NotImplementedError


# ---- FlashInfer --------------------------------------------------------------------------------

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


class _FlashInfer(_Bf16Call):
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
        self._layout = WeightLayout(weight_layout)

    def _prepare(self, array: Any, name: str, gated: bool) -> Any:
        matrices = _padded(_arrays.bits_of(_on_host(array), name), 2 if gated else 1)
        prepared = layout.prepare(matrices, name, gated=gated, shuffled=self._shuffled,
                                  blocked=self._layout is WeightLayout.BlockMajorK)
        return _like(array, prepared, "BF16")

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
                constants[name] = _like(gemm1, np.full(local, value, np.float32))
        common = dict(
            gemm1_weights=gemm1, gemm2_weights=gemm2, num_experts=spec.num_experts,
            top_k=spec.top_k, n_group=spec.n_group if grouped else None,
            topk_group=spec.topk_group if grouped else None,
            intermediate_size=-(-spec.intermediate_size // _GRID) * _GRID,
            local_expert_offset=spec.local_expert_offset, local_num_experts=local,
            use_shuffled_weight=self._shuffled, weight_layout=int(self._layout),
            activation_type=int(self.activations[spec.activation]), **constants, **self._extra)

        def call(hidden_states, router_logits, topk_ids, topk_weights):
            bits = _arrays.bits_of(_on_host(hidden_states), "hidden_states")
            padded = _like(hidden_states, _padded(bits[None], 1)[0, : len(bits)], "BF16")
            result = self._call(spec, weights, common, padded, router_logits, topk_ids,
                                topk_weights)
            result = result[0] if isinstance(result, list) else result
            narrow = _arrays.bits_of(_on_host(result), "output")[:, : spec.hidden_size]
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
              *_EXPERT_CLAIMS]
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

    claims = [*_ROUTER_CLAIMS, "experts.swiglu_alpha", "experts.swiglu_beta",
              "experts.swiglu_limit", *_EXPERT_CLAIMS]

    def _call(self, spec, weights, common, hidden_states, router_logits, topk_ids, topk_weights):
        if topk_ids is None:
            topk_ids, topk_weights = _route(spec, weights, router_logits)
        return self._fn(topk_ids=(topk_ids, topk_weights), hidden_states=hidden_states, **common)


# ---- vLLM --------------------------------------------------------------------------------------


class vllm_fused_experts(_Bf16Call):
    """For a function with the signature of vLLM's ``fused_experts``.

    fused_experts(hidden_states, w1, w2, topk_weights, topk_ids, *, activation,
    apply_router_weight_on_input, global_num_experts, expert_map): where a case gives logits, our
    router routes them. Audit with slot_outputs_rounded=True: vLLM's Triton kernels write every slot's
    output in bfloat16 before the sum.
    """

    claims = [*_ROUTER_CLAIMS, "router.apply_router_weight_on_input", "layer.expert_map",
              *_EXPERT_CLAIMS]
    activations = {"swiglu": "silu", "geglu": "gelu", "relu2": "relu2_no_mul",
                   "silu": "silu_no_mul", "gelu": "gelu_no_mul"}

    def _bind(self, spec: MoeSpec, weights: dict[str, Any]) -> Callable[..., Any]:
        activation = self._activation(self.activations[spec.activation])
        expert_map = self._expert_map(spec, weights["down_proj"])

        def call(hidden_states, router_logits, topk_ids, topk_weights):
            if topk_ids is None:
                topk_ids, topk_weights = _route(spec, weights, router_logits)
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
        return _like(weights, mapping)
