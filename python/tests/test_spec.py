"""MoeSpec, the registry's fields and the presets."""

import ast
import json
import os
import pathlib
import pickle
import subprocess
import sys

import numpy as np
import pytest

import sluice

SIZES = dict(num_experts=16, top_k=4, hidden_size=64, intermediate_size=128)


def test_attributes_are_the_registrys_fields():
    spec = sluice.MoeSpec(**SIZES, score_func="sigmoid", n_group=4, topk_group=2,
                          norm_eps=1e-12, local_expert_offset=4, num_local_experts=8)
    for field in sluice.fields():
        value = getattr(spec, field.key)
        written = spec.to_dict()[field.name.split(".")[0]].get(field.key, value)
        assert value == written, field.name
    assert (spec.score_func, spec.n_group, spec.norm_eps) == ("sigmoid", 4, 1e-12)
    assert [f.key for f in sluice.fields() if not f.is_neutral(spec) and f.kind != "size"] == [
        "score_func", "n_group", "topk_group", "norm_eps", "local_expert_offset",
        "num_local_experts"]


def test_json_and_dict_and_pickle_return_the_same_spec():
    spec = sluice.MoeSpec(**SIZES, routing_method="DeepSeekV3", routed_scaling_factor=2.446,
                          expert_map=[0, -1, 1, 2] + [-1] * 12, swiglu_limit=7.0)
    assert sluice.MoeSpec.from_json(spec.to_json()) == spec
    assert sluice.MoeSpec.from_dict(spec.to_dict()) == spec
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert hash(pickle.loads(pickle.dumps(spec))) == hash(spec)
    assert json.loads(spec.to_json())["router"]["routed_scaling_factor"] == 2.446
    assert spec != spec.replace(top_k=3)


def test_replace_changes_what_it_names_and_nothing_else():
    spec = sluice.MoeSpec(**SIZES, routing_method="DeepSeekV3", routed_scaling_factor=2.446,
                          swiglu_limit=7.0)
    changed = spec.replace(top_k=5, swiglu_limit=float("inf"))
    assert (changed.top_k, changed.swiglu_limit) == (5, float("inf"))
    assert changed.replace(top_k=4, swiglu_limit=7.0) == spec
    # A method replaces the formula; the factor is no part of it.
    plain = spec.replace(routing_method="Renormalize")
    assert (plain.score_func, plain.score_order, plain.e_score_correction_bias) == (
        "softmax", "after_topk", False)
    assert plain.routed_scaling_factor == 2.446
    assert spec.replace(routing_method="Sigmoid", norm_topk_prob=True).norm_topk_prob


def test_attributes_that_say_all_or_none_can_be_given_back():
    spec = sluice.MoeSpec(**SIZES)
    part = spec.replace(num_local_experts=4)
    assert part.replace(num_local_experts=spec.num_local_experts) == spec
    mapped = spec.replace(expert_map=[0, 1, -1, 2] + [-1] * 12)
    assert mapped.replace(expert_map=spec.expert_map) == spec
    with pytest.raises(sluice.Error, match="num_local_experts is -2"):
        spec.replace(num_local_experts=-2)


@pytest.mark.parametrize("change, message", [
    (dict(routed_scaling_facter=2.0), "routed_scaling_factor"),
    (dict(top_k=17), "router.num_experts is 16"),
    (dict(n_group=3), "n_group"),
    (dict(score_func="sigmod"), "sigmoid"),
    (dict(routing_method="DeepseekV3"), "DeepSeekV3"),
    (dict(top_k=2.5), "top_k"),
    (dict(routing_method=3), r"routing_method is 3 \(int\)"),
])
def test_nonsense_is_refused_by_name(change, message):
    with pytest.raises(sluice.Error, match=message) as raised:
        sluice.MoeSpec(**SIZES).replace(**change)
    assert raised.value.kind == "user"


def test_numpys_numbers_are_numbers():
    plain = sluice.MoeSpec(num_experts=8, top_k=2, hidden_size=64, intermediate_size=128,
                           routed_scaling_factor=2.5, norm_topk_prob=True, swiglu_limit=7.0,
                           expert_map=[*range(8)])
    numpys = sluice.MoeSpec(num_experts=np.int64(8), top_k=np.uint8(2), hidden_size=np.array(64),
                            intermediate_size=128, routed_scaling_factor=np.float32(2.5),
                            norm_topk_prob=np.bool_(True), swiglu_limit=np.float64(7.0),
                            expert_map=np.arange(8))
    assert numpys == plain
    assert plain.replace(expert_map=[np.int32(i) for i in range(8)]) == plain
    assert plain.replace(swiglu_limit=np.float32("inf")).swiglu_limit == float("inf")
    groups = plain.to_dict()
    groups["router"]["num_experts"] = np.int64(8)
    assert sluice.MoeSpec.from_dict(groups) == plain


