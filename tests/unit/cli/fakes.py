"""A fake in place of the API: what it is asked is kept, what it answers is set by the test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from sandbox.model.result import Degraded, Evidence, Exited, Outcome, RunResult, Timings, Usage


def make_result(**changes: Any) -> RunResult:
    values: dict[str, Any] = {
        "outcome": Outcome.EXITED,
        "exit": Exited(0),
        "usage": Usage(
            cpu_user_ns=1_500_000, cpu_system_ns=0, wall_ns=20_000_000, memory_peak_bytes=3 << 20, pids_peak=1, output_bytes=6
        ),
        "timings": Timings(queue_ns=0, setup_ns=1_000_000, run_ns=20_000_000, teardown_ns=1_000),
        "stdout": b"hello\n",
        "stderr": b"",
        "truncated": (),
        "files": {},
        "evidence": (Evidence("waitid", "code", 0),),
        "enforced": {"namespaces": ["user"], "cgroup": None, "seccomp": {"main_sha256": "ab" * 32, "instructions": 100}},
        "degraded": (),
        "plan_digest": "cd" * 32,
    }
    return RunResult(**{**values, **changes})


WEAKER = (Degraded("memory", "sampling", "late"), Degraded("pids", "RLIMIT_NPROC", "per namespace"))


@dataclass
class FakeRun:
    api: FakeApi

    def wait(self) -> RunResult:
        for name in ("on_stdout", "on_stderr"):
            callback = self.api.started.get(name)
            for piece in self.api.output.get(name, ()):
                if callback is not None:
                    callback(piece)
        if self.api.during is not None:
            self.api.during(self)
        return self.api.result

    def cancel(self) -> None:
        self.api.canceled.append(True)

    def resize(self, rows: int, columns: int) -> None:
        self.api.resized.append((rows, columns))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.api.closed.append("run")


@dataclass
class FakeApi:
    result: RunResult = field(default_factory=make_result)
    error: Exception | None = None
    output: dict[str, list[bytes]] = field(default_factory=dict)
    during: Callable[[FakeRun], None] | None = None
    made: dict[str, Any] = field(default_factory=dict)
    started: dict[str, Any] = field(default_factory=dict)
    canceled: list[bool] = field(default_factory=list)
    resized: list[tuple[int, int]] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)

    def make(self, profile: Any, **options: Any) -> FakeApi:
        self.made = {"profile": profile, **options}
        return self

    def start(self, argv: list[str], **options: Any) -> FakeRun:
        self.started = {"argv": argv, **options}
        if self.error is not None:
            raise self.error
        return FakeRun(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed.append("sandbox")
