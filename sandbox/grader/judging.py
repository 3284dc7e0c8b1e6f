"""One case: run the submission, then let the problem's own program judge what it wrote.

The submission sees its input as stdin, its arguments and the files of the case, and nothing else of the problem. When it ended
well, and only then, its output is judged, in another sandbox. In a multi-pass problem this goes on while the validator gives
another input. Whatever fails on the judge's side is a judge error.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.api import Run, Sandbox
from sandbox.grader import building, timing, validators, verdicts
from sandbox.grader.building import Built
from sandbox.grader.cancel import Cancel
from sandbox.grader.feedback import Judgement, judge_error
from sandbox.grader.interactive import Conversation, Interaction, Transcript
from sandbox.grader.keep import Keep
from sandbox.grader.model import Case, CaseResult, Problem, Source, Timing, Verdict
from sandbox.grader.timing import Clocks, Core
from sandbox.grader.validators import Judge
from sandbox.model.errors import RequestError, SandboxError, UnsupportedHostError
from sandbox.model.result import Outcome, RunResult

SHOWN_BYTES = 64 << 10
BETWEEN_PASSES = "-"  # in a transcript: between two passes
_LIMITS = frozenset({Outcome.CPU_TIME, Outcome.WALL_TIME, Outcome.IDLE_TIME, Outcome.MEMORY, Outcome.OUTPUT})


@dataclass(frozen=True, slots=True)
class Stage:
    """What all cases of a grading have in common. `submission` is None for answers that were handed in as they are."""

    problem: Problem
    submission: Built | None
    judge: Judge
    source: Source
    keep: Keep
    repeated: bool = True  # near the limit
    allowance: float = timing.ALLOWANCE  # CPU time that a run may have, in time limits

    @property
    def score_on_reject(self) -> bool:
        """Whether a rejected output may have a score."""
        return self.problem.format == "legacy"


@dataclass(slots=True)
class Attempt:
    """One run of the submission: what it came to, and the judgement where an interactor gave it at once."""

    run: RunResult
    verdict: Verdict | None
    reason: str
    judgement: Judgement | None = None
    transcript: Transcript = field(default_factory=Transcript)
    beside_s: float = 0.0  # CPU seconds of the interactor
    starved: bool = False  # others had its core: what a clock said does not count
    stolen_s: float | None = None  # that the hypervisor took from its core meanwhile


@dataclass(slots=True)
class _Pass:
    """One pass of a case: its input (None: that of the case) and what earlier passes left."""

    data: bytes | None = None
    feedback: Mapping[str, bytes] = field(default_factory=dict)


def judge_case(case: Case, stage: Stage, core: Core, cancel: Cancel) -> CaseResult:
    """Run and judge one case. An error of the host or of the judge's data is a JE with its reason.

    Raises UnsupportedHostError where the host cannot run sandboxes at all.
    What may pass by itself (a launcher that was killed, a host that was short of memory) is tried once more.
    """
    try:
        try:
            return _judged(case, stage, core, cancel)
        except SandboxError as error:
            if not error.retryable or cancel.is_set:
                raise
            return _judged(case, stage, core, cancel)
    except UnsupportedHostError:
        raise
    except SandboxError as error:
        reason = f"the judge could not run this case: {error}"
        return CaseResult(case, Verdict.JE, reason, message=f"{type(error).__name__}: {error}")
    except OSError as error:
        return CaseResult(case, Verdict.JE, f"the data of {case.name} cannot be read: {error}", message=str(error))


def _judged(case: Case, stage: Stage, core: Core, cancel: Cancel) -> CaseResult:
    if stage.submission is None:
        return _handed_in(case, stage, core, cancel)
    return _Judging(case, stage, stage.submission, core, cancel).all_passes()


@dataclass(slots=True)
class _Judging:
    """One case in flight."""

    case: Case
    stage: Stage
    built: Built
    core: Core
    cancel: Cancel
    said: list[tuple[str, bytes, float]] = field(default_factory=list)
    timed: tuple[Timing, RunResult] | None = None  # of the slowest pass
    memory_bytes: int = 0

    def all_passes(self) -> CaseResult:
        """Pass after pass, until one is rejected or the validator wants no more."""
        multi_pass = "multi-pass" in self.stage.problem.kinds
        most = self.stage.problem.limits.validation_passes if multi_pass else 1
        now = _Pass()
        number = 0
        while True:
            number += 1
            attempt = self._measured(now)
            self.said += [(BETWEEN_PASSES, b"", 0.0)] if self.said else []
            self.said += attempt.transcript.entries
            judgement = attempt.judgement
            if attempt.verdict is not None:
                return self._result(attempt, Judgement(attempt.verdict, attempt.reason), number)
            if judgement is None:
                judgement = self._check(attempt.run, now, multi_pass=multi_pass)
            if judgement.next_pass is None:
                return self._result(attempt, judgement, number)
            if number >= most:
                reason = f"the validator asks for pass {number + 1}, the problem allows {most} (limits.validation_passes)"
                return self._result(attempt, judge_error(reason, judgement.run, judgement.message), number)
            now = _Pass(judgement.next_pass, judgement.files)

    def _check(self, run: RunResult, now: _Pass, *, multi_pass: bool) -> Judgement:
        return validators.check(
            self.stage.judge,
            self.case,
            now.data,
            run.stdout,
            feedback=now.feedback,
            multi_pass=multi_pass,
            score_on_reject=self.stage.score_on_reject,
            keep=self.stage.keep,
            cpus=self.core.cpus,
            cancel=self.cancel,
        )

    def _measured(self, now: _Pass) -> Attempt:
        """The attempt that counts: near the limit the fastest of several."""
        limits = self.stage.problem.limits
        attempts = [self._watched(now)]
        while not self.cancel.is_set and _is_doubtful(attempts, limits.time_s, repeated=self.stage.repeated):
            if attempts[-1].starved:
                self.core = Core(self.core.number, ())  # others use it: the next attempt may run wherever there is room
            attempts.append(self._watched(now))
        runs = [attempt.run for attempt in attempts]
        best = min(attempts, key=lambda attempt: (attempt.starved, attempt.verdict is Verdict.TLE, timing.cpu_s(attempt.run)))
        found = timing.record(runs, best.run, self.core.cpus, timing.total(attempt.stolen_s for attempt in attempts))
        if self.timed is None or found.cpu_s > self.timed[0].cpu_s:
            self.timed = found, best.run
        self.memory_bytes = max(self.memory_bytes, best.run.usage.memory_peak_bytes)
        return best

    def _watched(self, now: _Pass) -> Attempt:
        """An attempt whose clocks count only when the program could have run."""
        cpus = self.core.cpus
        before = timing.counted(cpus)
        attempt = self._attempt(now)
        after = timing.counted(cpus)
        idle = timing.between(before.idle_s, after.idle_s)
        attempt.stolen_s = timing.between(before.steal_s, after.steal_s)
        wall = attempt.run.usage.wall_ns / 1e9
        fair = timing.has_fair_share() and (attempt.stolen_s or 0.0) < wall / 2
        size = os.stat(self.case.input).st_size if now.data is None else len(now.data)
        alone = timing.never_waits_for_us(attempt.run, size)
        if attempt.verdict is Verdict.TLE and timing.starved(attempt.run, idle, attempt.beside_s, fair=fair, alone=alone):
            reason = f"the host was too busy: the program had {timing.cpu_s(attempt.run):.2f} s of CPU time in {wall:.2f} s"
            return dataclasses.replace(attempt, verdict=Verdict.JE, reason=reason, starved=True)
        return attempt

    def _attempt(self, now: _Pass) -> Attempt:
        if "interactive" in self.stage.problem.kinds:
            return self._converse(now)
        with self._sandbox() as box, self._input(now) as stdin:
            clocks = timing.clocks(self.stage.problem.limits, self.stage.allowance)
            run = self._start(box, clocks, stdin=stdin)
            with run, self.cancel.watching(run):
                result = run.wait()
        return Attempt(result, *verdicts.of_run(result, self.stage.problem.limits, language=self.built.language))

    @contextmanager
    def _sandbox(self) -> Iterator[Sandbox]:
        """For the submission; where it may not write, the files of the case are a mount, so the sandbox is this case's alone."""
        writable = self.stage.problem.allow_file_writing
        if writable or not self.case.files:
            yield self.stage.keep.sandbox(self.built, writable=writable, cpus=self.core.cpus)
            return
        with self.built.sandbox(writable=False, files=self.case.files, cpus=self.core.cpus) as box:
            yield box

    @contextmanager
    def _input(self, now: _Pass) -> Iterator[bytes | int]:
        """stdin: a descriptor that the judge reads and copies; the file itself is never within reach."""
        if now.data is not None:
            yield now.data
            return
        with open(self.case.input, "rb") as file:
            yield file.fileno()

    def _start(
        self,
        box: Sandbox,
        clocks: Clocks,
        *,
        stdin: bytes | int,
        on_stdout: Callable[[bytes], object] | None = None,
        on_end: Callable[[], object] | None = None,
    ) -> Run:
        return building.start(
            self.built,
            box,
            stdin=stdin,
            files=self.case.files if self.stage.problem.allow_file_writing else None,
            arguments=self.case.arguments,
            cpu_s=clocks.cpu_s,
            wall_s=clocks.wall_s,
            idle_s=clocks.idle_s,
            on_stdout=on_stdout,
            on_stdout_end=on_end,
        )

    def _converse(self, now: _Pass) -> Attempt:
        """Submission and interactor beside each other."""
        judge = self.stage.judge
        if judge.built is None:
            raise RequestError("an interactive problem needs a validator of its own")
        clocks = timing.clocks(self.stage.problem.limits, self.stage.allowance, interactive=True)
        transcript = Transcript()
        conversation = Conversation(lambda run: self._read(run).verdict is not Verdict.AC, transcript, self.cancel)
        judge_box = self.stage.keep.sandbox(judge.built, cpus=self.core.cpus)
        with self._sandbox() as box:
            ended = conversation.hold(
                lambda *, stdin, on_stdout, on_end: self._start(box, clocks, stdin=stdin, on_stdout=on_stdout, on_end=on_end),
                lambda *, stdin, on_stdout, on_end: validators.start_interactor(
                    judge,
                    judge_box,
                    self.case,
                    now.data,
                    feedback=now.feedback,
                    stdin=stdin,
                    on_stdout=on_stdout,
                    on_stdout_end=on_end,
                    wall_s=clocks.wall_s,
                ),
                clocks.wall_s,
            )
        of_run = verdicts.of_run(ended.submission, self.stage.problem.limits, language=self.built.language)
        verdict, reason, judgement = decide(ended, of_run, self._read(ended.judge))
        return Attempt(ended.submission, verdict, reason, judgement, transcript, timing.cpu_s(ended.judge))

    def _read(self, run: RunResult) -> Judgement:
        multi_pass = "multi-pass" in self.stage.problem.kinds
        return validators.read(self.stage.judge, run, multi_pass=multi_pass, score_on_reject=self.stage.score_on_reject)

    def _result(self, attempt: Attempt, judgement: Judgement, passes: int) -> CaseResult:
        times, run = self.timed or (None, attempt.run)
        return dataclasses.replace(
            result_of(self.case, judgement),
            timing=times,
            memory_bytes=self.memory_bytes,
            run=_cut(attempt.run if attempt.verdict is not None else run),
            stdout=attempt.run.stdout[:SHOWN_BYTES],
            expected=_head(self.case.answer),
            transcript=tuple(self.said),
            passes=passes,
        )


