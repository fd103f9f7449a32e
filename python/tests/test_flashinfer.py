"""FlashInfer's calls on our backends: every argument honoured or refused by name."""

import inspect

import numpy as np
import pytest

import sluice
from sluice.compat import flashinfer as fi

import flashinfer_layout
from conftest import bf16

E, K, H, I, T = 8, 3, 64, 128, 6
FACTOR = 2.446


def tag(values):
    return sluice.Tensor.from_float32(np.ascontiguousarray(values, np.float32))


def bits(values):
    return tag(values).bits()


class Call:
    """One call with nothing neutral, as FlashInfer would get it, and the same layer in our words."""

    def __init__(self, *, gated=True, shuffled=True, blocked=True, seed=2):
        draw = np.random.default_rng(seed)
        normal = lambda *shape: draw.standard_normal(shape).astype(np.float32)
        rows = 2 * I if gated else I
        self.gate_up = bf16(normal(E, rows, H) / np.sqrt(H))
        self.down = bf16(normal(E, H, I) / np.sqrt(I))
        self.bias, self.logits, self.hidden = normal(E), normal(T, E), bf16(normal(T, H))
        gemm1, gemm2 = flashinfer_layout.prepare(bits(self.gate_up), bits(self.down), gated=gated,
                                                 shuffled=shuffled, blocked=blocked)
        self.arguments = dict(
            routing_logits=self.logits, routing_bias=self.bias, hidden_states=tag(self.hidden),
            gemm1_weights=sluice.Tensor(gemm1, "BF16"), gemm2_weights=sluice.Tensor(gemm2, "BF16"),
            num_experts=E, top_k=K, n_group=None, topk_group=None, intermediate_size=I,
            local_expert_offset=0, local_num_experts=E, routed_scaling_factor=FACTOR,
            use_shuffled_weight=shuffled,
            weight_layout=fi.WeightLayout.BlockMajorK if blocked else fi.WeightLayout.MajorK)

    def __call__(self, **changes):
        return fi.trtllm_bf16_moe(**{**self.arguments, **changes}).numpy()

    def layer(self, **fields):
        """The same through sluice.layer, on the definition."""
        first = fields.pop("first", 0)
        count = fields.pop("count", E)
        spec = sluice.MoeSpec(**{
            **dict(num_experts=E, top_k=K, hidden_size=H, intermediate_size=I,
                   routed_scaling_factor=FACTOR), **fields})
        if count != E:
            spec = spec.replace(local_expert_offset=first, num_local_experts=count)
        weights = {"gate_up_proj": self.gate_up, "down_proj": self.down}
        if spec.e_score_correction_bias:
            weights["e_score_correction_bias"] = self.bias
        return spec, weights, {"hidden_states": tag(self.hidden), "router_logits": self.logits}

    def truth(self, **fields):
        return sluice.oracle(*self.layer(**fields))


@pytest.fixture(autouse=True)
def empty_cache():
    fi.clear_cache()


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_the_call_of_the_report_loses_nothing(backend):
    """vllm#43769: this call, positional, with a factor that the kernel never saw."""
    call = Call()
    a = call.arguments
    out = fi.trtllm_bf16_moe(
        a["routing_logits"], a["routing_bias"], a["hidden_states"], a["gemm1_weights"],
        a["gemm2_weights"], E, K, 1, 1, I, 0, E, FACTOR, fi.RoutingMethodType.DeepSeekV3,
        backend=backend)
    assert call.truth(routing_method="DeepSeekV3").accepts(out)
    assert not call.truth(routing_method="DeepSeekV3", routed_scaling_factor=1.0).accepts(out)


@pytest.mark.parametrize("blocked", [True, False])
@pytest.mark.parametrize("shuffled", [True, False])
@pytest.mark.parametrize("activation", ["Swiglu", "GegluTanh", "Relu2", "Identity"])
def test_every_weight_layout_is_the_same_layer(activation, shuffled, blocked):
    gated = activation in ("Swiglu", "GegluTanh")
    call = Call(gated=gated, shuffled=shuffled, blocked=blocked)
    name = {"Swiglu": "swiglu", "GegluTanh": "geglu_tanh", "Relu2": "relu2",
            "Identity": "identity"}[activation]
    out = call(routing_method_type=2, activation_type=fi.ActivationType[activation])
    assert call.truth(routing_method="DeepSeekV3", activation=name).accepts(out)
    wrong = call(routing_method_type=2, activation_type=fi.ActivationType[activation],
                 use_shuffled_weight=not shuffled)
    assert not call.truth(routing_method="DeepSeekV3", activation=name).accepts(wrong)


