"""Decisions about one case that need no sandbox."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest

from sandbox.grader import judging
from sandbox.grader.cancel import Cancel
from sandbox.grader.feedback import Judgement, judge_error
from sandbox.grader.interactive import Interaction
from sandbox.grader.limit import bounds_above, bounds_below
from sandbox.grader.model import Case, CaseResult, Expectation, Source, Verdict
from sandbox.grader.timing import Core
from sandbox.model.errors import LauncherDied, RequestError
from sandbox.model.result import Outcome
from tests.support.problems import make
from tests.unit.cli.fakes import make_result

ACCEPTED = Judgement(Verdict.AC)
WRONG = Judgement(Verdict.WA)
FAILED = judge_error("the validator ended with exit code 1")


def decide(
    judgement, *, verdict=None, first=False, submission=Outcome.EXITED, judge=Outcome.EXITED, broken_pipe=False, stopped=False
):
    ended = Interaction(
        make_result(outcome=submission),
        make_result(outcome=judge),
        judge_first=first,
        broken_pipe=broken_pipe,
        stopped=stopped,
    )
    found, _, kept = judging.decide(ended, (verdict, "why"), judgement)
    return found or kept.verdict


@pytest.mark.parametrize(
    ("expected", "judgement", "facts"),
    [
        ("AC", ACCEPTED, {}),
        ("WA", WRONG, {}),
        ("JE", FAILED, {}),
        # the judge rejected first: nothing after it counts
        ("WA", WRONG, {"first": True, "verdict": Verdict.RTE}),
        ("WA", WRONG, {"first": True, "verdict": Verdict.TLE}),
        ("WA", WRONG, {"first": True, "stopped": True, "verdict": Verdict.JE, "submission": Outcome.CANCELED}),
        ("JE", FAILED, {"first": True, "verdict": Verdict.RTE}),
        # the submission ended first: its own end comes before what the judge makes of the silence
        ("RTE", WRONG, {"verdict": Verdict.RTE}),
        ("TLE", WRONG, {"verdict": Verdict.TLE, "submission": Outcome.CPU_TIME}),
        ("RTE", FAILED, {"verdict": Verdict.RTE}),
        ("TLE", FAILED, {"verdict": Verdict.TLE, "submission": Outcome.WALL_TIME}),
        ("MLE", WRONG, {"verdict": Verdict.MLE, "submission": Outcome.MEMORY}),
        # accepted first, and then it has to end well
        ("TLE", ACCEPTED, {"first": True, "verdict": Verdict.TLE}),
        ("RTE", ACCEPTED, {"first": True, "verdict": Verdict.RTE}),
        ("AC", ACCEPTED, {"first": True, "broken_pipe": True, "verdict": Verdict.JE, "submission": Outcome.CANCELED}),
        # it waited for a judge that was busy or flooded it
        ("JE", FAILED, {"verdict": Verdict.TLE, "submission": Outcome.WALL_TIME, "judge": Outcome.CPU_TIME}),
        ("JE", FAILED, {"verdict": Verdict.TLE, "submission": Outcome.WALL_TIME, "judge": Outcome.OUTPUT}),
        ("TLE", FAILED, {"verdict": Verdict.TLE, "submission": Outcome.CPU_TIME, "judge": Outcome.CPU_TIME}),
    ],
)
def test_who_decides_an_interactive_run(expected, judgement, facts):
    assert decide(judgement, **facts).value == expected


CASE = Case("secret/group/01", Path("/nonexistent"))


@pytest.mark.parametrize(
    ("files", "alone", "found"),
    [
        ({"secret/group/01.out": b"a", "01.out": b"b"}, False, b"a"),
        ({"group/01.ans": b"a"}, False, b"a"),
        ({"01": b"a"}, False, b"a"),
        ({"x.txt": b"a"}, True, b"a"),
        ({"x.txt": b"a"}, False, None),
        ({"x.txt": b"a", "y.txt": b"b"}, True, None),
        ({}, True, None),
    ],
)
def test_which_file_answers_a_case(files, alone, found):
    assert judging.answer_for(CASE, Source(files, "answers"), alone=alone) == found


def failing(errors):
    def judged(*_):
        if errors:
            raise errors.pop(0)
        return CaseResult(CASE, Verdict.AC)

    return judged


@pytest.mark.parametrize(
    ("errors", "verdict"),
    [
        ([LauncherDied("gone")], Verdict.AC),
        ([LauncherDied("gone"), LauncherDied("again")], Verdict.JE),
        ([RequestError("a file is missing")], Verdict.JE),
        ([OSError(2, "No such file")], Verdict.JE),
    ],
)
def test_what_fails_on_our_side_is_tried_once_more_or_a_judge_error(monkeypatch, errors, verdict):
    monkeypatch.setattr(judging, "_judged", failing(errors))

    found = judging.judge_case(CASE, None, Core(0, ()), Cancel())

    assert found.verdict is verdict
    assert (verdict is Verdict.AC) or found.reason


def test_an_error_of_ours_is_not_hidden(monkeypatch):
    monkeypatch.setattr(judging, "_judged", failing([ZeroDivisionError()]))

    with pytest.raises(ZeroDivisionError):
        judging.judge_case(CASE, None, Core(0, ()), Cancel())


def claim(permitted=(), required=(), **more):
    return Expectation(permitted=frozenset(map(Verdict, permitted)), required=frozenset(map(Verdict, required)), **more)


@pytest.mark.parametrize(
    ("expectation", "below", "above"),
    [
        (claim(["AC"]), False, False),
        (claim(["AC"], use_for_time_limit="lower"), True, False),
        (claim(["AC", "TLE"], ["TLE"], use_for_time_limit="upper"), False, True),
    ],
)
def test_which_submissions_bound_the_time_limit(expectation, below, above):
    assert (bounds_below(expectation), bounds_above(expectation)) == (below, above)


def watched(monkeypatch, tmp_path, idle, verdict=Verdict.TLE, *, fair=False, written=4096):
    """The measured attempt of a program that was ended for doing nothing, on a core that was free for `idle` seconds in all."""
    usage = dataclasses.replace(make_result().usage, cpu_user_ns=0, cpu_system_ns=0, wall_ns=2_000_000_000)
    run = make_result(outcome=Outcome.IDLE_TIME, usage=usage, stdout=b"x" * written)
    readings = [reading for number in range(9) for reading in (10.0 * number, 10.0 * number + idle[min(number, len(idle) - 1)])]
    clock = iter(readings)
    monkeypatch.setattr(judging.timing, "counted", lambda cpus: judging.timing.Counted(next(clock), 0.0))
    monkeypatch.setattr(judging.timing, "has_fair_share", lambda: fair)
    made = []

    def attempt(self, now):
        made.append(self.core.cpus)
        return judging.Attempt(run, verdict, "did nothing")

    monkeypatch.setattr(judging._Judging, "_attempt", attempt)
    problem = make(tmp_path)
    stage = SimpleNamespace(problem=problem, repeated=True)
    found = judging._Judging(problem.tests.all_cases()[0], stage, None, Core(0, (0,)), Cancel())._measured(judging._Pass())
    return found, made


def test_who_got_no_cpu_twice_is_not_blamed(monkeypatch, tmp_path):
    found, runs = watched(monkeypatch, tmp_path, [0.0])

    assert (found.verdict, runs) == (Verdict.JE, [(0,), ()])
    assert "the host was too busy" in found.reason


def test_who_waits_on_a_busy_core_is_not_excused(monkeypatch, tmp_path):
    found, runs = watched(monkeypatch, tmp_path, [0.0], fair=True)

    assert (found.verdict, runs) == (Verdict.TLE, [(0,)])


def test_who_got_no_cpu_once_is_run_again_wherever_there_is_room(monkeypatch, tmp_path):
    found, runs = watched(monkeypatch, tmp_path, [0.0, 2.0])

    assert (found.verdict, runs) == (Verdict.TLE, [(0,), ()])


def test_who_was_never_ready_to_run_and_had_all_in_its_pipes_is_not_excused(monkeypatch, tmp_path):
    found, runs = watched(monkeypatch, tmp_path, [0.0], written=4095)

    assert (found.verdict, runs) == (Verdict.TLE, [(0,)])


def test_who_sleeps_on_a_free_core_is_run_once(monkeypatch, tmp_path):
    found, runs = watched(monkeypatch, tmp_path, [2.0])

    assert (found.verdict, runs) == (Verdict.TLE, [(0,)])