def result_of(case: Case, judgement: Judgement) -> CaseResult:
    """A judgement as the result of a case."""
    return CaseResult(
        case,
        judgement.verdict,
        judgement.reason,
        message=judgement.message,
        team_message=judgement.team_message,
        score=judgement.score,
        multiplier=judgement.multiplier,
        judge=_cut(judgement.run) if judgement.run else None,
    )


def _is_doubtful(attempts: list[Attempt], limit_s: float, *, repeated: bool) -> bool:
    """Whether one more run could change the verdict, or says how sure it is. Who got no CPU is run once more in any case."""
    last = attempts[-1]
    if last.starved:
        return len(attempts) < 2
    if not repeated:
        return False
    if last.verdict not in (None, Verdict.TLE) or last.run.outcome is Outcome.CANCELED:
        return False
    if len(attempts) < timing.MOST_RUNS and timing.clock_ended(last.run):
        return True
    return timing.again([timing.cpu_s(attempt.run) for attempt in attempts], limit_s)


def decide(ended: Interaction, of_run: tuple[Verdict | None, str], judgement: Judgement) -> tuple[Verdict | None, str, Judgement]:
    """(verdict of the run or None where the judge's counts, its reason, the judgement) of an interactive run.

    A judge that rejected first, or failed first, is right whatever became of the submission then. Else TLE and RTE of the
    submission come before what the judge made of the silence. A judge that was ended by a limit of its own cannot blame the
    one who waited for it.
    """
    verdict, reason = of_run
    if (ended.judge_first or ended.submission.outcome is Outcome.CANCELED) and judgement.verdict in (Verdict.WA, Verdict.JE):
        return None, "", judgement
    if ended.broken_pipe or ended.stopped:  # it was ended by us, after the judge's word
        return None, "", judgement
    if verdict is None:
        return None, "", judgement
    waited = ended.submission.outcome in (Outcome.WALL_TIME, Outcome.IDLE_TIME)
    if waited and ended.judge.outcome in _LIMITS:
        return None, "", judgement
    return verdict, reason, judgement