@pytest.mark.parametrize("method", [m for m in fi.RoutingMethodType if m.name != "Unspecified"])
def test_bias_and_factor_are_honoured_with_every_method(method):
    call = Call()
    top_k = 1 if method.name == "Llama4" else K
    fields = dict(top_k=top_k, routing_method=method.name)
    out = call(routing_method_type=method, top_k=top_k)
    assert call.truth(**fields, e_score_correction_bias=True).accepts(out)
    for lost in (dict(e_score_correction_bias=False),
                 dict(e_score_correction_bias=True, routed_scaling_factor=1.0)):
        assert not call.truth(**fields, **lost).accepts(out)
    plain = call(routing_method_type=method, top_k=top_k, routing_bias=None,
                 routed_scaling_factor=None)
    assert call.truth(**{**fields, "routed_scaling_factor": 1.0},
                      e_score_correction_bias=False).accepts(plain)


def test_numpy_scalars_are_numbers_too():
    call = Call()
    same = call(num_experts=np.int64(E), top_k=np.int32(K), intermediate_size=np.int64(I),
                local_num_experts=np.int64(E), routed_scaling_factor=np.float64(FACTOR))
    np.testing.assert_array_equal(same, call())


def test_groups_and_norm_topk_prob():
    call = Call()
    grouped = call(routing_method_type=2, n_group=4, topk_group=2)
    assert call.truth(routing_method="DeepSeekV3", n_group=4, topk_group=2).accepts(grouped)
    assert not call.truth(routing_method="DeepSeekV3").accepts(grouped)
    for method in ("DeepSeekV3", "MiniMax2", "SigmoidRenorm", "RenormalizeNaive"):
        raw = call(routing_method_type=fi.RoutingMethodType[method], norm_topk_prob=False)
        same = dict(routing_method=method, e_score_correction_bias=True)
        assert call.truth(**same, norm_topk_prob=False, norm_eps=0.0, norm_rule="add").accepts(raw)
        assert not call.truth(**same).accepts(raw)
    for method in ("Default", "TopK", "Sigmoid", "TopKSigmoid"):
        number = fi.RoutingMethodType[method]
        np.testing.assert_array_equal(call(routing_method_type=number, norm_topk_prob=False),
                                      call(routing_method_type=number))


def test_local_experts_and_swiglu_constants():
    call = Call()
    a = call.arguments
    part = {name: sluice.Tensor(np.ascontiguousarray(a[name].bits()[2:7]), "BF16")
            for name in ("gemm1_weights", "gemm2_weights")}
    constants = dict(gemm1_alpha=np.full(5, 1.702, np.float32),
                     gemm1_beta=np.full(5, 1.0, np.float32),
                     gemm1_clamp_limit=np.full(5, 0.75, np.float32))
    out = call(routing_method_type=1, routing_bias=None, local_expert_offset=2,
               local_num_experts=5, **part, **constants)
    fields = dict(routing_method="Renormalize", first=2, count=5)
    oa = dict(swiglu_alpha=float(np.float32(1.702)), swiglu_beta=1.0, swiglu_limit=0.75)
    assert call.truth(**fields, **oa).accepts(out)
    for name in oa:
        neutral = {"swiglu_alpha": 1.0, "swiglu_beta": 0.0, "swiglu_limit": float("inf")}[name]
        assert not call.truth(**fields, **{**oa, name: neutral}).accepts(out)


