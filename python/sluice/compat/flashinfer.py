"""FlashInfer's BF16 MoE calls, with nothing lost.

``trtllm_bf16_moe`` and ``trtllm_bf16_routed_moe`` have FlashInfer's arguments, order, defaults,
enumerations and weight layouts, and run on any of our backends (``backend=``, keyword only). Every
argument is honoured with every routing method or refused by name:

=====================  ==============================================================================
routing_bias           chooses (never weighs) with every method; FlashInfer ignores it but for
                       DeepSeekV3 and MiniMax2
routed_scaling_factor  multiplies the routed output with every method; FlashInfer ignores it but for
                       DeepSeekV3 and MiniMax2. Given routing has it in its weights already: there
                       any value but None and 1 is refused
n_group, topk_group    DeepSeekV3; None, 0 and 1 mean no groups; groups are refused for the others
norm_topk_prob         False: DeepSeekV3, MiniMax2, SigmoidRenorm and RenormalizeNaive do not
                       normalise; refused for Renormalize, whose softmax is over the chosen. The
                       methods that never normalise (Default, Llama4, TopK, Sigmoid, TopKSigmoid)
                       take True, FlashInfer's default, as what it is for them: nothing
gemm1_alpha, _beta,    [local experts] float32, equal for all experts; others are refused
gemm1_clamp_limit
routing_replay_out     written
do_finalize=False,     refused: their results are not the layer's output
gemm1_lora_delta
enable_pdl,            taken: they cannot change the result
tune_max_num_tokens
=====================  ==============================================================================

Weights are packed once per pair of weight arrays and kept while both arrays live (the very objects:
a fresh view per call packs per call; see ``cache_info``). torch's in-place changes are noticed; after
changing a NumPy array in place, call ``clear_cache``. Arrays are torch or NumPy (BF16 as described in
:class:`sluice.Tensor`); torch tensors on a GPU are used where they are, on torch's current stream, by
the backend cuda. There, small arrays whose values decide the layer (routing_bias, gemm1_*) are read
once per tensor object: in a CUDA graph's capture they must have been seen before. Numbers of ``routing_method_type`` are FlashInfer's (vLLM's 9
is another method). Errors are sluice.Error, naming the argument.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from .. import _arrays
from .._core import Backend, MoeSpec, Tensor
from .._errors import Error
from .._layer import Layer, layer
from . import _flashinfer_layout as layout
from ._flashinfer_enums import ActivationType, RoutingMethodType, WeightLayout
from ._packed_layers import CacheInfo, PackedLayers, SmallValues

__all__ = ["ActivationType", "CacheInfo", "RoutingMethodType", "WeightLayout", "cache_info",
           "clear_cache", "trtllm_bf16_moe", "trtllm_bf16_routed_moe"]

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

_layers = PackedLayers()
_small = SmallValues()


def cache_info() -> CacheInfo:
    """How many packed layers are held, and how often calls packed and reused."""
    return _layers.info()


def clear_cache() -> None:
    """Forgets all packed weights: they are packed again when next seen."""
    _layers.clear()


def _refuse(message: str) -> Error:
    return Error(message, "unsupported")


def _member(kind: type, value: int, name: str) -> Any:
    try:
        return kind(value)
    except ValueError:
        raise Error(f"{name} is {value!r}; choose among "
                    + ", ".join(f"{m.value} {m.name}" for m in kind)) from None


def _groups(method: RoutingMethodType, n_group: int | None,
            topk_group: int | None) -> dict[str, int]:
    groups, kept = n_group or 1, topk_group or 1
    if groups == 1:
        if kept != 1:
            raise Error(f"topk_group is {topk_group} and n_group {n_group}; groups need both")
        return {}
    if method is not RoutingMethodType.DeepSeekV3:
        raise _refuse(f"n_group is {n_group}; FlashInfer defines groups for DeepSeekV3 only, and "
                      f"the routing method is {method.name}")
    if topk_group is None:
        raise Error(f"n_group is {n_group} and topk_group is None; groups need both")
    return {"n_group": groups, "topk_group": topk_group}


def _routing(method: RoutingMethodType, norm_topk_prob: bool, n_group: int | None,
             topk_group: int | None) -> dict[str, Any]:
    if method is RoutingMethodType.Unspecified:
        raise _refuse("routing_method_type is Unspecified; name the method")
    fields: dict[str, Any] = {"routing_method": method.name, "e_score_correction_bias": False}
    fields |= _groups(method, n_group, topk_group)
    if not norm_topk_prob:
        if method is RoutingMethodType.Renormalize:
            raise _refuse("norm_topk_prob is False; Renormalize is a softmax over the chosen "
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
    floats = _small.bits(values, name)
    if not (floats == floats[0]).all():
        raise _refuse(f"{name} differs between experts ({floats.min()} … {floats.max()}); a layer "
                      "here has one value for all")
    return float(floats[0])


def _activation(activation_type: int, experts: int, alpha: Any, beta: Any,
                limit: Any) -> tuple[dict[str, Any], bool]:
    kind = _member(ActivationType, activation_type, "activation_type")
    if kind not in _ACTIVATIONS:
        raise _refuse(f"activation_type is {kind.name}; there are "
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
    bits = _small.bits(routing_bias, "routing_bias")
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


def _integer(value: Any, name: str) -> int:
    """What int() would cut or parse is a slip of the caller's: 8.7 experts, or "8" of them."""
    try:
        return operator.index(value)
    except TypeError:
        raise Error(f"{name} is {value!r}; it must be an integer") from None


