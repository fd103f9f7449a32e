"""Backends by name, refusals, faults, and Python callables as backends."""

import json
import pathlib
import shutil
import subprocess
import threading

import numpy as np
import pytest

import sluice

from conftest import bf16, expert

ROOT = pathlib.Path(__file__).resolve().parents[2]


def mine(spec, weights, hidden_states, router_logits, topk_ids, topk_weights):
    """The experts in NumPy; the routing is ours."""
    if topk_ids is None:
        topk_ids, topk_weights = sluice.route(
            spec, router_logits, e_score_correction_bias=weights.get("e_score_correction_bias"))
    out = np.zeros(hidden_states.shape)
    for token, x in enumerate(bf16(hidden_states)):
        for e, weight in zip(topk_ids[token], topk_weights[token]):
            out[token] += weight * expert(x, weights["gate_up_proj"][e], weights["down_proj"][e])
    return out.astype(np.float32)


def test_the_list_ends_with_the_definition():
    names = [backend.name for backend in sluice.backends()]
    assert names[-1] == "reference" and "cpu" in names
    assert set(sluice.backend("reference").claims) == {field.name for field in sluice.fields()}
    with pytest.raises(sluice.Error, match="reference"):
        sluice.backend("refrence")


def test_faults_are_backends(problem):
    right = sluice.layer(problem.spec, problem.weights, "cpu")(problem.hidden, problem.logits)
    dropped = sluice.inject(sluice.backend("cpu"), "drop:router.routed_scaling_factor")
    assert dropped.claims == sluice.backend("cpu").claims
    lost = sluice.layer(problem.spec, problem.weights, dropped)(problem.hidden, problem.logits)
    np.testing.assert_allclose(lost * 2.446, right, rtol=1e-5, atol=1e-6)
    with pytest.raises(sluice.Error, match="scale-dropped"):
        sluice.inject(sluice.backend("cpu"), "scale-droped")
    assert len(sluice.mutants()) >= 60
    assert {mutant.bug_class for mutant in sluice.mutants()} <= set("ABCDEFGHIJKLMNOPQ")


def test_a_callable_computes_and_refuses_like_any_backend(problem):
    backend = sluice.callable_backend(mine, ["router.*"])
    assert backend.name == "mine" and "router.routed_scaling_factor" in backend.claims
    layer = sluice.layer(problem.spec, problem.weights, backend)
    truth = sluice.oracle(problem.spec, problem.weights, problem.inputs)
    out = layer.forward(problem.hidden, problem.logits)
    assert truth.accepts(out.output)
    assert (out.topk_ids == -1).all() and np.isnan(out.topk_weights).all()  # not reported
    refused = backend.refusals(problem.spec.replace(activation="geglu", down_bias=True))
    assert list(refused) == ["experts.activation", "experts.down_bias"]
    with pytest.raises(sluice.Error, match="experts.activation") as raised:
        sluice.layer(problem.spec.replace(activation="geglu"), problem.weights, backend)
    assert raised.value.kind == "unsupported"


def test_a_callable_may_load_once_and_report_its_routing(problem):
    loads = []

    class Mine:
        def load(self, spec, weights):
            loads.append(spec)

            def forward(hidden_states, router_logits, topk_ids, topk_weights):
                ids, w = sluice.route(
                    spec, router_logits,
                    e_score_correction_bias=weights["e_score_correction_bias"])
                return mine(spec, weights, hidden_states, None, ids, w), ids, w

            return forward

        def refusals(self, spec):
            return {"router.top_k": "is 4"} if spec.top_k == 4 else {}

    backend = sluice.callable_backend(Mine(), "all", name="loads-once")
    layer = sluice.layer(problem.spec, problem.weights, backend)
    for _ in range(3):
        out = layer.forward(problem.hidden, problem.logits)
    assert loads == [problem.spec]
    np.testing.assert_array_equal(out.topk_ids, sluice.layer(
        problem.spec, problem.weights).forward(problem.hidden, problem.logits).topk_ids)
    with pytest.raises(sluice.Error, match="router.top_k is 4"):
        sluice.layer(problem.spec.replace(top_k=4), problem.weights, backend)


def test_torch_callables_get_torch_tensors(problem, torch):
    seen = {}

    def fn(spec, weights, hidden_states, router_logits, topk_ids, topk_weights):
        seen.update(hidden=hidden_states.dtype, w1=weights["gate_up_proj"].dtype,
                    logits=router_logits.dtype, kind=type(hidden_states))
        return hidden_states * 2

    backend = sluice.callable_backend(fn, "all", arrays="torch")
    hidden = torch.from_numpy(problem.hidden).bfloat16()
    out = sluice.layer(problem.spec, problem.weights, backend)(hidden,
                                                               torch.from_numpy(problem.logits))
    assert torch.equal(out, hidden * 2)
    assert seen == dict(hidden=torch.bfloat16, w1=torch.bfloat16, logits=torch.float32,
                        kind=torch.Tensor)


