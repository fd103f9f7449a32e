"""CUDA tensors: used where they are, on the caller's stream. Skipped where there is no GPU."""

import numpy as np
import pytest

import sluice
from sluice.compat import flashinfer as fi

import flashinfer_layout
from conftest import make_problem


@pytest.fixture
def cuda(torch):
    if "cuda" not in [backend.name for backend in sluice.backends()]:
        pytest.skip("this build has no cuda backend")
    if reason := sluice.backend("cuda").unavailable:
        pytest.skip(f"no GPU: {reason}")
    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU")
    return torch


def on_gpu(torch, problem):
    """Weights, hidden states and logits as CUDA tensors."""
    weights = {name: torch.from_numpy(values).cuda() for name, values in problem.weights.items()}
    for name in ("gate_up_proj", "down_proj"):
        weights[name] = weights[name].bfloat16()
    hidden = torch.from_numpy(problem.hidden).cuda().bfloat16()
    return weights, hidden, torch.from_numpy(problem.logits).cuda()


def truth_of(problem):
    return sluice.oracle(problem.spec, problem.weights,
                         {"hidden_states": sluice.Tensor.from_float32(problem.hidden),
                          "router_logits": problem.logits})


@pytest.mark.parametrize("tokens", [1, 7, 33])
def test_cuda_tensors_are_right_and_stay_on_the_gpu(cuda, tokens):
    problem = make_problem(tokens=tokens)
    weights, hidden, logits = on_gpu(cuda, problem)
    layer = sluice.layer(problem.spec, weights, "cuda")
    assert layer.backend == "cuda"
    given = cuda.full_like(hidden, float("nan"))
    result = layer.forward(hidden, logits, output=given)
    assert result.output is given and result.topk_ids.is_cuda and result.topk_weights.is_cuda
    truth = truth_of(problem)
    assert truth.accepts(result.output.cpu())
    assert (result.topk_ids.cpu().numpy() == truth.topk_ids).all()
    lost = sluice.oracle(problem.spec.replace(routed_scaling_factor=1.0), problem.weights,
                         {"hidden_states": sluice.Tensor.from_float32(problem.hidden),
                          "router_logits": problem.logits})
    assert not lost.accepts(result.output.cpu())
    # The same layer from host memory, and from the host's weights: the same bits.
    staged = sluice.layer(problem.spec, problem.weights, "cuda").forward(
        hidden.cpu(), logits.cpu()).output
    assert cuda.equal(staged, result.output.cpu())


def test_calls_follow_the_callers_stream(cuda):
    problem = make_problem(tokens=16)
    weights, hidden, logits = on_gpu(cuda, problem)
    layer = sluice.layer(problem.spec, weights, "cuda")
    layer(hidden, logits)
    late = cuda.full_like(hidden, float("nan"))
    stream = cuda.cuda.Stream()
    stream.wait_stream(cuda.cuda.current_stream())
    with cuda.cuda.stream(stream):
        cuda.cuda._sleep(200_000_000)  # a tenth of a second before the tokens are there
        late.copy_(hidden)
        output = layer(late, logits)
    busy = not stream.query()
    stream.synchronize()
    assert busy, "the call waited for the GPU"
    assert truth_of(problem).accepts(output.cpu())


def test_a_captured_graph_replays_over_new_tokens(cuda):
    problem, other = make_problem(tokens=9), make_problem(tokens=9, seed=5)
    weights, hidden, logits = on_gpu(cuda, problem)
    layer = sluice.layer(problem.spec, weights, "cuda")
    output = cuda.empty_like(hidden)
    layer.forward(hidden, logits, output=output)
    graph = cuda.cuda.CUDAGraph()
    with cuda.cuda.graph(graph):
        layer.forward(hidden, logits, output=output)
    _, new_hidden, new_logits = on_gpu(cuda, other)
    hidden.copy_(new_hidden)
    logits.copy_(new_logits)
    output.fill_(float("nan"))
    graph.replay()
    cuda.cuda.synchronize()
    other.weights = problem.weights
    assert truth_of(other).accepts(output.cpu())


