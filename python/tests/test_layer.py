"""sluice.layer, route and oracle, against formulas of the tests' own."""

import threading

import numpy as np
import pytest

import sluice

from conftest import choose, make_problem, sigmoid


@pytest.mark.parametrize("backend", ["auto", "reference", "cpu"])
def test_output_is_what_the_formulas_say(problem, backend):
    layer = sluice.layer(problem.spec, problem.weights, backend)
    out = layer.forward(problem.hidden, problem.logits)
    expected, bound = sluice.oracle(problem.spec, problem.weights, problem.inputs)
    np.testing.assert_allclose(expected, problem.expected(), rtol=1e-4, atol=1e-4)
    assert (np.abs(out.output - problem.expected()) <= bound + 1e-12).all()
    ids, weights = zip(*(choose(row, problem.weights["e_score_correction_bias"], 3, sigmoid, 2.446)
                         for row in problem.logits))
    np.testing.assert_array_equal(out.topk_ids, ids)
    np.testing.assert_allclose(out.topk_weights, weights, rtol=1e-6)
    assert out.topk_ids.dtype == np.int32 and out.topk_weights.dtype == np.float32
    assert layer.weight_bytes > 0 and layer.workspace_bytes(7) >= 0
    assert layer.backend in ("cuda", "cpu", "reference") and layer.spec == problem.spec


def test_the_oracle_tells_right_from_nearly_right(problem):
    truth = sluice.oracle(problem.spec, problem.weights, problem.inputs)
    right = sluice.layer(problem.spec, problem.weights, "cpu")(problem.hidden, problem.logits)
    assert truth.accepts(right)
    assert not truth.accepts(right * np.float32(1.01))
    nan = right.copy()
    nan[-1, -1] = np.nan
    assert not truth.accepts(nan)
    lost = problem.spec.replace(routed_scaling_factor=1.0)
    assert not truth.accepts(
        sluice.layer(lost, problem.weights, "cpu")(problem.hidden, problem.logits))


def test_an_output_of_8_bit_floats_is_no_answer(problem):
    truth = sluice.oracle(problem.spec, problem.weights, problem.inputs)
    with pytest.raises(sluice.Error, match="output is F8_E4M3; it must be F32, BF16 or F16"):
        truth.accepts(sluice.Tensor(np.zeros(problem.hidden.shape, np.uint8), "F8_E4M3"))


def test_an_output_of_another_shape_is_no_answer(problem):
    truth = sluice.oracle(problem.spec, problem.weights, problem.inputs)
    right = sluice.layer(problem.spec, problem.weights, "cpu")(problem.hidden, problem.logits)
    for shape in ((0, 64), (1, 64), (7, 1), (64,), (1, 7, 64)):
        with pytest.raises(sluice.Error) as raised:
            truth.accepts(np.resize(right, shape))
        assert raised.value.kind == "user"
        assert str(raised.value) == f"output has shape {list(shape)}; it must be [7, 64]"


@pytest.mark.parametrize("name", ["foo", "token_count", "gate_up_proj"])
def test_inputs_that_the_oracle_does_not_read_are_refused(problem, name):
    inputs = {**problem.inputs, name: np.zeros((1,), np.int32)}
    with pytest.raises(sluice.Error, match=f'inputs hold "{name}"; .*"topk_weights"') as raised:
        sluice.oracle(problem.spec, problem.weights, inputs)
    assert raised.value.kind == "user"


def test_route_is_the_layers_routing(problem):
    out = sluice.layer(problem.spec, problem.weights, "cpu").forward(problem.hidden, problem.logits)
    ids, weights = sluice.route(
        problem.spec, problem.logits,
        e_score_correction_bias=problem.weights["e_score_correction_bias"])
    np.testing.assert_array_equal(ids, out.topk_ids)
    np.testing.assert_array_equal(weights, out.topk_weights)
    with pytest.raises(sluice.Error, match="e_score_correction_bias"):
        sluice.route(problem.spec, problem.logits)
    with pytest.raises(sluice.Error, match=r"\[4\].*\[8\]"):
        sluice.route(problem.spec, problem.logits, e_score_correction_bias=np.zeros(4, np.float32))


def test_rows_beyond_the_token_count_are_left_alone(problem):
    layer = sluice.layer(problem.spec, problem.weights, "cpu")
    whole = layer(problem.hidden, problem.logits)
    output = np.full_like(whole, 7.5)
    layer.forward(problem.hidden, problem.logits, output=output,
                  token_count=np.array([2], np.int32))
    np.testing.assert_array_equal(output[:2], whole[:2])
    assert (output[2:] == 7.5).all()
    with pytest.raises(sluice.Error, match="token_count is 99"):
        layer.forward(problem.hidden, problem.logits, token_count=np.array([99], np.int32))


def test_given_routing_and_router_weight_are_entries_too(problem):
    layer = sluice.layer(problem.spec, problem.weights, "cpu")
    routed = layer.forward(problem.hidden, problem.logits)
    given = layer(problem.hidden, topk_ids=routed.topk_ids.astype(np.int64),
                  topk_weights=routed.topk_weights)
    np.testing.assert_array_equal(given, routed.output)
    router = np.random.default_rng(5).standard_normal((8, 64)).astype(np.float32)
    own = sluice.layer(problem.spec, {**problem.weights, "router.weight": router}, "cpu")
    logits = (problem.hidden.astype(np.float64) @ router.T.astype(np.float64)).astype(np.float32)
    np.testing.assert_array_equal(own.forward(problem.hidden).topk_ids,
                                  own.forward(problem.hidden, logits).topk_ids)


