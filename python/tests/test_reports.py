"""The JSON report against its published schema."""

import json
import pathlib

import pytest

import sluice

SCHEMA = pathlib.Path(__file__).resolve().parents[2] / "docs" / "audit-schema.json"


@pytest.fixture(scope="module")
def validate():
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema).validate


@pytest.mark.parametrize("fault", [None, "drop:routed_scaling_factor", "output-zero", "zero-tokens-throw",
                                   "accepts-then-throws", "output-overrun"])
def test_every_report_is_what_the_schema_says(validate, fault, tmp_path):
    subject = sluice.backend("reference")
    if fault is not None:
        subject = sluice.inject(subject, fault)
    report = sluice.audit(subject, suite="quick", rounds=1, replay_directory=tmp_path)
    # NaN and infinities are no JSON.
    document = json.loads(report.json, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    validate(document)
    assert document["ok"] == (fault is None)


def test_the_schema_refuses_what_it_does_not_name(validate):
    document = json.loads(sluice.audit(sluice.backend("reference"), suite="K").json)
    with pytest.raises(Exception, match="surprise"):
        validate({**document, "surprise": 1})
