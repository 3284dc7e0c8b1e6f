"""`grade`: compile once, run every case that matters, and say what the submission is worth. `agrade` is its asynchronous twin.

    submission → preparing → cases (in parallel, each judged in `judging`) → scoring → Report

What a submission does wrong is a verdict of the report, what the judge's own programs or data do wrong is a JE with the reason.
Only a caller's mistake is an exception.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from sandbox.grader import limit, scoring, sources, timing, validators, verify
from sandbox.grader.building import BuildFailure, Built
from sandbox.grader.cancel import Cancel
from sandbox.grader.cases import run_cases
from sandbox.grader.feedback import text
from sandbox.grader.judging import Stage, result_of
from sandbox.grader.keep import Keep
from sandbox.grader.model import Case, CaseResult, Expectation, Group, GroupResult, Problem, Report, Source, Verdict
from sandbox.grader.preparing import Preparation
from sandbox.grader.schedule import Mode, Slot
from sandbox.grader.validators import Judge
from sandbox.model.errors import RequestError, SandboxError, UnsupportedHostError

CANCELED = "the grading was canceled"


@dataclass(frozen=True, slots=True)
class Event:
    """What is going on: `done` of `total` cases have ended. The last one is "finished" and has the report."""

    kind: Literal["compiling", "compiled", "case", "finished"]
    submission: str
    done: int = 0
    total: int = 0
    case: CaseResult | None = None
    report: Report | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """A submission of the package, what it claims and what it is. `complaints`: what does not hold; empty when all is well."""

    name: str
    expectation: Expectation
    report: Report
    complaints: tuple[str, ...]


OnEvent = Callable[[Event], object]


def grade(
    problem: Problem,
    submission: Source | str | os.PathLike[str],
    *,
    mode: Mode = "first",
    jobs: int | None = None,
    on_event: OnEvent | None = None,
    cancel: Cancel | None = None,
    allow_degraded: bool = False,
) -> Report:
    """Judge a submission. Safe from any number of threads.

    Args:
        problem: from `packages.load`.
        submission: a Source, or the path of a file, folder or archive.
        mode: "first" stops where the rest cannot change the verdict, "all" runs every case.
        jobs: cases at once; as many as this process has cores by default.
        on_event: called in this thread.
        cancel: ends the grading from another thread; the report then has the verdict SKIPPED.
        allow_degraded: grade also where the host has no control groups; `Report.degraded` says what stood in.

    Raises RequestError for a path that is not there, UnsupportedHostError where the host cannot run sandboxes. A submission that
    is there and cannot be read (a link, a bomb, too large) is a compile error.
    """
    if mode not in ("first", "all"):
        raise RequestError(f"mode must be 'first' or 'all', not {mode!r}")
    if jobs is not None and jobs < 1:
        raise RequestError(f"jobs must be at least 1, not {jobs}")
    source, mistake = (submission, "") if isinstance(submission, Source) else _read(submission)
    cancel = cancel or Cancel()
    problem = limit.with_time_limit(problem, partial(_slowest, cancel=cancel, allow_degraded=allow_degraded), cancel)
    grading = _Grading(problem, source, mode, jobs, on_event or (lambda _: None), cancel, allow_degraded)
    report = grading.without_run(Verdict.CE, mistake) if mistake else grading.report()
    grading.say("finished", report=report)
    return report


def _read(path: str | os.PathLike[str]) -> tuple[Source, str]:
    """The source at a path, and what is wrong with it."""
    try:
        return sources.read(path), ""
    except RequestError as error:
        if not os.path.lexists(path):
            raise
        return Source({}, os.fspath(path)), str(error)


def _slowest(problem: Problem, source: Source, *, cancel: Cancel, allow_degraded: bool) -> float | None:
    """CPU seconds of the slowest case of a submission that decides on the time limit; None when it tells nothing."""
    report = _Grading(problem, source, "all", None, lambda _: None, cancel, allow_degraded, repeated=False).report()
    useless = (Verdict.CE, Verdict.JE, Verdict.TLE, Verdict.SKIPPED)
    return None if report.verdict in useless else _slowest_case(report)


def _slowest_case(report: Report) -> float:
    return max((result.timing.cpu_s for result in report.all_cases() if result.timing is not None), default=0.0)


def _slow(name: str, report: Report) -> dict[str, float]:
    """Time of a submission that has to be too slow, where it is known: who was ended while it waited is slow anyway."""
    if report.verdict in (Verdict.JE, Verdict.CE, Verdict.SKIPPED):
        return {}
    waited = any(result.verdict is Verdict.TLE and result.run and timing.waited(result.run) for result in report.all_cases())
    return {} if waited else {name: _slowest_case(report)}


async def agrade(
    problem: Problem,
    submission: Source | str | os.PathLike[str],
    *,
    mode: Mode = "first",
    jobs: int | None = None,
    cancel: Cancel | None = None,
    allow_degraded: bool = False,
) -> AsyncIterator[Event]:
    """The asynchronous twin of `grade`: events as they come, the last one with the report.

    Who leaves the loop early ends the grading (use `contextlib.aclosing`); so does a canceled task.
    """
    loop = asyncio.get_running_loop()
    cancel = Cancel(cancel)
    events: asyncio.Queue[Event | None] = asyncio.Queue()

    def tell(event: Event | None) -> None:
        loop.call_soon_threadsafe(events.put_nowait, event)

    def work() -> None:
        try:
            grade(problem, submission, mode=mode, jobs=jobs, on_event=tell, cancel=cancel, allow_degraded=allow_degraded)
        finally:
            tell(None)

    working = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        while (event := await events.get()) is not None:
            yield event
        await working
    finally:
        cancel.cancel()
        if not working.done():
            await asyncio.shield(asyncio.wait([working]))


def verify_all(
    problem: Problem,
    *,
    mode: Mode = "all",
    jobs: int | None = None,
    on_event: OnEvent | None = None,
    cancel: Cancel | None = None,
    allow_degraded: bool = False,
) -> tuple[Verified, ...]:
    """Grade every submission of the package, in order, and hold each against what it claims. Arguments are those of `grade`."""
    cancel, was_given = cancel or Cancel(), problem.limits.time_is_given
    problem = limit.with_time_limit(problem, partial(_slowest, cancel=cancel, allow_degraded=allow_degraded), cancel)
    out = []
    for name, source, expectation in problem.submissions:
        if cancel.is_set:
            break
        grading = _Grading(problem, source, mode, jobs, on_event or (lambda _: None), cancel, allow_degraded)
        has_margin = not was_given and limit.bounds_above(expectation)
        if has_margin:
            grading.allowance = max(timing.ALLOWANCE, 1.1 * problem.limits.time_limit_to_tle)
        report = dataclasses.replace(grading.report(), submission=name)
        grading.say("finished", report=report)
        complaints = list(verify.judge(report, expectation))
        if has_margin:
            complaints += timing.too_fast(problem.limits.time_s, _slow(name, report), problem.limits)
        out.append(Verified(name, expectation, report, tuple(complaints)))
    return tuple(out)


@dataclass(slots=True)
class _Grading:
    """One submission on its way through."""

    problem: Problem
    source: Source
    mode: Mode
    jobs: int | None
    on_event: OnEvent
    cancel: Cancel
    allow_degraded: bool = False
    repeated: bool = True
    allowance: float = timing.ALLOWANCE
    started: float = dataclasses.field(default_factory=time.monotonic)
    built: Built | None = None
    judges: Mapping[str, Judge] = dataclasses.field(default_factory=dict)
    mistakes: list[str] = dataclasses.field(default_factory=list)

    def say(
        self,
        kind: Literal["compiling", "compiled", "case", "finished"],
        *,
        done: int = 0,
        total: int = 0,
        case: CaseResult | None = None,
        report: Report | None = None,
    ) -> None:
        """Tell who listens."""
        self.on_event(Event(kind, self.source.origin, done, total, case, report))

    def report(self) -> Report:
        """Everything, in order."""
        problem = self.problem
        if not problem.tests.all_cases():
            return self.without_run(Verdict.JE, "the problem has no test cases")
        with contextlib.ExitStack() as reserved:
            self.say("compiling")
            preparation = Preparation(problem, self.source, self.jobs, self.cancel, reserved, self.allow_degraded)
            programs = preparation.programs()
            self.say("compiled")
            if self.cancel.is_set:
                return self.without_run(Verdict.SKIPPED, CANCELED)
            if isinstance(programs.submission, BuildFailure):
                return self._failed(programs.submission)
            self.built = programs.submission
            broken = next((judge for judge in programs.judges.values() if isinstance(judge, BuildFailure)), None)
            if broken is not None:
                report = self.without_run(Verdict.JE, broken.reason)
                return dataclasses.replace(report, judge_output=text(broken.output.encode("utf-8", "replace")))
            self.judges = {name: judge for name, judge in programs.judges.items() if isinstance(judge, Judge)}
            static = self._static()
            return self._scored(self._cases(), static)

    def _cases(self) -> Mapping[str, CaseResult]:
        """Run the cases."""
        with Keep() as keep:
            cores = timing.cores(self.jobs, pinned=self.built is None or _can_be_pinned(self.built, keep))
            return run_cases(
                Stage(self.problem, self.built, self.judges["validator"], self.source, keep, self.repeated, self.allowance),
                self.problem.tests,
                cores,
                jobs=self.jobs or len(os.sched_getaffinity(0)),
                mode=self.mode,
                cancel=self.cancel,
                on_end=lambda result, done, total: self.say("case", done=done, total=total, case=result),
                finish=_with_score,
            )

    def _static(self) -> Mapping[str, CaseResult]:
        """What the static validator says, for each group that asks for it."""
        out = {}
        for group in _groups(self.problem.tests):
            if group.static_validation is None or self.built is None:
                continue
            case = scoring.static_case(group)
            out[group.name] = self._static_result(case, group.static_arguments)
        return out

    def _static_result(self, case: Case, arguments: tuple[str, ...]) -> CaseResult:
        judge, built = self.judges.get("static"), self.built
        if judge is None or built is None:
            return CaseResult(case, Verdict.JE, "the problem asks for static validation and has no static validator")
        try:
            found = validators.static(
                judge, built.source, built.language.id, built.entry_point, arguments=arguments, cancel=self.cancel
            )
        except SandboxError as error:
            return CaseResult(case, Verdict.JE, f"the static validator could not be run: {error}")
        return result_of(case, found)

    def _grade(self, group: Group, members: Sequence[tuple[Verdict, float]]) -> tuple[Verdict, float]:
        """What the legacy grader program makes of a group."""
        judge = self.judges.get("grader")
        if judge is None:
            return Verdict.JE, 0.0
        try:
            arguments = group.grader_arguments or judge.program.arguments
            verdict, score, mistake = validators.group_score(judge, members, arguments, cancel=self.cancel)
        except SandboxError as error:
            verdict, score, mistake = Verdict.JE, 0.0, f"the grader could not be run: {error}"
        if mistake:
            self.mistakes.append(f"group {group.name!r}: {mistake}")
        return verdict, score

    def _scored(self, results: Mapping[str, CaseResult], static: Mapping[str, CaseResult]) -> Report:
        """The report from the results of the cases."""
        if self.cancel.is_set:
            return self.without_run(Verdict.SKIPPED, CANCELED)
        root = scoring.judge_group(self.problem.tests, results, static=static, grade=self._grade)
        verdict, score = scoring.final(self.problem, root)
        cases = [*static.values(), *(case for case in results.values() if case.verdict is not Verdict.SKIPPED)]
        accepted = verdict in (Verdict.AC, Verdict.PAC)
        deciding = None if accepted else next((case for case in cases if case.verdict is verdict), None)
        reason = "" if accepted else "; ".join(self.mistakes) or (deciding.reason if deciding else _explained(root))
        return dataclasses.replace(
            self.without_run(verdict, reason),
            score=score,
            tests=root,
            decided_by=deciding.case.name if deciding else "",
            degraded=_weaker(cases),
        )

    def _failed(self, failure: BuildFailure) -> Report:
        """The report of a submission that could not be built."""
        verdict = Verdict.CE if failure.blame == "submission" else Verdict.JE
        report = self.without_run(verdict, failure.reason)
        return dataclasses.replace(
            report,
            language=failure.language or report.language,
            compile_output=text(failure.output.encode("utf-8", "replace")),
            compile_run=failure.run,
        )

    def without_run(self, verdict: Verdict, reason: str) -> Report:
        """A report without results of cases."""
        built = self.built
        return Report(
            problem=self.problem.name,
            submission=self.source.origin,
            language=built.language.id if built else self.source.language,
            verdict=verdict,
            score=None,
            reason=reason,
            tests=None,
            compile_output=text(built.output.encode("utf-8", "replace")) if built else "",
            compile_run=built.run if built else None,
            cached=built.cached if built else False,
            limits=self.problem.limits,
            wall_s=time.monotonic() - self.started,
            warnings=self.problem.warnings,
        )


def _groups(group: Group) -> Iterator[Group]:
    yield group
    for inner in group.groups:
        yield from _groups(inner)


def _explained(group: GroupResult) -> str:
    """The reason of a group whose verdict no case explains."""
    return group.reason or next(filter(None, map(_explained, group.groups)), "")


def _with_score(place: Slot, result: CaseResult) -> CaseResult:
    """The score of a case by the rules of its group, which may find the validator's score impossible."""
    return scoring.case_score(place.groups[-1], result)


def _can_be_pinned(built: Built, keep: Keep) -> bool:
    """Whether this host lets runs be bound to a core: it may have no cpuset controller for us."""
    cpu = min(os.sched_getaffinity(0))
    try:
        keep.sandbox(built, cpus=(cpu,))
    except UnsupportedHostError:
        return False
    except SandboxError:
        pass  # each case says it
    return True


def _weaker(cases: list[CaseResult]) -> tuple[str, ...]:
    """What was not enforced as the profiles ask, in words, each once."""
    runs = [run for case in cases for run in (case.run, case.judge) if run is not None]
    said = (f"{item.control}: {item.stand_in} ({item.consequence})" for run in runs for item in run.degraded)
    return tuple(dict.fromkeys(said))
