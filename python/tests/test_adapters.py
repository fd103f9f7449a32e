"""Adapters, with stand-ins that have the signatures of the calls they stand for."""

import enum
import inspect

import numpy as np
import pytest

import sluice
from sluice import adapters
from sluice.adapters._flashinfer import method_of
from sluice.compat import flashinfer as fi

from test_backends import mine


class Counted:
    """A stand-in that counts: an audit that never calls its subject proves nothing."""

    def __init__(self, fn, **changed):
        self.fn, self.changed, self.calls, self.__name__ = fn, changed, 0, fn.__name__

    def __call__(self, *args, **kwargs):
        self.calls += 1
        return self.fn(*args, **{**kwargs, **self.changed})


def failed_fields(report):
    return {failure.field for failure in report.failures}


def fused_experts(hidden_states, w1, w2, topk_weights, topk_ids, inplace=False, activation="silu",
                  apply_router_weight_on_input=False, global_num_experts=-1, expert_map=None,
                  quant_config=None, allow_deep_gemm=False):
    """vLLM's signature, computed by our reference: expert_map says what is local."""
    assert not inplace and quant_config is None and not allow_deep_gemm
    names = {"silu": "swiglu", "gelu": "geglu", "relu2_no_mul": "relu2", "silu_no_mul": "silu",
             "gelu_no_mul": "gelu"}
    activation = activation.value if isinstance(activation, enum.Enum) else activation
    spec = sluice.MoeSpec(
        num_experts=global_num_experts, top_k=topk_ids.shape[1], hidden_size=w2.shape[1],
        intermediate_size=w2.shape[2], activation=names[activation],
        apply_router_weight_on_input=apply_router_weight_on_input,
        expert_map=[] if expert_map is None else expert_map.tolist())
    layer = sluice.layer(spec, {"gate_up_proj": w1, "down_proj": w2}, "cpu", threads=1)
    return layer(hidden_states, topk_ids=topk_ids, topk_weights=topk_weights)


class Activation(enum.Enum):
    SILU = "silu"
    GELU = "gelu"
    RELU2_NO_MUL = "relu2_no_mul"
    SILU_NO_MUL = "silu_no_mul"
    GELU_NO_MUL = "gelu_no_mul"


def fused_experts_with_enum(hidden_states, w1, w2, topk_weights, topk_ids,
                            activation=Activation.SILU, **rest):
    assert isinstance(activation, Activation)
    return fused_experts(hidden_states, w1, w2, topk_weights, topk_ids, activation=activation, **rest)


def test_from_routing_routes_where_logits_are_given():
    calls = []

    def experts(spec, weights, hidden_states, topk_ids, topk_weights):
        calls.append(topk_ids is None)
        return mine(spec, weights, hidden_states, None, topk_ids, topk_weights)

    claims = ["score_func", "routed_scaling_factor", "e_score_correction_bias"]
    assert sluice.audit(adapters.from_routing(experts), claims, suite="A", rounds=1).ok
    assert calls and not any(calls)

    def halved(*args):
        return experts(*args) / 2

    assert not sluice.audit(adapters.from_routing(halved), claims, suite="A", rounds=1).ok


def test_from_logits_is_called_with_logits_only():
    def layer(spec, weights, hidden_states, router_logits):
        assert router_logits is not None
        return mine(spec, weights, hidden_states, router_logits, None, None)

    claims = ["score_func", "routed_scaling_factor", "e_score_correction_bias"]
    counted = Counted(layer)
    assert sluice.audit(adapters.from_logits(counted), claims, rounds=1).ok
    assert counted.calls > 20

    def lost(spec, weights, hidden_states, router_logits):
        return layer(spec.replace(routed_scaling_factor=1.0), weights, hidden_states, router_logits)

    report = sluice.audit(adapters.from_logits(lost), claims, suite="A", rounds=1)
    assert failed_fields(report) == {"router.routed_scaling_factor"}


@pytest.mark.parametrize("shuffled, stored", [(True, 2), (False, 0)])
def test_our_flashinfer_call_passes_its_audit(shuffled, stored):
    counted = Counted(fi.trtllm_bf16_moe)
    report = sluice.audit(adapters.flashinfer_bf16_moe(counted, use_shuffled_weight=shuffled,
                                                       weight_layout=stored), rounds=1)
    assert report.ok, report.text
    assert report.backend == "trtllm_bf16_moe" and counted.calls > 30


def test_a_layout_in_which_no_weights_are_prepared_is_refused():
    with pytest.raises(sluice.Error, match="weight_layout is MajorMn; there are MajorK and Block"):
        adapters.flashinfer_bf16_moe(fi.trtllm_bf16_moe, weight_layout=fi.WeightLayout.MajorMn)
    with pytest.raises(sluice.Error, match="weight_layout is 7; choose among 0 MajorK"):
        adapters.flashinfer_bf16_routed_moe(fi.trtllm_bf16_routed_moe, weight_layout=7)