@pytest.mark.parametrize("fn, message", [
    (lambda s, w, h, r, i, t: 1 / 0, "ZeroDivisionError: division by zero"),
    (lambda s, w, h, r, i, t: h[:, 1:], r"output has shape \[7, 63\]"),
    (lambda s, w, h, r, i, t: (h, r), "2 results"),
    (lambda s, w, h, r, i, t: None, "NoneType"),
    (lambda s, w, h, r, i, t: sluice.Tensor(np.full((7, 64), 0x38, np.uint8), "F8_E4M3"),
     "output is F8_E4M3; it must be F32, BF16 or F16"),
])
def test_what_a_callable_does_wrong_is_said(problem, fn, message):
    backend = sluice.callable_backend(fn, "all", name="wrong")
    with pytest.raises(sluice.Error, match="wrong raised.*" + message) as raised:
        sluice.layer(problem.spec, problem.weights, backend)(problem.hidden, problem.logits)
    assert raised.value.kind == "internal"


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("not a word")


@pytest.mark.parametrize("error, message", [
    (ValueError("no file \udcff"), r"ValueError: no file \\udcff$"),  # as os names such files
    (Mute(), r"Mute: <its str\(\) raised RuntimeError>$"),
])
def test_errors_whose_text_cannot_be_had_are_named_all_the_same(problem, error, message):
    def failing(*given):
        raise error

    layer = sluice.layer(problem.spec, problem.weights, sluice.callable_backend(failing, "all"))
    with pytest.raises(sluice.Error, match="failing raised .*" + message):
        layer(problem.hidden, problem.logits)
    report = sluice.audit(failing, "all", suite="A", rounds=1, diagnose=False)
    assert report.failures and all(f.message in report.text for f in report.failures)


def test_words_of_a_plugin_may_be_no_utf8(problem, tmp_path):
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    source = (ROOT / "examples/plugin_c/example_plugin.c").read_text(encoding="utf-8")
    source = source.replace('.name = "example"', '.name = "ex\\xe4mple"')
    source = source.replace("only softmax and sigmoid", "f\\xfcr softmax")
    (tmp_path / "plugin.c").write_text(source)
    subprocess.run(["cc", "-std=c11", "-shared", "-fPIC", f"-I{ROOT / 'include'}", "plugin.c", "-o",
                    "plugin.so", "-lm", "-DLOSE_THE_FACTOR"], cwd=tmp_path, check=True)
    plugin = sluice.load_plugin(tmp_path / "plugin.so")
    assert plugin.name == "ex\\xe4mple" and plugin.name in repr(plugin)
    spec = problem.spec.replace(score_func="none")
    assert plugin.refusals(spec) == {"router.score_func": "f\\xfcr softmax"}
    with pytest.raises(sluice.Error, match=r"ex\\xe4mple"):
        sluice.layer(spec, problem.weights, plugin)
    report = sluice.audit(plugin, suite="A", rounds=1)
    assert report.backend == plugin.name and plugin.name in report.text and plugin.name in report.html
    assert json.loads(report.json)["backend"] == "ex\ufffdmple"
    with pytest.raises(sluice.Error, match=r"plugin.*/\\xff.so"):
        sluice.load_plugin("/\udcff.so")


@pytest.mark.parametrize("stop", [KeyboardInterrupt("now"), SystemExit(3)])
def test_what_a_callable_raises_to_stop_stays_what_it_is(problem, stop):
    def stopping(*given):
        raise stop

    class Loads:
        load = refusals = staticmethod(stopping)

    backend = sluice.callable_backend(stopping, "all")
    layer = sluice.layer(problem.spec, problem.weights, backend)
    raised = []

    def call(run):
        with pytest.raises(type(stop)) as info:
            run()
        raised.append(info.value)

    forward = lambda: layer(problem.hidden, problem.logits)
    call(forward)
    thread = threading.Thread(target=call, args=(forward,))  # where Python looks at no signals
    thread.start()
    thread.join()
    loads = sluice.callable_backend(Loads(), "all", name="loads")
    call(lambda: loads.refusals(problem.spec))
    call(lambda: sluice.layer(problem.spec, problem.weights, loads))
    assert raised == [stop] * 4


@pytest.mark.parametrize("dtype", [np.int16, np.int64, np.uint8, np.uint32, np.uint64])
def test_ids_of_any_integers_arrive_as_they_are(problem, dtype):
    chosen = np.arange(21).reshape(7, 3).astype(dtype) % dtype(8)
    fn = lambda s, w, h, r, i, t: (h, chosen, np.ones((7, 3)))
    backend = sluice.callable_backend(fn, "all")
    out = sluice.layer(problem.spec, problem.weights, backend).forward(problem.hidden,
                                                                       problem.logits)
    np.testing.assert_array_equal(out.topk_ids, chosen)


