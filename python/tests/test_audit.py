"""sluice.audit: right callables pass, wrong ones fail by name, and reports say it in three ways."""

import importlib.util
import json
import os
import pathlib
import signal
import threading
import time

import pytest

import sluice

from test_backends import mine

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLAIMS = ["score_func", "e_score_correction_bias", "norm_topk_prob", "norm_eps", "n_group",
          "topk_group", "routed_scaling_factor"]


def load_example(name):
    path = ROOT / "examples" / "python" / f"{name}.py"
    module = importlib.util.module_from_spec(spec := importlib.util.spec_from_file_location(name, path))
    spec.loader.exec_module(module)
    return module


def without_factor(spec, weights, hidden_states, router_logits, topk_ids, topk_weights):
    """vllm#43769: accepted, and not passed on."""
    return mine(spec.replace(routed_scaling_factor=1.0), weights, hidden_states, router_logits,
                topk_ids, topk_weights)


def test_a_right_callable_passes():
    seen = []
    report = sluice.audit(mine, CLAIMS, rounds=1, progress=seen.append)
    assert report.ok, report.text
    assert report.backend == "mine" and report.failures == []
    assert "exact" in seen and [check.name for check in report.checks][0] in seen
    fields = {field.field: field for field in report.fields}
    factor = fields["router.routed_scaling_factor"]
    assert (factor.live, factor.exact, factor.once) == ("pass", "pass", "pass")
    assert not fields["experts.activation"].claimed
    assert fields["experts.activation"].refused == "pass"


def test_a_lost_factor_is_named_and_told():
    report = sluice.audit(without_factor, CLAIMS, suite="A", name="engine")
    assert not report.ok
    failure = report.failures[0]
    assert failure.field == "router.routed_scaling_factor" and failure.bug_class == "A"
    assert failure.looks_like == "behaves as if routed_scaling_factor were 1"
    assert sluice.MoeSpec.from_json(failure.spec_json).routed_scaling_factor != 1.0
    assert "engine" in report.text and failure.looks_like in report.text
    assert json.loads(report.json)["failures"]
    assert "<html" in report.html and "routed_scaling_factor" in report.html
    assert str(report) == report.text


def test_backends_and_faults_are_subjects_too():
    assert sluice.audit("reference", suite="C", rounds=1).ok
    doubled = sluice.inject(sluice.backend("cpu"), "double:router.routed_scaling_factor")
    report = sluice.audit(doubled, suite="A", rounds=1)
    assert "router.routed_scaling_factor" in {failure.field for failure in report.failures}
    with pytest.raises(sluice.Error, match="claims are given"):
        sluice.audit("cpu", ["routed_scaling_factor"])
    with pytest.raises(sluice.Error, match="claims are missing"):
        sluice.audit(mine)
    with pytest.raises(sluice.Error, match="suite"):
        sluice.audit("cpu", suite="quik")


def test_a_claim_that_is_not_honoured_fails():
    report = sluice.audit(mine, [*CLAIMS, "down_bias"], suite="H", rounds=1)
    assert {failure.field for failure in report.failures} == {"experts.down_bias"}


def test_exceptions_are_failures():
    def moody(spec, weights, hidden_states, *rest):
        raise RuntimeError("not today")

    report = sluice.audit(moody, CLAIMS, suite="A", rounds=1, diagnose=False)
    assert not report.ok and "RuntimeError: not today" in report.failures[0].message


def test_inputs_that_are_written_are_failures():
    def scribbling(spec, weights, hidden_states, *rest):
        out = mine(spec, weights, hidden_states, *rest)
        hidden_states[:] = 0
        return out

    report = sluice.audit(scribbling, CLAIMS, suite="A", rounds=1, diagnose=False)
    assert not report.ok
    assert "scribbling changed its input hidden_states in place" in report.failures[0].message


def test_a_spec_of_ones_own_is_kept():
    spec = sluice.MoeSpec(num_experts=12, top_k=3, hidden_size=32, intermediate_size=24,
                          routing_method="DeepSeekV3", n_group=4, topk_group=2,
                          routed_scaling_factor=2.827)
    sizes = set()

    def watched(spec, *rest):
        sizes.add((spec.num_experts, spec.hidden_size, spec.intermediate_size))
        return mine(spec, *rest)

    assert sluice.audit(watched, CLAIMS, suite="A", rounds=1, spec=spec).ok
    assert sizes == {(12, 32, 24)}
    assert not sluice.audit(without_factor, CLAIMS, suite="A", rounds=1, spec=spec).ok