def _real(value: Any, name: str) -> float:
    if not isinstance(value, (str, bytes)):
        try:
            return float(value)
        except (TypeError, ValueError):
            pass
    raise Error(f"{name} is {value!r}; it must be a number")


def _find_layer(
    *, routing: dict[str, Any], hidden_states: Any, routing_bias: Any, gemm1_weights: Any,
    gemm2_weights: Any, num_experts: int, top_k: int, intermediate_size: int,
    local_expert_offset: int, local_num_experts: int, routed_scaling_factor: float | None,
    use_shuffled_weight: bool, weight_layout: int, activation_type: int, gemm1_alpha: Any,
    gemm1_beta: Any, gemm1_clamp_limit: Any, backend: str | Backend,
) -> Layer:
    """The packed layer of a call."""
    num_experts = _integer(num_experts, "num_experts")
    top_k = _integer(top_k, "top_k")
    intermediate_size = _integer(intermediate_size, "intermediate_size")
    local_expert_offset = _integer(local_expert_offset, "local_expert_offset")
    local_num_experts = _integer(local_num_experts, "local_num_experts")
    hidden = _arrays.view(hidden_states, "hidden_states")
    if hidden.dtype != "BF16" or len(hidden.shape) != 2:
        raise Error(f"hidden_states has shape {hidden.shape} and dtype {hidden.dtype}; it must be "
                    "[tokens, hidden_size] BF16")
    stored = _member(WeightLayout, weight_layout, "weight_layout")
    if stored is WeightLayout.MajorMn:
        raise _refuse("weight_layout is MajorMn; there are MajorK and BlockMajorK")
    blocked = stored is WeightLayout.BlockMajorK
    activation, gated = _activation(activation_type, local_num_experts, gemm1_alpha, gemm1_beta,
                                    gemm1_clamp_limit)
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
        else _real(routed_scaling_factor, "routed_scaling_factor"))
    fields["e_score_correction_bias"] = routing_bias is not None
    if (local_expert_offset, local_num_experts) != (0, num_experts):
        fields |= {"local_expert_offset": local_expert_offset,
                   "num_local_experts": local_num_experts}
    spec = MoeSpec(**fields)
    key = (spec, bool(use_shuffled_weight), blocked, _bias_bytes(routing_bias),
           _backend_key(backend))
    return _layers.get(
        (gemm1_weights, gemm2_weights), key,
        lambda: _pack(spec, gemm1_weights, gemm2_weights, routing_bias, bool(use_shuffled_weight),
                      blocked, gated, backend))