@pytest.mark.parametrize("change, message", [
    (dict(routed_scaling_factor=float("nan")), "router.routed_scaling_factor is nan; .* finite"),
    (dict(routed_scaling_factor=np.float32("inf")), "router.routed_scaling_factor is inf"),
    (dict(swiglu_limit=float("-inf")), "swiglu_limit is -inf"),
    (dict(top_k=object()), "router.top_k is <object"),
    (dict(top_k=2j), r"router.top_k is 2j \(complex\)"),
    (dict(top_k=np.float32(2.5)), "top_k"),
    (dict(expert_map=np.zeros((2, 8), np.int64)), "expert_map is "),
    (dict(expert_map=[object()] * 16), "expert_map is <object"),
])
def test_values_that_json_cannot_say_are_refused_by_field(change, message):
    for make in (sluice.MoeSpec(**SIZES).replace, lambda **c: sluice.MoeSpec(**{**SIZES, **c})):
        with pytest.raises(sluice.Error, match=message) as raised:
            make(**change)
        assert raised.value.kind == "user"


def test_a_misspelt_attribute_names_the_nearest():
    with pytest.raises(AttributeError, match='did you mean "topk_group"'):
        sluice.MoeSpec(**SIZES).topk_grup
    with pytest.raises(AttributeError):
        sluice.MoeSpec(**SIZES).top_k = 3  # specs are values


def stub_of_spec():
    stub = pathlib.Path(sluice._core.__file__).with_name("_core.pyi")
    classes = ast.parse(stub.read_text(encoding="utf-8")).body
    return {d.name: d for c in classes if isinstance(c, ast.ClassDef) and c.name == "MoeSpec"
            for d in c.body if isinstance(d, ast.FunctionDef)}


def test_the_stub_names_every_field_and_no_other():
    members = stub_of_spec()
    assert "__getattr__" not in members  # with it, any misspelt name would be an attribute
    keys = {field.key for field in sluice.fields()}
    assert keys <= members.keys()
    for function in ("__init__", "replace"):
        arguments = members[function].args
        assert arguments.kwarg is None
        assert {a.arg for a in arguments.kwonlyargs} == keys | {"routing_method"}
        needed = {a.arg for a, default in zip(arguments.kwonlyargs, arguments.kw_defaults)
                  if default is None}
        assert needed == (set(SIZES) if function == "__init__" else set())
    for size in SIZES:
        with pytest.raises(sluice.Error, match=size):
            sluice.MoeSpec(**{key: value for key, value in SIZES.items() if key != size})


def test_a_type_checker_sees_misspelt_fields(tmp_path):
    pytest.importorskip("mypy", reason="mypy is not installed")
    package = pathlib.Path(sluice.__file__).parent
    program = tmp_path / "program.py"
    program.write_text("""
import numpy as np
import sluice
spec = sluice.MoeSpec(num_experts=np.int64(8), top_k=2, hidden_size=64, intermediate_size=128,
                      routed_scaling_factor=np.float32(2.5), norm_topk_prob=np.bool_(True),
                      expert_map=np.arange(8))
spec = spec.replace(expert_map=[0, 1, 2, 3, 4, 5, 6, 7], score_func="sigmoid")
factor: float = spec.routed_scaling_factor
spec.rotued_scaling_factor
spec.replace(rotued_scaling_factor=2.0)
sluice.MoeSpec(num_experts=8, top_k="2", hidden_size=64, intermediate_size=128)
sluice.MoeSpec(num_experts=8, top_k=2, hidden_size=64)
""", encoding="utf-8")
    environment = dict(os.environ, MYPYPATH=str(package.parent))
    run = subprocess.run([sys.executable, "-m", "mypy", "--follow-imports=silent", "--cache-dir",
                          str(tmp_path / "cache"), str(program)],
                         capture_output=True, text=True, env=environment)
    lines = [line for line in run.stdout.splitlines() if "error:" in line]
    assert [int(line.split(":")[1]) for line in lines] == [9, 10, 11, 12], run.stdout + run.stderr
    assert "rotued_scaling_factor" in lines[0] and "routed_scaling_factor" in lines[0]


def test_every_method_and_family_is_reachable_by_name():
    base = sluice.MoeSpec(**SIZES).replace(top_k=1)
    assert len(sluice.routing_methods()) >= 11
    for method in sluice.routing_methods():
        assert sluice.routing_method(method.name).apply(base) == base.replace(
            routing_method=method.name)
        assert method.formula
    assert len(sluice.families()) >= 10
    for family in sluice.families():
        assert sluice.family(family.name).spec == family.spec
        assert sluice.MoeSpec.from_json(family.spec.to_json()) == family.spec


def test_spec_from_config_reads_what_the_model_says():
    config = dict(model_type="qwen3_moe", hidden_size=2048, moe_intermediate_size=768,
                  num_experts=128, num_experts_per_tok=8, norm_topk_prob=True, hidden_act="silu")
    spec = sluice.spec_from_config(json.dumps(config))
    assert (spec.num_experts, spec.top_k, spec.intermediate_size) == (128, 8, 768)
    assert spec.norm_topk_prob
    with pytest.raises(sluice.Error) as raised:
        sluice.spec_from_config('{"model_type": "no_such_model"}')
    assert raised.value.kind == "checkpoint"


def test_errors_keep_their_kind_when_pickled():
    error = pickle.loads(pickle.dumps(sluice.Error("nothing there", "device")))
    assert (str(error), error.kind) == ("nothing there", "device")