def test_a_captured_graph_outlives_a_larger_call(cuda):
    problem = make_problem(tokens=9)
    weights, hidden, logits = on_gpu(cuda, problem)
    layer = sluice.layer(problem.spec, weights, "cuda")
    expected = layer.forward(hidden, logits).output
    output = cuda.empty_like(hidden)
    graph = cuda.cuda.CUDAGraph()
    with cuda.cuda.graph(graph):
        layer.forward(hidden, logits, output=output)
    layer.forward(hidden.repeat(300, 1), logits.repeat(300, 1))
    taken = [cuda.full((layer.workspace_bytes(9),), 90, dtype=cuda.uint8, device="cuda")
             for _ in range(4)]
    output.fill_(float("nan"))
    graph.replay()
    assert cuda.equal(output, expected)
    assert all(bool((memory == 90).all()) for memory in taken)


def test_weights_may_still_be_on_their_way(cuda):
    problem = make_problem(tokens=3)
    weights, hidden, logits = on_gpu(cuda, problem)
    expected = sluice.layer(problem.spec, weights, "cuda").forward(hidden, logits).output
    late = {name: cuda.full_like(values, float("nan")) for name, values in weights.items()}
    cuda.cuda.synchronize()
    with cuda.cuda.stream(cuda.cuda.Stream()):
        cuda.cuda._sleep(200_000_000)  # cycles
        for name, values in weights.items():
            late[name].copy_(values)
    layer = sluice.layer(problem.spec, late, "cuda")
    assert cuda.equal(layer.forward(hidden, logits).output, expected)


def test_strided_tensors_are_refused_in_a_stream_of_the_callers(cuda):
    problem = make_problem(tokens=4)
    weights, hidden, logits = on_gpu(cuda, problem)
    layer = sluice.layer(problem.spec, weights, "cuda")
    strided = cuda.stack([hidden, hidden], dim=-1)[..., 0]
    expected = layer.forward(hidden, logits).output
    assert cuda.equal(layer.forward(strided, logits).output, expected)
    stream = cuda.cuda.Stream()
    with pytest.raises(sluice.Error, match="hidden_states has strides") as caught:
        layer.forward(strided, logits, stream=stream.cuda_stream)
    assert caught.value.kind == "user"


def test_a_captured_graph_replays_for_fewer_tokens(cuda):
    problem = make_problem(tokens=20)
    weights, hidden, logits = on_gpu(cuda, problem)
    layer = sluice.layer(problem.spec, weights, "cuda")
    count = cuda.tensor([20], dtype=cuda.int32, device=hidden.device)
    output = cuda.empty_like(hidden)
    layer.forward(hidden, logits, token_count=count, output=output)
    graph = cuda.cuda.CUDAGraph()
    with cuda.cuda.graph(graph):
        layer.forward(hidden, logits, token_count=count, output=output)
    whole = layer(hidden, logits)
    for live in (20, 19, 8, 1, 0):
        count.fill_(live)
        output.fill_(7.5)
        graph.replay()
        assert cuda.equal(output[:live], whole[:live])
        assert (output[live:] == 7.5).all()


def test_hidden_states_alone_enter_where_the_router_is_loaded(cuda):
    problem = make_problem(tokens=12)
    weights, hidden, _ = on_gpu(cuda, problem)
    experts = problem.spec.num_experts
    router = cuda.randint(-8, 9, (experts, hidden.shape[1]), device=hidden.device) / 8
    hidden = cuda.randint(-8, 9, hidden.shape, device=hidden.device).to(hidden.dtype) / 8
    layer = sluice.layer(problem.spec, {**weights, "router.weight": router.float()}, "cuda")
    assert cuda.equal(layer(hidden), layer(hidden, hidden.float() @ router.float().T))


