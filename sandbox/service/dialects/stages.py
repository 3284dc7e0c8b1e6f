"""What the dialects of judges have in common: output in the order in which it came, and isolate's words for how a run ended."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from sandbox.grader import exports, languages
from sandbox.model.result import Outcome, RunResult
from sandbox.service.ask import Event, Stage

_FAILED = 1


@dataclass(frozen=True, slots=True)
class Streams:
    """What a stage wrote: its two streams, and both in the order in which they came."""

    stdout: bytes
    stderr: bytes
    merged: bytes


class Recorder:
    """Called with the events of a run; keeps at most `most` bytes of each stream."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._pieces: dict[str, list[tuple[str, bytes]]] = {}
        self._room: dict[tuple[str, str], int] = {}

    def __call__(self, event: Event) -> None:
        """Take one event."""
        if event.kind not in ("stdout", "stderr"):
            return
        key = (event.stage, event.kind)
        room = self._room.setdefault(key, self._most)
        kept = event.data[:room]
        self._room[key] = room - len(kept)
        if kept:
            self._pieces.setdefault(event.stage, []).append((event.kind, kept))

    def of(self, stage: str, stdout: bytes, stderr: bytes) -> Streams:
        """The streams of a stage; `stdout` and `stderr`, one after the other, where no event came."""
        pieces = self._pieces.get(stage)
        if pieces is None:
            return Streams(stdout, stderr, stdout + stderr)
        return Streams(
            b"".join(data for kind, data in pieces if kind == "stdout"),
            b"".join(data for kind, data in pieces if kind == "stderr"),
            b"".join(data for _, data in pieces),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a stage ended, as isolate's meta file says it. What was not measured is None.

    Attributes:
        status: "" when all is well, else RE, SG, TO or XX.
        message: of isolate, for the status.
        code: None unless it ended by itself.
        signal: None unless a signal ended it.
    """

    status: str = ""
    message: str = ""
    code: int | None = None
    signal: int | None = None
    cpu_ns: int | None = None
    wall_ns: int | None = None
    memory_bytes: int | None = None


def ending(run: RunResult, *, time_limit_s: float | None = None) -> Ending:
    """Of a run that was."""
    meta = _meta(run, time_limit_s)
    status = meta.get("status", "")
    signal = int(meta["exitsig"]) if "exitsig" in meta else None
    return Ending(
        status=status,
        message=f"Caught fatal signal {signal}" if status == "SG" else meta.get("message", ""),
        code=int(meta["exitcode"]) if "exitcode" in meta and status != "TO" else None,
        signal=signal,
        cpu_ns=run.usage.cpu_user_ns + run.usage.cpu_system_ns,
        wall_ns=run.usage.wall_ns,
        memory_bytes=run.usage.memory_peak_bytes,
    )


def ending_of_compiler(stage: Stage) -> Ending:
    """Of the compiler, which is not run when its program is in the store."""
    if stage.result is not None:
        found = ending(stage.result)
        if stage.ok or found.status:
            return found
    if stage.ok:
        return Ending(code=0)
    return Ending(status="RE", message=stage.reason, code=_FAILED)


def over_length(run: RunResult) -> str:
    """The stream that was longer than allowed when that ended the run; "" when it did not."""
    if run.outcome is not Outcome.OUTPUT:
        return ""
    return "stderr" if "stderr" in run.truncated and "stdout" not in run.truncated else "stdout"


@functools.cache
def is_compiled(language: str) -> bool:
    """Whether a compiler makes what is run, so that the sources are not there when it is."""
    found = languages.load().get(language)
    return found is not None and found.compile is not None and bool(found.compile.artefacts)


def _meta(run: RunResult, time_limit_s: float | None) -> dict[str, str]:
    lines = exports.isolate_meta(run, time_limit_s=time_limit_s).splitlines()
    return {key: value for key, _, value in (line.partition(":") for line in lines)}
