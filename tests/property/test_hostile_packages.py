"""Whatever is in a package, reading it ends in a Problem or in a ProblemError that names a file; nothing is left behind."""

from __future__ import annotations

import os
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox.grader import packages
from sandbox.grader.model import Problem
from sandbox.grader.packages import yamls
from sandbox.model.errors import ProblemError
from tests.support.problem_files import cases, write, zipped

KEYS = """
    problem_format_version type name limits validation validator_flags grading languages constants time_limit
    memory on_reject range grader_flags accept_score max_score score_aggregation require_pass args scoring
    output_validator_args output_validator_flags input_validator_args static_validation_score permitted required
    score test_cases archive checker points in out batched dependencies interactive files accepted *
""".split()
WORDS = [
    "2025-09",
    "2023-07-draft",
    "scoring",
    "custom",
    "interactive",
    "sum",
    "min",
    "1",
    "-1",
    "1e9",
    "inf",
    "1.in",
    "../x",
    "",
    "AC",
    "x",
]
FILES = """
    problem.yaml data/testdata.yaml data/secret/testdata.yaml data/secret/test_group.yaml data/secret/1.yaml
    init.yml submissions/submissions.yaml .timelimit domjudge-problem.ini
""".split()
BASE = {
    **cases("secret/1", "sample/1"), "1.in": "", "1.out": "", "submissions/accepted/a.py": "", "output_validators/v.py": "",
    "static_validator/s.py": "", "graders/g.py": "",
}  # fmt: skip

scalars = st.one_of(st.sampled_from(WORDS), st.none(), st.integers(-5, 5), st.booleans())
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)),
    max_leaves=12,
)
texts = st.one_of(values.map(lambda value: repr(value).replace("None", "null")), st.text(max_size=60))


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.text(max_size=200), st.text("[]{}&*:-,<!?|> \n'\"a#%@", max_size=200)))
def test_any_text_is_yaml_or_refused(text: str) -> None:
    try:
        yamls.parse(text.encode("utf-8", "surrogatepass"), "a.yaml")
    except ProblemError as error:
        assert str(error).startswith("a.yaml")  # noqa: PT017 - either end is fine, but this one has to name the file


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.dictionaries(st.sampled_from(FILES), texts, min_size=1, max_size=4))
def test_any_settings_make_a_problem_or_are_refused(files: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        raw = {name: text.encode("utf-8", "surrogatepass") for name, text in files.items()}
        root = write(Path(folder) / "hello", {**BASE, **raw})
        try:
            assert isinstance(packages.load(root), Problem)
        except ProblemError as error:
            assert error.message  # noqa: PT017


@pytest.mark.parametrize("seed", range(4))
def test_damaged_archives_are_refused_and_leave_nothing(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private = tmp_path / "temporary"
    private.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(private))
    whole = zipped(tmp_path / "whole.zip", {"problem.yaml": "name: x", **BASE}).read_bytes()
    dice = random.Random(seed)
    ends = {"problem": 0, "refused": 0}
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(dice.randint(1, 8)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        if dice.random() < 0.2:
            data = data[: dice.randrange(len(data))]
        (tmp_path / "a.zip").write_bytes(data)
        try:
            packages.close(packages.load(tmp_path / "a.zip"))
            ends["problem"] += 1
        except ProblemError:
            ends["refused"] += 1
        assert os.listdir(private) == []
    assert ends["refused"] > 20