@pytest.mark.parametrize("changed, field", [
    (dict(routed_scaling_factor=None), "router.routed_scaling_factor"),
    (dict(routing_bias=None), "router.e_score_correction_bias"),
    (dict(gemm1_clamp_limit=None), "experts.swiglu_limit"),
    (dict(local_expert_offset=0), "layer.local_expert_offset"),
])
def test_what_a_flashinfer_call_drops_is_named(changed, field):
    bug_class = {"router.routed_scaling_factor": "A", "router.e_score_correction_bias": "C",
                 "experts.swiglu_limit": "E", "layer.local_expert_offset": "G"}[field]
    adapter = adapters.flashinfer_bf16_moe(Counted(fi.trtllm_bf16_moe, **changed))
    report = sluice.audit(adapter, suite=bug_class, rounds=1)
    assert field in failed_fields(report), report.text


def test_our_routed_flashinfer_call_passes_its_audit():
    counted = Counted(fi.trtllm_bf16_routed_moe)
    report = sluice.audit(adapters.flashinfer_bf16_routed_moe(counted), rounds=1)
    assert report.ok, report.text
    assert counted.calls > 30


@pytest.mark.parametrize("fn", [fused_experts, fused_experts_with_enum])
def test_vllms_signature(fn):
    counted = Counted(fn)
    counted.__signature__ = inspect.signature(fn)
    report = sluice.audit(adapters.vllm_fused_experts(counted), rounds=1)
    assert report.ok, report.text
    assert counted.calls > 30
    wrong = adapters.vllm_fused_experts(Counted(fused_experts, apply_router_weight_on_input=False))
    assert "router.apply_router_weight_on_input" in failed_fields(
        sluice.audit(wrong, suite="F", rounds=1))


def test_torch_tensors_reach_the_calls_as_bfloat16(torch):
    kinds = set()

    def watched(**arguments):
        kinds.update((name, value.dtype) for name, value in arguments.items()
                     if isinstance(value, torch.Tensor))
        assert not any(isinstance(value, np.ndarray) for value in arguments.values())
        return fi.trtllm_bf16_moe(**arguments)

    report = sluice.audit(adapters.flashinfer_bf16_moe(watched), arrays="torch", rounds=1)
    assert report.ok, report.text
    assert {("hidden_states", torch.bfloat16), ("gemm1_weights", torch.bfloat16),
            ("routing_bias", torch.float32)} <= kinds


@pytest.mark.parametrize("adapter, fn", [(adapters.flashinfer_bf16_moe, fi.trtllm_bf16_moe),
                                         (adapters.flashinfer_bf16_routed_moe,
                                          fi.trtllm_bf16_routed_moe),
                                         (adapters.vllm_fused_experts, fused_experts)])
def test_tokens_that_a_call_does_not_take_are_refused_by_name(adapter, fn):
    counted = Counted(fn)
    assert adapter.bf16_tokens and "layer.output_dtype" not in adapter.claims
    report = sluice.audit(adapter(counted), suite="J", rounds=1, bf16_tokens=False, diagnose=False)
    refused = [f.message for f in report.failures if "hidden_states is F" in f.message]
    assert refused and all(f"{fn.__name__} takes BF16 alone" in message for message in refused)


@pytest.mark.parametrize("method", [m for m in fi.RoutingMethodType if m.name != "Unspecified"])
def test_every_method_is_recognised_by_its_fields(method):
    spec = sluice.MoeSpec(num_experts=8, top_k=1 if method.name == "Llama4" else 3, hidden_size=64,
                          intermediate_size=64, routed_scaling_factor=2.5,
                          routing_method=method.name, e_score_correction_bias=True)
    found = method_of(spec)
    assert spec.replace(routing_method=found.name, e_score_correction_bias=True) == spec
    assert method_of(spec.replace(norm_topk_prob=True, norm_eps=0.01, top_k=2,
                                  apply_router_weight_on_input=False)) is None


def test_flashinfer_itself(torch):
    flashinfer = pytest.importorskip("flashinfer", reason="flashinfer is not installed")
    if not torch.cuda.is_available() or torch.cuda.get_device_capability()[0] != 10:
        pytest.skip("FlashInfer's TensorRT-LLM kernels need a Blackwell GPU")
    adapter = adapters.flashinfer_bf16_moe(flashinfer.fused_moe.trtllm_bf16_moe)
    print(sluice.audit(adapter, arrays="torch", device="cuda", slot_outputs_rounded=True).text)


def test_vllm_itself(torch):
    fused_moe = pytest.importorskip("vllm.model_executor.layers.fused_moe",
                                    reason="vllm is not installed")
    if not torch.cuda.is_available():
        pytest.skip("vLLM's fused_experts needs a GPU")
    adapter = adapters.vllm_fused_experts(fused_moe.fused_experts)
    print(sluice.audit(adapter, arrays="torch", device="cuda", slot_outputs_rounded=True).text)