def test_tensors_in_two_places_are_refused_by_name(cuda):
    problem = make_problem()
    weights, hidden, logits = on_gpu(cuda, problem)
    layer = sluice.layer(problem.spec, weights, "cuda")
    with pytest.raises(sluice.Error, match="hidden_states is on cuda:0 and router_logits on cpu"):
        layer(hidden, logits.cpu())
    with pytest.raises(sluice.Error, match="reads host memory"):
        sluice.layer(problem.spec, problem.weights, "cpu")(hidden, logits)
    with pytest.raises(sluice.Error, match="gate_up_proj.*F32.*cuda:0"):
        sluice.layer(problem.spec, {**weights, "gate_up_proj": weights["gate_up_proj"].float()},
                     "cuda")
    with pytest.raises(sluice.Error, match="reads host memory"):
        sluice.layer(problem.spec, weights, "cpu")


def test_what_the_host_computes_refuses_cuda_tensors(cuda):
    problem = make_problem()
    weights, hidden, logits = on_gpu(cuda, problem)
    with pytest.raises(sluice.Error, match="router_logits is on cuda:0"):
        sluice.route(problem.spec, logits,
                     e_score_correction_bias=problem.weights["e_score_correction_bias"])
    with pytest.raises(sluice.Error, match="on cuda:0; it must be in host memory"):
        sluice.oracle(problem.spec, weights, {"hidden_states": hidden, "router_logits": logits})


def test_a_workspace_limit_cuts_calls_into_pieces(cuda):
    problem = make_problem(tokens=50)
    weights, hidden, logits = on_gpu(cuda, problem)
    whole = sluice.layer(problem.spec, weights, "cuda")
    limit = whole.workspace_bytes(17)
    cut = sluice.layer(problem.spec, weights, "cuda", workspace_limit=limit)
    assert cut.workspace_bytes(50) <= limit < whole.workspace_bytes(50)
    assert truth_of(problem).accepts(cut(hidden, logits).cpu())
    with pytest.raises(sluice.Error, match="one token needs"):
        sluice.layer(problem.spec, weights, "cuda", workspace_limit=16)


def test_slot_outputs_are_rounded_where_they_may_be(cuda):
    problem = make_problem(tokens=50)
    weights, hidden, logits = on_gpu(cuda, problem)
    exact = sluice.layer(problem.spec, weights, "cuda")
    layer = sluice.layer(problem.spec, weights, "cuda", may_round_slot_outputs=True)
    assert layer.workspace_bytes(4096) < exact.workspace_bytes(4096)
    output = layer(hidden.float(), logits)  # fp32 in, fp32 out: nothing else rounds
    declared = sluice.oracle(problem.spec, problem.weights, problem.inputs,
                             slot_outputs_rounded=True)
    assert declared.accepts(output.cpu())
    assert not truth_of(problem).accepts(output.cpu())
    assert truth_of(problem).accepts(exact(hidden.float(), logits).cpu())


def test_the_audit_reaches_the_gpu(cuda):
    report = sluice.audit("cuda", suite="L", slot_outputs_rounded=True)
    assert report.ok, report.text
    report = sluice.audit("cuda", suite="J")
    assert report.ok, report.text
    faulty = sluice.audit(sluice.inject(sluice.backend("cuda"), "drop:routed_scaling_factor"),
                          suite="A")
    assert not faulty.ok

    def through_torch(spec, weights, hidden_states, router_logits, topk_ids, topk_weights):
        assert hidden_states.is_cuda and weights["down_proj"].is_cuda
        if hidden_states.shape[0] == 0:
            return cuda.empty_like(hidden_states)
        layer = sluice.layer(spec, weights, "cuda")
        return layer(hidden_states, router_logits, topk_ids, topk_weights)

    report = sluice.audit(through_torch, sluice.backend("cuda").claims, suite="A", rounds=1,
                          arrays="torch", device="cuda")
    assert report.ok, report.text