def test_given_routing_packed_and_in_two():
    call = Call()
    draw = np.random.default_rng(7)
    ids = np.stack([draw.permutation(E)[:K] for _ in range(T)]).astype(np.int32)
    weights = bf16(draw.random((T, K)) + 0.25)
    weights[0, 0] *= -1  # the sign bit must not spill into the id
    packed = (ids << 16) | bits(weights).astype(np.int32)
    arguments = {name: value for name, value in call.arguments.items()
                 if name not in ("routing_logits", "routing_bias", "routed_scaling_factor")}
    spec, tensors, _ = call.layer(routed_scaling_factor=1.0)
    truth = sluice.oracle(spec, tensors, {"hidden_states": tag(call.hidden), "topk_ids": ids,
                                          "topk_weights": weights})
    replay = np.full((T + 2, K), -7, np.int16)
    for given in (packed, (ids, weights), (ids, tag(weights))):
        assert truth.accepts(fi.trtllm_bf16_routed_moe(given, **arguments,
                                                       routing_replay_out=replay))
    np.testing.assert_array_equal(replay[:T], ids)
    assert (replay[T:] == -7).all()
    done = {**arguments, "n_group": 4, "topk_group": 2, "routed_scaling_factor": 1.0}
    assert truth.accepts(fi.trtllm_bf16_routed_moe(packed, **done))
    with pytest.raises(sluice.Error, match="routed_scaling_factor is 2.5"):
        fi.trtllm_bf16_routed_moe(packed, **arguments, routed_scaling_factor=2.5)
    with pytest.raises(sluice.Error, match="gemm1_lora_delta"):
        fi.trtllm_bf16_routed_moe(packed, **arguments, gemm1_lora_delta=weights)


def test_output_and_replay_are_written():
    call = Call()
    buffer = sluice.Tensor(np.zeros((T, H), np.uint16), "BF16", writable=True)
    replay = np.zeros((T, K), np.int16)
    out = fi.trtllm_bf16_moe(**call.arguments, routing_method_type=2, output=buffer,
                             routing_replay_out=replay)
    assert out is buffer
    truth = call.truth(routing_method="DeepSeekV3")
    assert truth.accepts(buffer)
    np.testing.assert_array_equal(replay, truth.topk_ids)


@pytest.mark.parametrize("change, message", [
    (dict(do_finalize=False), "do_finalize"),
    (dict(routing_method_type=10), "routing_method_type is Unspecified"),
    (dict(routing_method_type=11), "routing_method_type is 11"),
    (dict(weight_layout=1), "weight_layout is MajorMn"),
    (dict(weight_layout=0), "gemm1_weights has shape"),
    (dict(activation_type=1), "activation_type is Relu"),
    (dict(activation_type=7), "activation_type is SwigluStep"),
    (dict(activation_type=6), "gemm1_weights holds matrices"),
    (dict(n_group=4), "topk_group is None"),
    (dict(n_group=4, topk_group=2, routing_method_type=0), "n_group is 4.*Default"),
    (dict(n_group=4, topk_group=2, routing_method_type=7), "n_group is 4.*MiniMax2"),
    (dict(topk_group=2), "topk_group is 2"),
    (dict(norm_topk_prob=False, routing_method_type=1), "norm_topk_prob is False"),
    (dict(top_k=2, routing_method_type=3), "top_k"),
    (dict(intermediate_size=64), "intermediate_size 64"),
    (dict(local_num_experts=4), "4 local experts"),
    (dict(local_expert_offset=1), "local_expert_offset"),
    (dict(num_experts=16), "16"),
    (dict(num_experts=8.7), "num_experts is 8.7; it must be an integer"),
    (dict(num_experts="8"), "num_experts is '8'; it must be an integer"),
    (dict(top_k=2.9), "top_k is 2.9"),
    (dict(intermediate_size=128.0), "intermediate_size is 128.0"),
    (dict(local_expert_offset="0"), "local_expert_offset is '0'"),
    (dict(local_num_experts=8.0), "local_num_experts is 8.0"),
    (dict(routed_scaling_factor="2"), "routed_scaling_factor is '2'; it must be a number"),
    (dict(gemm1_alpha=np.linspace(1, 2, E, dtype=np.float32)), "gemm1_alpha differs"),
    (dict(gemm1_beta=np.zeros(3, np.float32)), "gemm1_beta has shape"),
    (dict(gemm1_clamp_limit=np.ones(E, np.float32), activation_type=4), "gemm1_clamp_limit"),
    (dict(routing_replay_out=np.zeros((T, K), np.int32)), "routing_replay_out"),
    (dict(hidden_states=np.zeros((T, H), np.float32)), "hidden_states.*BF16"),
    (dict(output=np.zeros((T, H), np.float32)), "output"),
])
def test_what_cannot_be_honoured_is_refused_by_name(change, message):
    with pytest.raises(sluice.Error, match=message):
        Call()(**{"routing_method_type": 2, **change})