def _refuse_partial_results(do_finalize: bool, gemm1_lora_delta: Any = None) -> None:
    if not do_finalize:
        raise _refuse("do_finalize is False; only the finished output is computed here")
    if gemm1_lora_delta is not None:
        raise _refuse("gemm1_lora_delta is given; there is no LoRA here")


def _record(routing_replay_out: Any, topk_ids: Any) -> None:
    if routing_replay_out is None:
        return
    replay = _arrays.view(routing_replay_out, "routing_replay_out", writable=True)
    ids = _arrays.view(topk_ids, "topk_ids")
    if (replay.dtype != "I16" or len(replay.shape) != 2 or replay.shape[0] < ids.shape[0]
            or replay.shape[1] != ids.shape[1]):
        raise Error(f"routing_replay_out has shape {replay.shape} and dtype {replay.dtype}; it must "
                    f"be [{ids.shape[0]} or more, {ids.shape[1]}] I16")
    if replay.device == "cpu" and ids.device == "cpu":
        replay.bits()[: ids.shape[0]] = ids.bits()
    else:
        routing_replay_out[: ids.shape[0]].copy_(topk_ids)  # torch, in the order of its stream


def trtllm_bf16_moe(
    routing_logits: Any,
    routing_bias: Any,
    hidden_states: Any,
    gemm1_weights: Any,
    gemm2_weights: Any,
    num_experts: int,
    top_k: int,
    n_group: int | None,
    topk_group: int | None,
    intermediate_size: int,
    local_expert_offset: int,
    local_num_experts: int,
    routed_scaling_factor: float | None = None,
    routing_method_type: int = 0,
    use_shuffled_weight: bool = True,
    weight_layout: int = WeightLayout.BlockMajorK,
    do_finalize: bool = True,
    enable_pdl: bool = True,
    tune_max_num_tokens: int = 8192,
    activation_type: int = ActivationType.Swiglu.value,
    norm_topk_prob: bool = True,
    routing_replay_out: Any = None,
    gemm1_alpha: Any = None,
    gemm1_beta: Any = None,
    gemm1_clamp_limit: Any = None,
    output: Any = None,
    *,
    backend: str | Backend = "auto",
) -> Any:
    """FlashInfer's call of that name, every argument honoured or refused (see the module).

    routing_logits  [tokens, num_experts] float32 or bfloat16
    routing_bias    [num_experts] float32 or bfloat16, or None: added to the scores for choosing
    hidden_states   [tokens, hidden_size] bfloat16
    gemm1_weights   bfloat16, up rows before gate rows: [local experts, 2 I, hidden_size] (MajorK) or
                    [local experts, hidden_size / 64, 2 I, 64] (BlockMajorK); I rows if not gated
    gemm2_weights   [local experts, hidden_size, I], or [local experts, I / 64, hidden_size, 64]
    output          [tokens, hidden_size] bfloat16: written and returned, if given

    Returns [tokens, hidden_size] bfloat16 of hidden_states' kind.
    """
    del enable_pdl, tune_max_num_tokens  # how, not what
    _refuse_partial_results(do_finalize)
    method = _member(RoutingMethodType, routing_method_type, "routing_method_type")
    found = _find_layer(
        routing=_routing(method, norm_topk_prob, n_group, topk_group),
        hidden_states=hidden_states, routing_bias=routing_bias, gemm1_weights=gemm1_weights,
        gemm2_weights=gemm2_weights, num_experts=num_experts, top_k=top_k,
        intermediate_size=intermediate_size, local_expert_offset=local_expert_offset,
        local_num_experts=local_num_experts, routed_scaling_factor=routed_scaling_factor,
        use_shuffled_weight=use_shuffled_weight, weight_layout=weight_layout,
        activation_type=activation_type, gemm1_alpha=gemm1_alpha, gemm1_beta=gemm1_beta,
        gemm1_clamp_limit=gemm1_clamp_limit, backend=backend)
    result = found.forward(hidden_states, routing_logits, output=output)
    _record(routing_replay_out, result.topk_ids)
    return result.output