class Call:
    E, K, H, I, T = 8, 3, 64, 128, 6

    def __init__(self, torch, shuffled, blocked):
        problem = make_problem(experts=self.E, top_k=self.K, hidden=self.H, inner=self.I,
                               tokens=self.T)
        self.problem = problem
        bits = lambda name: sluice.Tensor.from_float32(problem.weights[name]).bits()
        prepared = flashinfer_layout.prepare(bits("gate_up_proj"), bits("down_proj"), gated=True,
                                             shuffled=shuffled, blocked=blocked)
        gemm1, gemm2 = (torch.from_numpy(p.view(np.int16)).cuda().view(torch.bfloat16)
                        for p in prepared)
        _, hidden, logits = on_gpu(torch, problem)
        bias = torch.from_numpy(problem.weights["e_score_correction_bias"]).cuda()
        self.arguments = dict(
            routing_logits=logits, routing_bias=bias, hidden_states=hidden, gemm1_weights=gemm1,
            gemm2_weights=gemm2, num_experts=self.E, top_k=self.K, n_group=None, topk_group=None,
            intermediate_size=self.I, local_expert_offset=0, local_num_experts=self.E,
            routed_scaling_factor=problem.spec.routed_scaling_factor, routing_method_type=2,
            use_shuffled_weight=shuffled, backend="cuda",
            weight_layout=fi.WeightLayout.BlockMajorK if blocked else fi.WeightLayout.MajorK)


@pytest.mark.parametrize("blocked", [True, False])
@pytest.mark.parametrize("shuffled", [True, False])
def test_flashinfers_calls_on_the_gpu(cuda, shuffled, blocked):
    fi.clear_cache()
    call = Call(cuda, shuffled, blocked)
    truth = truth_of(call.problem)
    before = fi.cache_info().packed
    replay = cuda.full((call.T + 2, call.K), -7, dtype=cuda.int16, device="cuda")
    output = fi.trtllm_bf16_moe(**call.arguments, routing_replay_out=replay)
    assert output.is_cuda and truth.accepts(output.cpu())
    assert (replay[: call.T].cpu().numpy() == truth.topk_ids).all() and (replay[call.T:] == -7).all()
    # A bias that is cast anew for every call packs nothing anew; another bias does.
    again = dict(call.arguments, routing_bias=call.arguments["routing_bias"].clone())
    assert cuda.equal(fi.trtllm_bf16_moe(**again), output)
    assert fi.cache_info().packed == before + 1
    again["routing_bias"].add_(cuda.linspace(-3, 3, call.E, device="cuda"))
    assert not cuda.equal(fi.trtllm_bf16_moe(**again), output)
    assert fi.cache_info().packed == before + 2

    routed = {k: v for k, v in call.arguments.items()
              if k not in ("routing_logits", "routing_bias", "routed_scaling_factor")}
    ids = cuda.from_numpy(truth.topk_ids.astype(np.int32)).cuda()
    weights = cuda.from_numpy(truth.topk_weights.astype(np.float32)).cuda().bfloat16()
    packed = (ids << 16) | (weights.view(cuda.int16).to(cuda.int32) & 0xFFFF)
    by_tuple = fi.trtllm_bf16_routed_moe((ids, weights), **routed)
    assert cuda.equal(fi.trtllm_bf16_routed_moe(packed, **routed), by_tuple)
    given = sluice.oracle(
        call.problem.spec, call.problem.weights,
        {"hidden_states": sluice.Tensor.from_float32(call.problem.hidden),
         "topk_ids": truth.topk_ids.astype(np.int32), "topk_weights": weights.cpu()})
    assert given.accepts(by_tuple.cpu())


def test_flashinfers_calls_are_captured_once_their_small_tensors_are_known(cuda):
    fi.clear_cache()
    call = Call(cuda, True, True)
    output = cuda.empty_like(call.arguments["hidden_states"])
    expected = fi.trtllm_bf16_moe(**call.arguments, output=output).clone()
    graph = cuda.cuda.CUDAGraph()
    with cuda.cuda.graph(graph):
        fi.trtllm_bf16_moe(**call.arguments, output=output)
    output.fill_(float("nan"))
    graph.replay()
    cuda.cuda.synchronize()
    assert cuda.equal(output, expected)
