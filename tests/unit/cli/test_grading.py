"""The commands that grade, with the grading itself faked: options, output, exit codes."""

from __future__ import annotations

import dataclasses
import json

import pytest

from sandbox.cli import grading, main
from sandbox.grader.grade import Verified
from sandbox.grader.inputs import InputMistake
from sandbox.grader.model import Expectation, Group, JudgeProgram, Limits, Problem, Report, Source, Verdict
from sandbox.model.errors import RequestError
from tests.unit.grader.reports import report

SOURCE = Source({"a.py": b""}, "a.py")


@pytest.fixture
def faked(monkeypatch, tmp_path):
    """Sets what a grading gives; returns what it was asked."""
    asked: list[dict[str, object]] = []
    problem = Problem("sum", "plain", frozenset({"pass-fail"}), Limits(), Group(""), JudgeProgram(), tmp_path)
    answers: list[Report] = []

    def load(path):
        asked.append({"problem": str(path)})
        return problem

    def grade(given, submission, **options):
        asked.append({"limits": given.limits, "submission": submission, **{k: v for k, v in options.items() if k != "on_event"}})
        return answers.pop(0)

    monkeypatch.setattr("sandbox.grader.packages.load", load)
    monkeypatch.setattr("sandbox.grader.grade.grade", grade)
    (tmp_path / "a.py").write_text("")
    monkeypatch.chdir(tmp_path)
    return answers, asked


@pytest.mark.parametrize(("verdict", "code"), [("AC", 0), ("PAC", 0), ("WA", 1), ("CE", 1), ("SKIPPED", 1), ("JE", 2)])
def test_exit_codes_and_json_of_grade(faked, capfd, verdict, code):
    answers, asked = faked
    answers.append(dataclasses.replace(report(), verdict=Verdict(verdict)))
    assert main.call(["grade", "p", "a.py", "--all", "--jobs", "3", "--time-limit", "500ms", "--allow-degraded"]) == code
    said = json.loads(capfd.readouterr().out)
    assert said["problem"] == "sum"
    assert [item["verdict"] for item in said["reports"]] == [verdict]
    assert said["reports"][0]["submission"] == "a.py"
    assert asked[1]["limits"] == Limits(time_s=0.5)
    assert (asked[1]["mode"], asked[1]["jobs"], asked[1]["submission"]) == ("all", 3, "a.py")
    assert asked[1]["allow_degraded"] is True


def test_language_and_entry_point_of_a_submission(faked, tmp_path):
    answers, asked = faked
    answers += [report()] * 2
    main.call(["grade", "p", "a.py", "--entry-point", "a.py"])
    main.call(["grade", "p", "a.py", "--entry-point", "a", "--language", "pypy"])
    found = [item["submission"] for item in asked if "submission" in item]
    assert [(source.language, source.entry_point) for source in found] == [("", "a.py"), ("pypy3", "a")]


def test_a_folder_that_cannot_be_read_is_left_to_the_grading_that_says_why(faked, tmp_path):
    answers, asked = faked
    answers.append(report())
    (tmp_path / "trap").mkdir()
    (tmp_path / "trap" / "a.py").symlink_to("/etc/passwd")
    main.call(["grade", "p", "trap", "--language", "python3"])
    assert asked[1]["submission"] == "trap"


@pytest.mark.parametrize("option", [["--entry-point", "a"], ["--language", "c"]])
def test_what_the_package_says_of_its_own_submissions_is_not_overridden(faked, capfd, monkeypatch, tmp_path, option):
    own = (("a", SOURCE, Expectation()),)
    problem = Problem("sum", "plain", frozenset(), Limits(), Group(""), JudgeProgram(), tmp_path, submissions=own)
    monkeypatch.setattr("sandbox.grader.packages.load", lambda _: problem)
    assert main.call(["grade", "p", *option]) == 125
    assert "`entrypoint` in submissions/submissions.yaml" in capfd.readouterr().err


def test_a_judge_error_is_told_above_a_rejection(faked):
    answers, _ = faked
    answers += [report(), dataclasses.replace(report(), verdict=Verdict.JE)]
    assert main.call(["grade", "p", "a.py", "a.py"]) == 2


def test_the_page_is_written(faked, tmp_path):
    answers, _ = faked
    answers.append(report())
    assert main.call(["grade", "p", "a.py", "--html", "out.html"]) == 1
    assert (tmp_path / "out.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["grade", "p"], "nothing to grade"),
        (["grade", "p", "missing.py"], "no such file"),
        (["grade", "p", "a.py", "--html", "no/such/place.html"], "cannot be written"),
        (["grade", "p", "a.py", "--time-limit", "soon"], "--time-limit"),
        (["grade", "p", "a.py", "--time-limit", "0"], "--time-limit"),
        (["grade", "p", "a.py", "--language", "klingon"], "klingon"),
        (["grade", "p", "a.py", "--jobs", "0"], "jobs"),
        (["verify", "p"], "nothing to verify"),
    ],
)
def test_mistakes_are_errors_before_anything_is_graded(faked, capfd, arguments, words):
    assert main.call(arguments) == 125
    assert words in capfd.readouterr().err


@pytest.mark.parametrize(
    ("complaints", "mistakes", "code"),
    [((), (), 0), (("got WA, expected AC",), (), 1), ((), (InputMistake("v.py", "secret/1", "ended with exit code 43"),), 1)],
)
def test_verify(faked, capfd, monkeypatch, tmp_path, complaints, mistakes, code):
    problem = Problem(
        "sum", "plain", frozenset(), Limits(), Group(""), JudgeProgram(), tmp_path, submissions=(("a", SOURCE, Expectation()),)
    )
    monkeypatch.setattr("sandbox.grader.packages.load", lambda _: problem)
    found = (Verified("a", Expectation(), report(), complaints),)
    monkeypatch.setattr("sandbox.grader.grade.verify_all", lambda *_, **__: found)
    monkeypatch.setattr("sandbox.grader.inputs.check_inputs", lambda *_, **__: mistakes)
    assert main.call(["verify", "p"]) == code
    said = json.loads(capfd.readouterr().out)
    assert said["holds"] is (not complaints and not mistakes)
    assert said["inputs"] == [dataclasses.asdict(mistake) for mistake in mistakes]
    assert said["submissions"][0]["complaints"] == list(complaints)


def test_languages_in_a_pipe_are_json(capfd):
    assert main.call(["languages", "--no-versions"]) == 0
    rows = json.loads(capfd.readouterr().out)
    python = next(row for row in rows if row["id"] == "python3")
    assert set(python) == {"id", "name", "available", "version", "programs", "missing", "extensions", "aliases"}


def test_evaluate_without_samples(capfd, tmp_path):
    (tmp_path / "s.jsonl").write_text("")
    assert main.call(["evaluate", str(tmp_path / "s.jsonl")]) == 125
    assert "has no samples" in capfd.readouterr().err


def test_the_extra_is_named_when_it_is_missing(monkeypatch):
    monkeypatch.setattr(grading.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(RequestError, match=r"sandbox\[grader\]"):
        grading.need_extra()


def test_a_hostile_reason_stays_on_its_line():
    heading = grading.heading(report())
    assert "\n" not in heading
    assert heading.isprintable()