def _handed_in(case: Case, stage: Stage, core: Core, cancel: Cancel) -> CaseResult:
    """A problem where answers are handed in: the file for this case is the output."""
    output = answer_for(case, stage.source, alone=len(stage.problem.tests.all_cases()) == 1)
    if output is None:
        wanted = f"{case.name.rpartition('/')[2]}.out"
        return CaseResult(case, Verdict.WA, f"there is no answer for this case; it is looked for as {wanted}")
    judgement = validators.check(
        stage.judge, case, None, output, score_on_reject=stage.score_on_reject, keep=stage.keep, cpus=core.cpus, cancel=cancel
    )
    return dataclasses.replace(result_of(case, judgement), stdout=output[:SHOWN_BYTES], expected=_head(case.answer))


def answer_for(case: Case, source: Source, *, alone: bool) -> bytes | None:
    """The handed-in file that belongs to a case: by its name, or the only one of an only case. None: there is none."""
    short = case.name.rpartition("/")[2]
    for name in (case.name, case.name.partition("/")[2], short):
        for suffix in (".out", ".ans", ".txt", ""):
            if name + suffix in source.files:
                return source.files[name + suffix]
    if alone and len(source.files) == 1:
        return next(iter(source.files.values()))
    return None


def _cut(run: RunResult) -> RunResult:
    """A run as a report keeps it: the first bytes of its output, and no files."""
    long = [name for name in ("stdout", "stderr") if len(getattr(run, name)) > SHOWN_BYTES]
    return dataclasses.replace(
        run,
        stdout=run.stdout[:SHOWN_BYTES],
        stderr=run.stderr[:SHOWN_BYTES],
        files={},
        truncated=tuple(dict.fromkeys((*run.truncated, *long))),
    )


def _head(path: Path | None) -> bytes:
    if path is None:
        return b""
    with open(path, "rb") as file:
        return file.read(SHOWN_BYTES)