def test_shards_of_all_experts_add_up(problem):
    whole = sluice.layer(problem.spec, problem.weights, "reference")
    parts = [sluice.layer(problem.spec.replace(local_expert_offset=first, num_local_experts=count),
                          problem.weights, "reference") for first, count in ((0, 3), (3, 5))]
    total = sum(part(problem.hidden, problem.logits).astype(np.float64) for part in parts)
    np.testing.assert_allclose(total, whole(problem.hidden, problem.logits), rtol=1e-5, atol=1e-6)
    assert all(np.abs(part(problem.hidden, problem.logits)).max() > 0.01 for part in parts)


def test_no_tokens_and_a_given_output(problem):
    layer = sluice.layer(problem.spec, problem.weights)
    empty = layer.forward(problem.hidden[:0], problem.logits[:0])
    assert empty.output.shape == (0, 64) and empty.topk_ids.shape == (0, 3)
    buffer = np.full_like(problem.hidden, np.nan)
    assert layer.forward(problem.hidden, problem.logits, output=buffer).output is buffer
    np.testing.assert_array_equal(buffer, layer(problem.hidden, problem.logits))
    with pytest.raises(sluice.Error, match="output"):
        layer.forward(problem.hidden, problem.logits, output=buffer.astype(np.float16))
    with pytest.raises(sluice.Error, match="overlaps"):
        layer.forward(problem.hidden, problem.logits, output=problem.hidden)
    hidden = sluice.Tensor.from_float32(problem.hidden)
    bits = np.zeros(hidden.shape, np.uint16)
    with pytest.raises(sluice.Error, match="output: the Tensor was made for reading") as raised:
        layer.forward(hidden, problem.logits, output=sluice.Tensor(bits, "BF16"))
    assert raised.value.kind == "user" and not bits.any()
    layer.forward(hidden, problem.logits, output=sluice.Tensor(bits, "BF16", writable=True))
    np.testing.assert_array_equal(bits, layer(hidden, problem.logits).bits())


def test_the_spec_decides_the_output_dtype(problem):
    spec = problem.spec.replace(output_dtype="bf16")
    out = sluice.layer(spec, problem.weights)(problem.hidden, problem.logits)
    assert isinstance(out, sluice.Tensor) and out.dtype == "BF16"
    assert sluice.oracle(spec, problem.weights, problem.inputs).accepts(out)


@pytest.mark.parametrize("change, message", [
    (lambda p: p.weights.pop("down_proj"), "down_proj"),
    (lambda p: p.weights.update(e_score_correction_bia=np.zeros(8, np.float32)),
     'did you mean "e_score_correction_bias"'),
    (lambda p: p.weights.update(gate_up_proj=p.weights["gate_up_proj"][:, 1:]), "gate_up_proj"),
    (lambda p: setattr(p, "logits", p.logits[:, 1:]), "router_logits"),
    (lambda p: setattr(p, "logits", p.logits.astype(np.float64)), "router_logits is F64"),
    (lambda p: setattr(p, "hidden", p.hidden.tolist()), "hidden_states: list"),
    (lambda p: p.weights.update({3: p.weights["down_proj"]}), r"a tensor's name is 3 \(int\)"),
])
def test_bad_tensors_are_named(problem, change, message):
    change(problem)
    with pytest.raises(sluice.Error, match=message) as raised:
        sluice.layer(problem.spec, problem.weights)(problem.hidden, problem.logits)
    assert raised.value.kind == "user"


@pytest.mark.parametrize("dtype, name", [(bool, "BOOL"), (np.int32, "I32"), (np.float64, "F64")])
def test_hidden_states_of_other_types_are_named(problem, dtype, name):
    layer = sluice.layer(problem.spec, problem.weights)
    with pytest.raises(sluice.Error, match=f"hidden_states is {name}; it must be F32, BF16 or F16"):
        layer(problem.hidden.astype(dtype), problem.logits)


def test_workspace_is_for_no_fewer_than_no_tokens(problem):
    with pytest.raises(sluice.Error, match="tokens is -5; it must be 0 or more"):
        sluice.layer(problem.spec, problem.weights).workspace_bytes(-5)


def test_bad_routing_names_the_token(problem):
    layer = sluice.layer(problem.spec, problem.weights)
    ids = np.tile(np.int32([0, 1, 2]), (7, 1))
    ids[4] = [5, 5, 1]
    with pytest.raises(sluice.Error, match="token 4"):
        layer(problem.hidden, topk_ids=ids, topk_weights=np.ones((7, 3), np.float32))
    with pytest.raises(sluice.Error, match="without topk_weights"):
        layer(problem.hidden, topk_ids=ids)


def test_backends_that_do_not_profit_ignore_the_permission_to_round(problem):
    layer, other = (sluice.layer(problem.spec, problem.weights, "cpu", may_round_slot_outputs=may)
                    for may in (False, True))
    assert layer.workspace_bytes(7) == other.workspace_bytes(7)
    assert np.array_equal(layer(problem.hidden, problem.logits),
                          other(problem.hidden, problem.logits))


def test_calls_from_threads_do_not_disturb_each_other():
    problem = make_problem(tokens=64)
    layer = sluice.layer(problem.spec, problem.weights, threads=2)
    alone = [layer(problem.hidden[i:], problem.logits[i:]) for i in range(8)]
    wrong = []

    def work(i):
        for _ in range(20):
            if not np.array_equal(layer(problem.hidden[i:], problem.logits[i:]), alone[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
