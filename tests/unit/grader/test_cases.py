"""Cases in parallel, with a judge that the test conducts."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest

from sandbox.grader.cancel import Cancel
from sandbox.grader.cases import run_cases
from sandbox.grader.model import Case, CaseResult, Group, Verdict
from sandbox.grader.timing import Cores
from tests.support.clock import wait_until

NOWHERE = Path("/nonexistent")


def tree(*names, **options):
    groups: dict[str, list[Case]] = {}
    for name in names:
        groups.setdefault(name.partition("/")[0], []).append(Case(name, NOWHERE))
    return Group("", groups=tuple(Group(name, cases=tuple(found)) for name, found in groups.items()), **options)


class Conductor:
    """Judges by a table; a case in `held` waits until it is let go or canceled."""

    def __init__(self, verdicts, held=()):
        self.verdicts = verdicts
        self.held = {name: threading.Event() for name in held}
        self.begun = []
        self.ended_early = []
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()

    def __call__(self, case, stage, core, cancel):
        with self._lock:
            self.begun.append(case.name)
            self._now += 1
            self.most = max(self.most, self._now)
        event = self.held.get(case.name)
        try:
            while event is not None and not event.wait(0.005):
                if cancel.is_set:
                    self.ended_early.append(case.name)
                    return CaseResult(case, Verdict.JE, "canceled")
            return CaseResult(case, Verdict(self.verdicts[case.name]))
        finally:
            with self._lock:
                self._now -= 1


def run(conductor, tests, jobs=2, **options):
    found = run_cases(None, tests, Cores(jobs, pinned=False), jobs=jobs, judge=conductor, **options)
    return {name: result.verdict.value for name, result in found.items()}


def test_every_case_has_a_result_in_order():
    names = [f"a/{number}" for number in range(1, 8)]

    found = run(Conductor(dict.fromkeys(names, "AC")), tree(*names))

    assert list(found) == names
    assert set(found.values()) == {"AC"}


def test_no_more_at_once_than_asked_for():
    names = [f"a/{number}" for number in range(30)]
    conductor = Conductor(dict.fromkeys(names, "AC"))

    run(conductor, tree(*names), jobs=3)

    assert 1 <= conductor.most <= 3


def test_the_first_failure_in_order_decides_though_a_later_one_was_first_in_time():
    conductor = Conductor({"a/1": "WA", "a/2": "RTE", "a/3": "AC"}, held=["a/1"])
    seen = []

    def on_end(result, done, total):
        seen.append(result.case.name)
        conductor.held["a/1"].set()

    found = run(conductor, tree("a/1", "a/2", "a/3"), on_end=on_end)

    assert seen == ["a/2", "a/1"]
    assert found == {"a/1": "WA", "a/2": "SKIPPED", "a/3": "SKIPPED"}


def test_what_is_not_wanted_any_more_is_ended():
    conductor = Conductor({"a/1": "WA", "a/2": "AC"}, held=["a/2"])

    found = run(conductor, tree("a/1", "a/2"))

    assert found == {"a/1": "WA", "a/2": "SKIPPED"}
    assert conductor.ended_early in ([], ["a/2"])  # it may not have begun


def test_all_cases_run_in_mode_all():
    found = run(Conductor({"a/1": "WA", "a/2": "TLE", "b/1": "AC"}), tree("a/1", "a/2", "b/1"), mode="all")

    assert found == {"a/1": "WA", "a/2": "TLE", "b/1": "AC"}


@pytest.mark.parametrize("seed", range(20))
def test_results_do_not_depend_on_the_number_of_jobs(seed):
    chance = random.Random(seed)
    names = [f"{group}/{number}" for group in "abc" for number in range(4)]
    verdicts = {name: chance.choice(["AC", "AC", "AC", "WA", "TLE"]) for name in names}
    tests = tree(*names, on_reject=chance.choice(["break", "continue"]))

    alone = run(Conductor(verdicts), tests, jobs=1)

    assert run(Conductor(verdicts), tests, jobs=5) == alone


def test_a_cancel_ends_what_runs_and_skips_the_rest():
    names = [f"a/{number}" for number in range(1, 6)]
    conductor = Conductor(dict.fromkeys(names, "AC"), held=names[1:])
    cancel = Cancel()

    found = run(conductor, tree(*names), jobs=1, cancel=cancel, on_end=lambda *_: cancel.cancel())

    assert found == {"a/1": "AC", **dict.fromkeys(names[1:], "SKIPPED")}


def test_an_error_of_a_callback_ends_everything():
    names = ["a/1", "a/2", "a/3"]
    conductor = Conductor(dict.fromkeys(names, "AC"), held=["a/2"])

    def fail(*_):
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        run(conductor, tree(*names), on_end=fail)
    wait_until(lambda: conductor._now == 0, 20.0, "all have ended")


def test_finish_sees_the_group_of_the_case():
    seen = []

    def finish(place, result):
        seen.append((place.case.name, place.groups[-1].name))
        return CaseResult(result.case, Verdict.JE)

    assert run(Conductor({"a/1": "AC"}), tree("a/1"), finish=finish) == {"a/1": "JE"}
    assert seen == [("a/1", "a")]


def test_a_tree_without_cases_is_over_at_once():
    assert run(Conductor({}), Group("")) == {}