def _given_routing(topk_ids: Any) -> tuple[Any, Any]:
    if isinstance(topk_ids, tuple):
        if len(topk_ids) != 2:
            raise Error(f"topk_ids is a tuple of {len(topk_ids)}; it must be (ids, weights)")
        return topk_ids
    given = _arrays.view(topk_ids, "topk_ids")
    if given.dtype != "I32":
        raise Error(f"topk_ids is {given.dtype}; packed routing is int32: "
                    "expert << 16 | bits of the bfloat16 weight")
    if given.device != "cpu":
        import torch

        return topk_ids >> 16, (topk_ids & 0xFFFF).to(torch.int16).view(torch.bfloat16)
    packed = given.bits()
    return packed >> 16, Tensor((packed & 0xFFFF).astype(np.uint16), "BF16")


def trtllm_bf16_routed_moe(
    topk_ids: Any,
    hidden_states: Any,
    gemm1_weights: Any,
    gemm2_weights: Any,
    num_experts: int,
    top_k: int,
    n_group: int | None,
    topk_group: int | None,
    intermediate_size: int,
    local_expert_offset: int,
    local_num_experts: int,
    routed_scaling_factor: float | None = None,
    routing_method_type: int = 0,
    use_shuffled_weight: bool = True,
    weight_layout: int = WeightLayout.BlockMajorK,
    do_finalize: bool = True,
    enable_pdl: bool = True,
    gemm1_lora_delta: Any = None,
    tune_max_num_tokens: int = 8192,
    activation_type: int = ActivationType.Swiglu.value,
    routing_replay_out: Any = None,
    gemm1_alpha: Any = None,
    gemm1_beta: Any = None,
    gemm1_clamp_limit: Any = None,
    output: Any = None,
    *,
    backend: str | Backend = "auto",
) -> Any:
    """FlashInfer's call of that name: the routing is given (see the module).

    topk_ids: [tokens, top_k] int32, expert << 16 | bits of its bfloat16 weight; or a tuple (ids int32,
    weights bfloat16 or float32). Given weights are final, so n_group and topk_group have done their
    work and a factor would be a second one: routed_scaling_factor must be None or 1.
    routing_method_type matters only where it says Llama4: the weight multiplies the expert's input.
    The rest is as in :func:`trtllm_bf16_moe`.
    """
    del enable_pdl, tune_max_num_tokens, n_group, topk_group
    _refuse_partial_results(do_finalize, gemm1_lora_delta)
    if routed_scaling_factor is not None and routed_scaling_factor != 1.0:
        raise _refuse(f"routed_scaling_factor is {routed_scaling_factor}; given weights are final: "
                      "multiply them by it and pass None")
    method = _member(RoutingMethodType, routing_method_type, "routing_method_type")
    llama4 = method is RoutingMethodType.Llama4
    found = _find_layer(
        routing={"apply_router_weight_on_input": True} if llama4 else {},
        hidden_states=hidden_states, routing_bias=None, gemm1_weights=gemm1_weights,
        gemm2_weights=gemm2_weights, num_experts=num_experts, top_k=top_k,
        intermediate_size=intermediate_size, local_expert_offset=local_expert_offset,
        local_num_experts=local_num_experts, routed_scaling_factor=None,
        use_shuffled_weight=use_shuffled_weight, weight_layout=weight_layout,
        activation_type=activation_type, gemm1_alpha=gemm1_alpha, gemm1_beta=gemm1_beta,
        gemm1_clamp_limit=gemm1_clamp_limit, backend=backend)
    ids, weights = _given_routing(topk_ids)
    result = found.forward(hidden_states, topk_ids=ids, topk_weights=weights, output=output)
    _record(routing_replay_out, result.topk_ids)
    return result.output
