"""Whether the input of every case is what the input validators of the package allow."""

from __future__ import annotations

import concurrent.futures
import os
from collections.abc import Iterator
from dataclasses import dataclass

from sandbox.grader import validators
from sandbox.grader.building import BuildFailure
from sandbox.grader.cancel import Cancel
from sandbox.grader.model import Case, JudgeProgram, Problem
from sandbox.grader.validators import Judge
from sandbox.model.errors import SandboxError


@dataclass(frozen=True, slots=True)
class InputMistake:
    """What an input validator has against a case. `case` is "" when it could not be built."""

    validator: str
    case: str
    reason: str


def check_inputs(
    problem: Problem, *, jobs: int | None = None, cancel: Cancel | None = None, allow_degraded: bool = False
) -> tuple[InputMistake, ...]:
    """Run every input validator on every case, in order.

    Args:
        problem: from `packages.load`.
        jobs: validators at once; as many as this process has cores by default.
        cancel: ends it from another thread; what was not checked then is not in the answer.
        allow_degraded: as of `grade`.
    """
    cancel = cancel or Cancel()
    cases = problem.tests.all_cases()
    with concurrent.futures.ThreadPoolExecutor(jobs or len(os.sched_getaffinity(0)), "sandbox input") as pool:
        found = [
            mistake
            for program in problem.input_validators
            for mistake in _of_validator(program, problem, cases, pool, cancel, allow_degraded=allow_degraded)
        ]
    return tuple(found)


def _of_validator(
    program: JudgeProgram,
    problem: Problem,
    cases: tuple[Case, ...],
    pool: concurrent.futures.ThreadPoolExecutor,
    cancel: Cancel,
    *,
    allow_degraded: bool,
) -> Iterator[InputMistake]:
    try:
        judge = validators.prepare(program, problem.limits, allow_degraded=allow_degraded, cancel=cancel)
    except SandboxError as error:
        judge = BuildFailure(f"{program.name} could not be built: {error}", blame="judge")
    if isinstance(judge, BuildFailure):
        said = judge.output.strip().partition("\n")[0][:200]
        yield InputMistake(program.name, "", f"{judge.reason}{f': {said}' if said else ''}")
        return
    ready = judge
    for case, reason in zip(cases, pool.map(lambda case: _of_case(ready, case, cancel), cases), strict=True):
        if reason:
            yield InputMistake(program.name, case.name, reason)


def _of_case(judge: Judge, case: Case, cancel: Cancel) -> str:
    if cancel.is_set:
        return ""
    try:
        return validators.input_mistake(judge, case, cancel=cancel)
    except (SandboxError, OSError) as error:
        return f"the input validator could not be run: {error}"
