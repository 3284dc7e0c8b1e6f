"""What a grading needs before its first case, side by side: the submission, the judge's programs, and where cases will run."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

from sandbox.grader import boxes, building, timing, validators
from sandbox.grader.building import BuildFailure, Built, Setting
from sandbox.grader.cancel import Cancel
from sandbox.grader.model import JudgeProgram, Problem, Source
from sandbox.grader.validators import Judge
from sandbox.model.errors import SandboxError

_MOST_AHEAD = boxes.MOST_IDLE // 2  # launchers: others have some too


@dataclass(frozen=True, slots=True)
class Programs:
    """All programs of a grading, or why one is none.

    Attributes:
        submission: None: answers were handed in, there is nothing to build.
        judges: "validator", "static" and "grader", as far as the problem has them.
    """

    submission: Built | BuildFailure | None
    judges: Mapping[str, Judge | BuildFailure]


@dataclass(frozen=True, slots=True)
class Preparation:
    """How to make them.

    Attributes:
        jobs: cases at once; None: as many as there are cores.
        reserved: keeps launchers for the first cases; it is closed when these have run.
    """

    problem: Problem
    source: Source
    jobs: int | None
    cancel: Cancel
    reserved: ExitStack
    allow_degraded: bool = False

    def programs(self) -> Programs:
        """Build them. Raises UnsupportedHostError where the host cannot run sandboxes."""
        problem = self.problem
        wanted = {"validator": problem.validator, "static": problem.static_validator, "grader": problem.grader}
        over = threading.Event()
        with _thread("sandbox build") as pool, _thread("sandbox ahead") as ahead:
            judges = {name: pool.submit(self._judge, program) for name, program in wanted.items() if program is not None}
            try:
                submission = None if "submit-answer" in problem.kinds else self._submission(ahead, over)
            finally:
                over.set()
            return Programs(submission, {name: judge.result() for name, judge in judges.items()})

    def _judge(self, program: JudgeProgram) -> Judge | BuildFailure:
        return validators.prepare(program, self.problem.limits, allow_degraded=self.allow_degraded, cancel=self.cancel)

    def _submission(self, ahead: ThreadPoolExecutor, over: threading.Event) -> Built | BuildFailure:
        return building.build(
            self.source,
            self.problem.limits,
            include=self.problem.include,
            allowed=self.problem.languages,
            allow_degraded=self.allow_degraded,
            cancel=self.cancel,
            on_compile=lambda setting: ahead.submit(self._set_up, setting, over),
        )

    def _set_up(self, setting: Setting, over: threading.Event) -> None:
        """Start launchers and park sandboxes while the compiler runs, on one core only. What fails is said by the first case."""
        cases, writable = len(self.problem.tests.all_cases()), self.problem.allow_file_writing
        cores = timing.cores(self.jobs, pinned=True).free(min(cases, self.jobs or cases, _MOST_AHEAD))
        with contextlib.suppress(SandboxError):
            for core in cores:
                if over.is_set() or self.cancel.is_set:
                    return
                self.reserved.enter_context(setting.prepared(core.cpus, cases // len(cores), writable=writable))


def _thread(name: str) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix=name)
