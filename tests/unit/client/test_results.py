"""A result that went through JSON is the one that was sent, to the last byte and bit."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.client.results import answer_from, result_from
from sandbox.model.result import (
    CollectedFile,
    Degraded,
    Evidence,
    Exited,
    Outcome,
    RunResult,
    Signaled,
    Timings,
    Usage,
)
from tests.unit.cli.fakes import make_result

COUNT = st.integers(0, 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
# What the kernel can hand us as a name: any bytes but NUL and "/".
NAME = (
    st.binary(min_size=1, max_size=12)
    .map(lambda raw: raw.translate(None, b"\0/").decode("utf-8", "surrogateescape"))
    .filter(bool)
)
NAMES = st.one_of(NAME, st.sampled_from(["\udcff", "\\xff", "\\\\xff", "\udcff\udcff", "\\xff\udcff", "é"]))
FILES = st.dictionaries(NAMES, st.builds(CollectedFile, st.binary(max_size=20), st.integers(0, 0o7777)), max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | COUNT | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
RESULTS = st.builds(
    RunResult,
    outcome=st.sampled_from(Outcome),
    exit=st.builds(Exited, st.integers(0, 255)) | st.builds(Signaled, st.integers(1, 64)),
    usage=st.builds(Usage, **dict.fromkeys(Usage.__slots__, COUNT)),
    timings=st.builds(Timings, **dict.fromkeys(Timings.__slots__, COUNT)),
    stdout=st.binary(max_size=40),
    stderr=TEXT.map(str.encode),
    truncated=st.sampled_from([(), ("stdout",), ("stderr",), ("stdout", "stderr")]),
    files=FILES,
    evidence=st.lists(st.builds(Evidence, TEXT, TEXT, COUNT | TEXT), max_size=3).map(tuple),
    enforced=st.dictionaries(TEXT, JSON, max_size=3),
    degraded=st.lists(st.builds(Degraded, TEXT, TEXT, TEXT), max_size=2).map(tuple),
    plan_digest=TEXT,
    refused_files=st.lists(st.tuples(NAMES, TEXT), max_size=3).map(tuple),
)


@given(RESULTS)
def test_a_result_comes_back_equal(result):
    wire = json.dumps(result.to_dict(), ensure_ascii=False).encode("utf-8")
    back = result_from(json.loads(wire))
    assert back == result
    assert list(back.files) == list(result.files)
    assert type(back.outcome) is Outcome
    assert back.ok == result.ok


def test_names_that_look_alike_when_they_are_shown_are_told_apart():
    files = {"\udcff": CollectedFile(b"1", 0o600), "\\xff": CollectedFile(b"2", 0o644), "\\\\xff": CollectedFile(b"3", 0)}
    said = make_result(files=files).to_dict()
    assert len(said["files"]) == 3
    assert result_from(said).files == files


def test_an_answer_has_the_compiler_and_the_run():
    run = make_result()
    stage = {"ok": True, "reason": "", "stdout": "\ufffd", "stderr": "", "result": run.to_dict()}
    answer = answer_from({"id": "1", "language": "cpp", "version": "12", "compile": stage, "run": run.to_dict()})
    assert answer.run == answer.compile.result == run
    assert answer.compile.stdout == run.stdout, "the exact bytes are in its result"
    answer = answer_from({"id": "1", "language": "", "version": "", "compile": None, "run": None})
    assert (answer.compile, answer.run) == (None, None)


@pytest.mark.parametrize(
    "change",
    [
        {"outcome": "fine"},
        {"exit": {}},
        {"usage": {}},
        {"files": {"a": "!"}},
        {"files": []},
        {"evidence": [{}]},
        {"stdout": None},
    ],
)
def test_what_is_no_result_is_refused(change):
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
        result_from({**make_result().to_dict(), **change})