def test_weights_are_packed_once_per_array():
    call = Call()
    fi.clear_cache()
    before = fi.cache_info()
    first = call(routing_method_type=2)
    np.testing.assert_array_equal(call(routing_method_type=2), first)
    np.testing.assert_array_equal(call(routing_method_type=2, routing_bias=call.bias.copy()), first)
    info = fi.cache_info()
    assert (info.packed - before.packed, info.reused - before.reused, info.layers) == (1, 2, 1)
    call(routing_method_type=2, routed_scaling_factor=1.5)  # another layer of the same weights
    other = call(routing_method_type=2, routing_bias=call.bias + np.float32([3] + 7 * [0]))
    assert not np.array_equal(other, first)
    assert fi.cache_info().layers == 3
    del call
    assert fi.cache_info().layers == 0  # the arrays are gone
    fi.clear_cache()


def test_torch_calls_notice_changes_in_place(torch):
    call = Call()
    to_torch = lambda t: torch.from_numpy(t.bits().view(np.int16).copy()).view(torch.bfloat16)
    arguments = {name: to_torch(value) if isinstance(value, sluice.Tensor) else
                 torch.from_numpy(value) if isinstance(value, np.ndarray) else value
                 for name, value in call.arguments.items()}
    run = lambda: fi.trtllm_bf16_moe(**arguments, routing_method_type=2)
    out = run()
    assert out.dtype == torch.bfloat16
    np.testing.assert_array_equal(out.float().numpy(), call(routing_method_type=2))
    arguments["gemm2_weights"].mul_(2)
    torch.testing.assert_close(run().float(), out.float() * 2, rtol=1e-2, atol=1e-3)
    assert fi.cache_info().layers == 2  # the changed layer replaced the old one


def test_signatures_are_flashinfers():
    """Names, order and defaults, listed by hand from flashinfer/fused_moe/core.py (August 2026)."""
    common = ["num_experts", "top_k", "n_group", "topk_group", "intermediate_size",
              "local_expert_offset", "local_num_experts", "routed_scaling_factor",
              "routing_method_type", "use_shuffled_weight", "weight_layout", "do_finalize",
              "enable_pdl"]
    tail = ["routing_replay_out", "gemm1_alpha", "gemm1_beta", "gemm1_clamp_limit", "output",
            "backend"]
    expected = {
        fi.trtllm_bf16_moe: ["routing_logits", "routing_bias", "hidden_states", "gemm1_weights",
                             "gemm2_weights", *common, "tune_max_num_tokens", "activation_type",
                             "norm_topk_prob", *tail],
        fi.trtllm_bf16_routed_moe: ["topk_ids", "hidden_states", "gemm1_weights", "gemm2_weights",
                                    *common, "gemm1_lora_delta", "tune_max_num_tokens",
                                    "activation_type", *tail],
    }
    defaults = dict(routed_scaling_factor=None, routing_method_type=0, use_shuffled_weight=True,
                    weight_layout=2, do_finalize=True, enable_pdl=True, tune_max_num_tokens=8192,
                    activation_type=3, norm_topk_prob=True, gemm1_lora_delta=None,
                    **{name: None for name in tail}) | {"backend": "auto"}
    for function, names in expected.items():
        parameters = inspect.signature(function).parameters
        assert list(parameters) == names
        for name, parameter in parameters.items():
            assert parameter.default == defaults.get(name, inspect.Parameter.empty), name
        assert parameters["backend"].kind is inspect.Parameter.KEYWORD_ONLY


def test_flashinfer_itself_agrees_about_names(torch):
    real = pytest.importorskip("flashinfer", reason="flashinfer is not installed")
    from flashinfer import fused_moe, tllm_enums

    for ours, theirs in ((fi.trtllm_bf16_moe, fused_moe.trtllm_bf16_moe),
                         (fi.trtllm_bf16_routed_moe, fused_moe.trtllm_bf16_routed_moe)):
        names = list(inspect.signature(ours).parameters)[:-1]
        assert names == list(inspect.signature(theirs).parameters), real.__version__
    for kind in (fi.RoutingMethodType, fi.WeightLayout, fi.ActivationType):
        assert dict(kind.__members__) == dict(getattr(tllm_enums, kind.__name__).__members__)
