"""The packed layer of a FlashInfer call: made once per pair of weight arrays."""

from __future__ import annotations

from typing import Any

from .. import _arrays
from .._core import Backend, MoeSpec, Tensor
from .._errors import Error
from .._layer import Layer, layer
from . import _flashinfer_layout as layout
from ._flashinfer_enums import WeightLayout
from ._flashinfer_fields import activation_fields, integer, layout_of, real, small_values
from ._packed_layers import PackedLayers

packed_layers = PackedLayers()


def _weight_rows(weights: Any, name: str, experts: int, blocked: bool) -> tuple[int, int]:
    """(rows, columns) of one expert's matrix, after the checks that need no values."""
    array = _arrays.view(weights, name)
    if array.dtype != "BF16":
        raise Error(f"{name} is {array.dtype}; it must be BF16")
    if len(array.shape) != (4 if blocked else 3) or array.shape[0] != experts:
        wanted = "[local experts, K / 64, rows, 64]" if blocked else "[local experts, rows, K]"
        raise Error(f"{name} has shape {array.shape}; with {experts} local experts and "
                    f"{'BlockMajorK' if blocked else 'MajorK'} it must be {wanted}")
    if blocked:
        return array.shape[2], array.shape[1] * array.shape[3]
    return array.shape[1], array.shape[2]


def _bias_bytes(routing_bias: Any) -> tuple[str, bytes] | None:
    """The bias by value: engines cast it anew for every call."""
    if routing_bias is None:
        return None
    bits = small_values.bits(routing_bias, "routing_bias")
    return (bits.dtype.name, bits.tobytes())


def _backend_key(backend: str | Backend) -> Any:
    return backend if isinstance(backend, str) else id(backend)


def _pack(spec: MoeSpec, gemm1: Any, gemm2: Any, bias: Any, shuffled: bool, blocked: bool,
          gated: bool, backend: str | Backend) -> Layer:
    def restored(stored: Any, name: str, gated: bool) -> Any:
        how = dict(gated=gated, shuffled=shuffled, blocked=blocked)
        if _arrays.view(stored, name).device != "cpu":
            return layout.restore(stored, name, **how)  # torch, on its device
        return Tensor(layout.restore(_arrays.bits_of(stored, name), name, **how), "BF16")

    weights: dict[str, Any] = {"gate_up_proj": restored(gemm1, "gemm1_weights", gated),
                               "down_proj": restored(gemm2, "gemm2_weights", False)}
    if bias is not None:
        weights["e_score_correction_bias"] = bias
    return layer(spec, weights, backend)


def find_layer(
    *, routing: dict[str, Any], hidden_states: Any, routing_bias: Any, gemm1_weights: Any,
    gemm2_weights: Any, num_experts: int, top_k: int, intermediate_size: int,
    local_expert_offset: int, local_num_experts: int, routed_scaling_factor: float | None,
    use_shuffled_weight: bool, weight_layout: int, activation_type: int, gemm1_alpha: Any,
    gemm1_beta: Any, gemm1_clamp_limit: Any, backend: str | Backend,
) -> Layer:
    """The packed layer of a call."""
    num_experts = integer(num_experts, "num_experts")
    top_k = integer(top_k, "top_k")
    intermediate_size = integer(intermediate_size, "intermediate_size")
    local_expert_offset = integer(local_expert_offset, "local_expert_offset")
    local_num_experts = integer(local_num_experts, "local_num_experts")
    hidden = _arrays.view(hidden_states, "hidden_states")
    if hidden.dtype != "BF16" or len(hidden.shape) != 2:
        raise Error(f"hidden_states has shape {hidden.shape} and dtype {hidden.dtype}; it must be "
                    "[tokens, hidden_size] BF16")
    blocked = layout_of(weight_layout) is WeightLayout.BlockMajorK
    activation, gated = activation_fields(activation_type, local_num_experts, gemm1_alpha,
                                          gemm1_beta, gemm1_clamp_limit)
    rows = intermediate_size * (2 if gated else 1)
    expected = {"gemm1_weights": (gemm1_weights, (rows, hidden.shape[1])),
                "gemm2_weights": (gemm2_weights, (hidden.shape[1], intermediate_size))}
    for name, (weights, shape) in expected.items():
        got = _weight_rows(weights, name, local_num_experts, blocked)
        if got != shape:
            raise Error(f"{name} holds matrices {list(got)}; hidden_size {hidden.shape[1]} and "
                        f"intermediate_size {intermediate_size} make them {list(shape)}")
    fields: dict[str, Any] = dict(
        num_experts=num_experts, top_k=top_k, hidden_size=hidden.shape[1],
        intermediate_size=intermediate_size, **routing, **activation)
    fields["routed_scaling_factor"] = (
        1.0 if routed_scaling_factor is None
        else real(routed_scaling_factor, "routed_scaling_factor"))
    fields["e_score_correction_bias"] = routing_bias is not None
    if (local_expert_offset, local_num_experts) != (0, num_experts):
        fields |= {"local_expert_offset": local_expert_offset,
                   "num_local_experts": local_num_experts}
    spec = MoeSpec(**fields)
    key = (spec, bool(use_shuffled_weight), blocked, _bias_bytes(routing_bias),
           _backend_key(backend))
    return packed_layers.get(
        (gemm1_weights, gemm2_weights), key,
        lambda: _pack(spec, gemm1_weights, gemm2_weights, routing_bias, bool(use_shuffled_weight),
                      blocked, gated, backend))
