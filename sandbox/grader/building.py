"""A submission made ready to run: compiled in a sandbox of its own, kept in the store, bound read-only into every run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sandbox.api import Run, Sandbox, Stdin
from sandbox.grader.languages import Language
from sandbox.grader.model import Limits, Source
from sandbox.model.result import RunResult
from sandbox.policy.profile import Profile
from sandbox.runtime.request import FileContent


@dataclass(frozen=True, slots=True)
class Built:
    """A program that is ready.

    Attributes:
        argv: the command inside, before arguments of the case.
        directory: where its files are on the host; they appear at PROGRAM inside.
        profile: what it runs in, wide enough for `memory_bytes`.
        memory_bytes: limit of a run: what the problem allows and what the language's runtime takes for itself.
        version: what the compiler or interpreter says of itself.
        cached: whether it came from the store.
        output: what the compiler said.
        run: the run of the compiler; None when it came from the store or there is none.
    """

    argv: tuple[str, ...]
    directory: Path
    profile: Profile
    language: Language
    limits: Limits
    memory_bytes: int
    version: str = ""
    cached: bool = False
    output: str = ""
    run: RunResult | None = None

    @contextmanager
    def sandbox(
        self, *, writable: bool = True, files: Mapping[str, Path] | None = None, cpus: Sequence[int] = ()
    ) -> Iterator[Sandbox]:
        """A warm Sandbox for runs of this program, shared and kept for the next one; any number of threads may hold it.

        Args:
            writable: False: the working directory is read-only. `files` have to be given here then.
            files: name → path of the case's files.
            cpus: the cores that runs are bound to; empty for any.
        """
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class BuildFailure:
    """No program. `blame`: "submission" is a compile error, "judge" a judge error (a compiler that is not there, say)."""

    reason: str
    output: str = ""
    run: RunResult | None = None
    blame: str = "submission"
    language: str = ""


def build(
    source: Source,
    limits: Limits,
    *,
    include: Mapping[str, Mapping[str, bytes]] | None = None,
    allowed: Sequence[str] = (),
    memory_bytes: int | None = None,
    warm: bool = False,
) -> Built | BuildFailure:
    """Compile `source`, or find it in the store.

    Args:
        source: what was handed in.
        limits: of the problem: compilation time and memory, code size, and memory for the command of the run.
        include: language id or "default" → files put beside the source.
        allowed: ids of languages; empty for all.
        memory_bytes: memory of a run when it is not `limits.memory_bytes` (validators).
        warm: run Python as a fork of a warm interpreter.
    """
    raise NotImplementedError


def start(
    built: Built,
    box: Sandbox,
    *,
    stdin: Stdin = None,
    files: Mapping[str, FileContent] | None = None,
    arguments: Sequence[str] = (),
    collect: Sequence[str] = (),
    cpu_s: float | None = None,
    wall_s: float | None = None,
    output_bytes: int | None = None,
    on_stdout: Callable[[bytes], object] | None = None,
    on_stderr: Callable[[bytes], object] | None = None,
) -> Run:
    """Launch a built program in `box` (of `built.sandbox()`) with the limits of the problem, and return at once.

    Args:
        cpu_s: CPU seconds after which it is ended; `limits.time_s` by default.
        wall_s: seconds after which it is ended; twice the CPU time and a second by default.
        output_bytes: `limits.output_bytes` by default.
    """
    raise NotImplementedError
