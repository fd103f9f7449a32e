"""FlashInfer's arguments, read and refused by name, as fields of a MoeSpec."""

from __future__ import annotations

import operator
from typing import Any

from .. import _arrays
from .._errors import Error
from ._flashinfer_enums import ActivationType, RoutingMethodType, WeightLayout
from ._packed_layers import SmallValues

_ACTIVATIONS = {
    ActivationType.Gelu: "gelu",
    ActivationType.Silu: "silu",
    ActivationType.Swiglu: "swiglu",
    ActivationType.Geglu: "geglu",
    ActivationType.GegluTanh: "geglu_tanh",
    ActivationType.Relu2: "relu2",
    ActivationType.Identity: "identity",
}
_GATED = {ActivationType.Swiglu, ActivationType.Geglu, ActivationType.GegluTanh}
_NORMALISING = {RoutingMethodType.DeepSeekV3, RoutingMethodType.MiniMax2,
                RoutingMethodType.SigmoidRenorm, RoutingMethodType.RenormalizeNaive}

small_values = SmallValues()


def refuse(message: str) -> Error:
    return Error(message, "unsupported")


def member(kind: type, value: int, name: str) -> Any:
    try:
        return kind(value)
    except ValueError:
        raise Error(f"{name} is {value!r}; choose among "
                    + ", ".join(f"{m.value} {m.name}" for m in kind)) from None


def layout_of(weight_layout: int) -> WeightLayout:
    layout = member(WeightLayout, weight_layout, "weight_layout")
    if layout is WeightLayout.MajorMn:
        raise refuse("weight_layout is MajorMn; there are MajorK and BlockMajorK")
    return layout


def integer(value: Any, name: str) -> int:
    """What int() would cut or parse is a slip of the caller's: 8.7 experts, or "8" of them."""
    try:
        return operator.index(value)
    except TypeError:
        raise Error(f"{name} is {value!r}; it must be an integer") from None


def real(value: Any, name: str) -> float:
    if not isinstance(value, (str, bytes)):
        try:
            return float(value)
        except (TypeError, ValueError):
            pass
    raise Error(f"{name} is {value!r}; it must be a number")


def _groups(method: RoutingMethodType, n_group: int | None,
            topk_group: int | None) -> dict[str, int]:
    groups, kept = n_group or 1, topk_group or 1
    if groups == 1:
        if kept != 1:
            raise Error(f"topk_group is {topk_group} and n_group {n_group}; groups need both")
        return {}
    if method is not RoutingMethodType.DeepSeekV3:
        raise refuse(f"n_group is {n_group}; FlashInfer defines groups for DeepSeekV3 only, and "
                     f"the routing method is {method.name}")
    if topk_group is None:
        raise Error(f"n_group is {n_group} and topk_group is None; groups need both")
    return {"n_group": groups, "topk_group": topk_group}


def routing_fields(method: RoutingMethodType, norm_topk_prob: bool, n_group: int | None,
                   topk_group: int | None) -> dict[str, Any]:
    if method is RoutingMethodType.Unspecified:
        raise refuse("routing_method_type is Unspecified; name the method")
    fields: dict[str, Any] = {"routing_method": method.name, "e_score_correction_bias": False}
    fields |= _groups(method, n_group, topk_group)
    if not norm_topk_prob:
        if method is RoutingMethodType.Renormalize:
            raise refuse("norm_topk_prob is False; Renormalize is a softmax over the chosen "
                         "experts, and without normalisation it is the method Default")
        if method in _NORMALISING:
            fields |= {"norm_topk_prob": False, "norm_eps": 0.0, "norm_rule": "add"}
    return fields


def _constant(values: Any, name: str, experts: int) -> float | None:
    """The one value of a per-expert array."""
    if values is None:
        return None
    array = _arrays.view(values, name)
    if array.shape != (experts,) or array.dtype != "F32":
        raise Error(f"{name} has shape {array.shape} and dtype {array.dtype}; it must be "
                    f"[{experts}] F32")
    if experts == 0:
        return None  # of a rank without experts: nothing depends on it
    floats = small_values.bits(values, name)
    if not (floats == floats[0]).all():
        raise refuse(f"{name} differs between experts ({floats.min()} … {floats.max()}); a layer "
                     "here has one value for all")
    return float(floats[0])


def activation_fields(activation_type: int, experts: int, alpha: Any, beta: Any,
                      limit: Any) -> tuple[dict[str, Any], bool]:
    kind = member(ActivationType, activation_type, "activation_type")
    if kind not in _ACTIVATIONS:
        raise refuse(f"activation_type is {kind.name}; there are "
                     + ", ".join(known.name for known in _ACTIVATIONS))
    fields: dict[str, Any] = {"activation": _ACTIVATIONS[kind]}
    given = {"swiglu_alpha": ("gemm1_alpha", alpha), "swiglu_beta": ("gemm1_beta", beta),
             "swiglu_limit": ("gemm1_clamp_limit", limit)}
    for field, (name, values) in given.items():
        value = _constant(values, name, experts)
        if value is None:
            continue
        if kind is not ActivationType.Swiglu:
            raise Error(f"{name} is given and activation_type is {kind.name}; it belongs to Swiglu")
        fields[field] = value
    return fields, kind in _GATED
