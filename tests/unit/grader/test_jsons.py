"""Reports as JSON, against the schema that is published."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema

from sandbox.grader import jsons
from sandbox.grader.model import Verdict
from tests.unit.grader.reports import report

SCHEMA = json.loads((Path(__file__).resolve().parents[3] / "docs" / "report.schema.json").read_text())


def test_reports_keep_to_the_schema():
    for judged in (report(), report(verdict=Verdict.CE, tests=None, score=None)):
        jsonschema.validate(json.loads(json.dumps(jsons.report(judged))), SCHEMA)


def test_the_schema_knows_every_verdict():
    assert set(SCHEMA["$defs"]["verdict"]["enum"]) == {verdict.value for verdict in Verdict}


def test_bytes_that_are_no_text_are_there_exactly():
    case = jsons.report(report())["cases"][1]
    assert case["transcript"][1]["from"] == "validator"
    assert "data_base64" in case["transcript"][1]
    assert "data_base64" not in case["transcript"][0]
    assert case["timing"]["spread_s"] == 0.6 - 0.5
