"""Cases in parallel: one on each core, the next as soon as one ends, and an end as soon as the rest is decided.

Process: the caller's. One thread for each case in flight; the thread that asked hands them out and hears of their ends.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Mapping

from sandbox.grader.cancel import Cancel
from sandbox.grader.judging import Stage, judge_case
from sandbox.grader.model import Case, CaseResult, Group, Verdict
from sandbox.grader.schedule import PASSED, Fate, Mode, Slot, fates, slots
from sandbox.grader.timing import Core, Cores

Ended = Callable[[CaseResult, int, int], object]
Future = concurrent.futures.Future[CaseResult]


class _Flight:
    """What is known and what is under way.

    Attributes:
        places: every case, in order.
        finish: makes the result of a case fit for its group.
        results: of the cases that have ended.
        under_way: (number of the case, how to end it) of those that run.
    """

    def __init__(self, places: tuple[Slot, ...], mode: Mode, finish: Callable[[Slot, CaseResult], CaseResult]) -> None:
        self.places = places
        self.finish = finish
        self.results: dict[str, CaseResult] = {}
        self.under_way: dict[Future, tuple[int, Cancel]] = {}
        self._mode: Mode = mode
        self._waits = any(group.require_pass for place in places for group in place.groups)
        self._left = dict.fromkeys(range(len(places)))  # an ordered set of what has not begun
        self._fates: tuple[tuple[Fate, str], ...] | None = None

    def fates(self) -> tuple[tuple[Fate, str], ...]:
        """What is to become of every case, by what is known now."""
        if self._fates is None:
            self._fates = fates(self.places, {name: result.verdict for name, result in self.results.items()}, self._mode)
        return self._fates

    def next(self) -> int | None:
        """The first case in order that has to be run and has not begun; it has now."""
        found = self.fates()
        number = next((number for number in self._left if found[number][0] is Fate.RUN), None)
        if number is not None:
            del self._left[number]
        return number

    def take(self, future: Future) -> CaseResult:
        """A case has ended."""
        number, _ = self.under_way.pop(future)
        place = self.places[number]
        result = self.results[place.case.name] = self.finish(place, future.result())
        if self._waits or result.verdict not in PASSED:
            self._fates = None  # where no group waits for another, one that passed changes nothing
        return result

    def end_the_superfluous(self) -> None:
        """End what runs and is not wanted any more."""
        found = self.fates()
        for number, cancel in self.under_way.values():
            if found[number][0] is Fate.SKIP:
                cancel.cancel()

    def kept(self) -> dict[str, CaseResult]:
        """The result of every case, by the order of cases: what was superfluous is skipped, even if it ran."""
        out = {}
        for place, (fate, why) in zip(self.places, self.fates(), strict=True):
            name = place.case.name
            result = self.results.get(name) if fate is Fate.RUN else None
            out[name] = result or CaseResult(place.case, Verdict.SKIPPED, why or "the grading was canceled")
        return out


def run_cases(
    stage: Stage,
    tests: Group,
    cores: Cores,
    *,
    jobs: int,
    mode: Mode = "first",
    cancel: Cancel | None = None,
    on_end: Ended | None = None,
    finish: Callable[[Slot, CaseResult], CaseResult] | None = None,
    judge: Callable[[Case, Stage, Core, Cancel], CaseResult] = judge_case,
) -> Mapping[str, CaseResult]:
    """Run what has to be run. Every case has a result then; the verdicts do not depend on which ended first.

    Args:
        stage: the submission and its judge.
        tests: the root group.
        cores: where to run.
        jobs: cases at once.
        mode: "first" ends a group at its first failure where its `on_reject` says so, "all" runs every case.
        cancel: ends everything; what has not ended then is skipped.
        on_end: called in this thread as cases end: the result, how many have ended, how many there are.
        finish: makes the result of a case fit for its group (scores).
        judge: runs one case.
    """
    cancel = cancel or Cancel()
    flight = _Flight(slots(tests), mode, finish or (lambda _place, result: result))

    def work(case: Case, mine: Cancel) -> CaseResult:
        with cores.lend() as core:
            if mine.is_set:
                return CaseResult(case, Verdict.SKIPPED, "it was not wanted any more")
            return judge(case, stage, core, mine)

    with concurrent.futures.ThreadPoolExecutor(jobs, thread_name_prefix="sandbox case") as pool:
        try:
            while True:
                while not cancel.is_set and len(flight.under_way) < jobs and (number := flight.next()) is not None:
                    mine = Cancel(cancel)
                    flight.under_way[pool.submit(work, flight.places[number].case, mine)] = number, mine
                if not flight.under_way:
                    return flight.kept()
                _take_ended(flight, on_end)
        except BaseException:
            cancel.cancel()  # an error of ours, of a callback, or an interrupt: nothing goes on behind its back
            raise


def _take_ended(flight: _Flight, on_end: Ended | None) -> None:
    """Wait for the next end, and say it."""
    done, _ = concurrent.futures.wait(flight.under_way, return_when=concurrent.futures.FIRST_COMPLETED)
    for future in sorted(done, key=lambda item: flight.under_way[item][0]):
        if flight.under_way[future][1].is_set:
            del flight.under_way[future]
            continue
        result = flight.take(future)
        if on_end is not None:
            on_end(result, len(flight.results), len(flight.places))
    flight.end_the_superfluous()
