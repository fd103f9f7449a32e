"""Other shapes of call, as what ``sluice.audit`` takes.

Each adapter is an object with ``load``. Those for a library's call carry the ``claims`` that the call
can express, so that ``sluice.audit(adapters.vllm_fused_experts(fn))`` needs none; pass fewer to audit
fewer fields. What a call cannot be given (a routing, where it takes logits) the ``reference`` backend
computes: those cases say nothing about fn.
"""

from ._calls import from_logits, from_routing
from ._flashinfer import flashinfer_bf16_moe, flashinfer_bf16_routed_moe
from ._vllm import vllm_fused_experts

__all__ = ["flashinfer_bf16_moe", "flashinfer_bf16_routed_moe", "from_logits", "from_routing",
           "vllm_fused_experts"]