def test_widths_that_were_cut_are_told():
    spec = sluice.MoeSpec(num_experts=8, top_k=2, hidden_size=2048, intermediate_size=64)
    report = sluice.audit("reference", suite="K", rounds=1, spec=spec)
    assert [(w.field, w.given, w.audited) for w in report.widths] == [
        ("experts.hidden_size", 2048, 128)]
    assert "2048 given, 128 audited" in repr(report.widths[0])
    assert json.loads(report.json)["widths"][0] == dict(field="experts.hidden_size", given=2048,
                                                        audited=128)
    assert sluice.audit("reference", suite="K", rounds=1).widths == []
    assert sluice.audit("reference", suite="K", rounds=1, spec=spec.replace(hidden_size=96)).widths == []


def test_replays_are_written(tmp_path):
    report = sluice.audit(without_factor, CLAIMS, suite="A", rounds=1, replay_directory=tmp_path)
    files = [pathlib.Path(file) for failure in report.failures for file in failure.replay_files]
    assert files and all(file.exists() for file in files)
    assert "sluice layer" in report.failures[0].replay_command


def test_interrupts_end_the_audit():
    # A shell that starts the tests in the background has them ignore interrupts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    start = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            sluice.audit(mine, CLAIMS, suite="full", rounds=50)
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - start < 60
    timer.join()


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit(3)])
@pytest.mark.parametrize("suite", ["A", "K", "O"])
def test_what_a_callable_raises_to_stop_ends_the_audit(stop, suite):
    seen = []

    def stopping(spec, weights, hidden_states, *rest):
        seen.append(len(hidden_states))
        raise stop

    with pytest.raises(stop if isinstance(stop, type) else type(stop)):
        sluice.audit(stopping, CLAIMS, suite=suite, rounds=1)
    assert len(seen) == 1


def test_interrupts_end_a_check_in_its_middle():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    main, seen = threading.main_thread().ident, []

    def interrupt(check):
        seen.append(check)
        threading.Timer(0.2, signal.pthread_kill, (main, signal.SIGINT)).start()

    start = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            sluice.audit("reference", suite="A", rounds=10000, progress=interrupt)
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == ["exact"]  # 10000 rounds of which take minutes
    assert time.monotonic() - start < 20


def test_mutants_are_told_apart():
    score = sluice.mutation_score("reference", suite="A", rounds=1)
    killed = {v.mutant.name for v in score.mutants if v.applicable and v.killed}
    assert "scale-dropped" in killed
    assert json.loads(score.json) and "scale-dropped" in score.text


def test_a_tests_description_is_rated():
    with pytest.raises(sluice.Error):
        sluice.rate_test("{}")


def test_interrupts_end_a_rating():
    description = json.dumps({
        "name": "long", "tokens": [256] * 20,  # minutes of the reference, for 152 mutants
        "spec": {"router": {"num_experts": 16, "top_k": 4, "routed_scaling_factor": 2.5},
                 "experts": {"hidden_size": 256, "intermediate_size": 256}},
        "comparator": {"kind": "allclose", "atol": 0.1, "rtol": 0.1}})
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.3, signal.pthread_kill,
                            (threading.main_thread().ident, signal.SIGINT))
    timer.start()
    start = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            sluice.rate_test(description)
    finally:
        signal.signal(signal.SIGINT, before)
    timer.join()
    assert time.monotonic() - start < 20


def test_the_torch_example_passes_and_its_fault_does_not(torch):
    example = load_example("torch_reference")
    right = sluice.audit(example.moe, example.CLAIMS, arrays="torch", reports_routing=True)
    assert right.ok, right.text
    assert next(c for c in right.checks if c.name == "exact").worst_use > 0
    wrong = sluice.audit(example.moe_without_factor, example.CLAIMS, arrays="torch", suite="A",
                         reports_routing=True, rounds=1)
    assert {f.field for f in wrong.failures} == {"router.routed_scaling_factor"}
