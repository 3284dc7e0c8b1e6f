"""The time limit of a problem that gives none: its accepted submissions are run first, and what was found is remembered.

Source: problem package format 2025-09, "Timelimit inference".
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable

from sandbox.grader import timing
from sandbox.grader.cancel import Cancel
from sandbox.grader.model import Expectation, Problem, Source
from sandbox.model.digest import sha256

MOST_S = 30.0  # while the limit is not known
_NAMED = 5
_found: dict[str, tuple[float, str]] = {}
_lock = threading.Lock()


def bounds_below(expectation: Expectation) -> bool:
    """Whether a submission has to be fast enough, so that the limit cannot be lower."""
    return expectation.use_for_time_limit == "lower"


def bounds_above(expectation: Expectation) -> bool:
    """Whether a submission has to be too slow, and by a margin (`time_limit_to_tle`)."""
    return expectation.use_for_time_limit == "upper"


def with_time_limit(
    problem: Problem, slowest: Callable[[Problem, Source], float | None], cancel: Cancel | None = None
) -> Problem:
    """The problem with a time limit.

    Args:
        problem: returned as it is when it says its limit.
        slowest: CPU seconds of the slowest case of a submission, None when it does not count.
        cancel: the problem is returned as it is, and nothing is remembered, once the word was said.
    """
    if problem.limits.time_is_given:
        return problem
    key = _key(problem)
    with _lock:  # who comes meanwhile waits for the answer instead of looking for it again
        if key not in _found:
            found = _find(problem, slowest)
            if cancel is not None and cancel.is_set:
                return problem
            _found[key] = found
        limit, said = _found[key]
        limits = dataclasses.replace(problem.limits, time_s=limit, time_is_given=True)
    return dataclasses.replace(problem, limits=limits, warnings=(*problem.warnings, said))


def _find(problem: Problem, slowest: Callable[[Problem, Source], float | None]) -> tuple[float, str]:
    """(the limit, where it comes from)."""
    generous = dataclasses.replace(problem, limits=dataclasses.replace(problem.limits, time_s=MOST_S, time_is_given=True))
    times: dict[str, float] = {}
    untimed: list[str] = []
    for name, source, expectation in problem.submissions:
        if not bounds_below(expectation):
            continue
        taken = slowest(generous, source)
        if taken is None:
            untimed.append(name)
        else:
            times[name] = taken
    limit = timing.infer_limit(times, problem.limits)
    origin = "found from the accepted submissions" if times else "by default: no accepted submission could be timed"
    left_out = f"; not timed, since they did not run to their end: {', '.join(untimed[:_NAMED])}" if untimed else ""
    return limit, f"time limit {limit:g} s, {origin}{left_out}"


def _key(problem: Problem) -> str:
    """What the limit depends on: the submissions, the multipliers, and which cases there are."""
    parts = [str(problem.root), problem.name, repr(dataclasses.astuple(problem.limits))]
    for name, source, _ in problem.submissions:
        parts += [name, *(f"{file}:{sha256(data).hexdigest()}" for file, data in sorted(source.files.items()))]
    for case in problem.tests.all_cases():
        found = case.input.stat()
        parts += [case.name, f"{found.st_size}:{found.st_mtime_ns}"]
    digest: str = sha256("\0".join(parts).encode()).hexdigest()
    return digest