@pytest.mark.parametrize("change, message", [
    (lambda ids: ids.astype(np.int64) + 2**32, "topk_ids holds 4294967296; an id must fit in I32"),
    (lambda ids: ids.astype(np.uint64) + np.uint64(2**64 - 1), "topk_ids holds 18446744073709551615"),
    (lambda ids: ids + 0.6, "topk_ids is F64; ids are integers"),
    (lambda ids: ids.astype(np.float32), "topk_ids is F32"),
    (lambda ids: ids.astype(bool), "topk_ids is BOOL"),
])
def test_ids_that_a_cast_would_change_are_refused(problem, change, message):
    fn = lambda s, w, h, r, i, t: (h, change(np.zeros((7, 3), np.int32)), np.ones((7, 3)))
    backend = sluice.callable_backend(fn, "all")
    with pytest.raises(sluice.Error, match=message):
        sluice.layer(problem.spec, problem.weights, backend).forward(problem.hidden, problem.logits)


def test_inputs_changed_in_place_are_noticed_in_torch(problem, torch):
    def inplace(spec, weights, hidden_states, router_logits, topk_ids, topk_weights):
        hidden_states *= 2
        return hidden_states

    backend = sluice.callable_backend(inplace, "all", arrays="torch")
    with pytest.raises(sluice.Error, match="changed its input hidden_states"):
        sluice.layer(problem.spec, problem.weights, backend)(problem.hidden, problem.logits)


@pytest.mark.parametrize("arrays", ["numpy", "ml_dtypes", "tensor"])
@pytest.mark.parametrize("kind", ["F32", "BF16"])
@pytest.mark.parametrize("which", ["hidden_states", "router_logits", "topk_ids", "topk_weights"])
def test_inputs_changed_in_place_are_noticed(problem, arrays, kind, which):
    if arrays == "ml_dtypes":
        pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")

    def inplace(spec, weights, **given):
        array = given[which]
        array = array.bits() if isinstance(array, sluice.Tensor) else array
        array[-1] = array[0]
        return np.zeros((7, 64), np.float32)

    named = lambda s, w, h, r, i, t: inplace(
        s, w, hidden_states=h, router_logits=r, topk_ids=i, topk_weights=t)
    named.__name__ = "inplace"
    layer = sluice.layer(problem.spec, problem.weights,
                         sluice.callable_backend(named, "all", arrays=arrays))
    hidden = sluice.Tensor.from_float32(problem.hidden, kind)
    ids = (np.arange(21).reshape(7, 3) % 8).astype(np.int32)
    routing = np.linspace(0, 1, 21).reshape(7, 3).astype(np.float32)
    given = (None, ids, routing) if which.startswith("topk") else (problem.logits,)
    with pytest.raises(sluice.Error, match=f"inplace changed its input {which} in place") as raised:
        layer(hidden, *given)
    assert raised.value.kind == "internal"


@pytest.mark.parametrize("backend, message", [
    (mine, r"backend is <function mine.*sluice.callable_backend\(fn, claims\)"),
    (3, r"backend is 3 \(int\); it must be a backend's name"),
    ([], r"backend is \[\] \(list\)"),
])
def test_what_is_no_backend_is_said(problem, backend, message):
    with pytest.raises(sluice.Error, match=message) as raised:
        sluice.layer(problem.spec, problem.weights, backend)
    assert raised.value.kind == "user"


class Refusing:
    """A callable's object whose refusals are whatever is given."""

    def __init__(self, refusals):
        self.refusals = lambda spec: refusals

    def load(self, spec, weights):
        return lambda hidden_states, *rest: hidden_states


def test_refusals_of_none_refuse_nothing(problem):
    backend = sluice.callable_backend(Refusing(None), "all", name="silent")
    assert backend.refusals(problem.spec) == {}
    out = sluice.layer(problem.spec, problem.weights, backend)(problem.hidden, problem.logits)
    np.testing.assert_array_equal(out, problem.hidden)


@pytest.mark.parametrize("refusals, message", [
    (["router.top_k"], "list.*a dict"),
    ({"router.top_k": 4}, r"'router.top_k' \(str\): 4 \(int\); .* strings"),
    ({3: "no"}, r"3 \(int\): 'no' \(str\)"),
])
def test_refusals_that_are_none_are_said(problem, refusals, message):
    backend = sluice.callable_backend(Refusing(refusals), "all", name="odd")
    for ask in (backend.refusals, lambda spec: sluice.layer(spec, problem.weights, backend)):
        with pytest.raises(sluice.Error, match="odd's refusals.*" + message) as raised:
            ask(problem.spec)
        assert raised.value.kind == "internal"


def test_unknown_claims_and_kinds_are_refused():
    with pytest.raises(sluice.Error, match="routed_scaling_factor"):
        sluice.callable_backend(mine, ["routed_scaling_facto"])
    with pytest.raises(sluice.Error, match=r"a claim is sluice.Field\(router.num_experts\); .* names"):
        sluice.callable_backend(mine, sluice.fields()[:1])
    with pytest.raises(sluice.Error, match="fn is 3; it must be a function, or an object with load"):
        sluice.audit(3, "all")
    with pytest.raises(sluice.Error, match="numpy"):
        sluice.callable_backend(mine, "all", arrays="jax")
    with pytest.raises(sluice.Error, match="device"):
        sluice.callable_backend(mine, "all", device="cuda")
