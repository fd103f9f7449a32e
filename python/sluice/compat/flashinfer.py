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
a fresh view per call packs per call; see ``cache_info``). torch's in-place changes are noticed, but
those of inference tensors, which torch does not count; after these, and after changing a NumPy array
in place, call ``clear_cache``. Arrays are torch or NumPy (BF16 as described in
:class:`sluice.Tensor`); torch tensors on a GPU are used where they are, on torch's current stream, by
the backend cuda. There, small arrays whose values decide the layer (routing_bias, gemm1_*) are read
once per tensor object: in a CUDA graph's capture they must have been seen before. Numbers of
``routing_method_type`` are FlashInfer's (vLLM's 9 is another method). Errors are sluice.Error, naming
the argument.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _arrays
from .._core import Backend, Tensor
from .._errors import Error
from ._flashinfer_enums import ActivationType, RoutingMethodType, WeightLayout
from ._flashinfer_fields import member, refuse, routing_fields
from ._flashinfer_layers import find_layer, packed_layers
from ._packed_layers import CacheInfo

__all__ = ["ActivationType", "CacheInfo", "RoutingMethodType", "WeightLayout", "cache_info",
           "clear_cache", "trtllm_bf16_moe", "trtllm_bf16_routed_moe"]


def cache_info() -> CacheInfo:
    """How many packed layers are held, and how often calls packed and reused."""
    return packed_layers.info()


def clear_cache() -> None:
    """Forgets all packed weights: they are packed again when next seen."""
    packed_layers.clear()


def _refuse_partial_results(do_finalize: bool, gemm1_lora_delta: Any = None) -> None:
    if not do_finalize:
        raise refuse("do_finalize is False; only the finished output is computed here")
    if gemm1_lora_delta is not None:
        raise refuse("gemm1_lora_delta is given; there is no LoRA here")


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
    method = member(RoutingMethodType, routing_method_type, "routing_method_type")
    found = find_layer(
        routing=routing_fields(method, norm_topk_prob, n_group, topk_group),
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
        raise refuse(f"routed_scaling_factor is {routed_scaling_factor}; given weights are final: "
                     "multiply them by it and pass None")
    method = member(RoutingMethodType, routing_method_type, "routing_method_type")
    llama4 = method is RoutingMethodType.Llama4
    found = find_layer(
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
