"""What every dialect asks of the core, and what it is answered: plain data. `Work.perform` takes the one and gives the other."""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from sandbox.model.errors import RequestError
from sandbox.model.result import RunResult


class UnknownLanguage(RequestError):
    """There is no such language here, or not in a version that fits."""


class Canceled(RequestError):
    """The run was canceled before its program ran: there is no result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One run that a client wants.

    Attributes:
        language: id of a language; empty: `argv` is a command that is there.
        sources: name → content; the first is the main file. A name may be "".
        argv: arguments after the program's own command, or the whole command.
        stdin: all of it, or as it comes; nothing by default.
        files: name → content, or (content, mode); put into the work directory beside the program.
        collect: names or patterns taken out of it afterwards.
        env: further environment variables.
        cwd: absolute path inside; the work directory by default.
        profile: "" is the first that the server offers; a program in a language has the profile of the language.
        limits: of the run, by the names of profiles or the fields of `Limits` ("memory": "64MiB", "wall_ns": 10**9).
        compile_limits: cpu and memory, likewise.
        tty: (rows, columns) of a terminal of its own.
        label: dialect and endpoint ("piston/execute"), for figures and the audit.
        peer: address of the client, for the audit.
    """

    language: str = ""
    sources: tuple[tuple[str, bytes], ...] = ()
    argv: tuple[str, ...] = ()
    stdin: bytes | AsyncIterable[bytes] | None = None
    files: Mapping[str, bytes | tuple[bytes, int]] = field(default_factory=dict)
    collect: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    profile: str = ""
    limits: Mapping[str, str | int] = field(default_factory=dict)
    compile_limits: Mapping[str, str | int] = field(default_factory=dict)
    tty: tuple[int, int] | None = None
    label: str = ""
    peer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What became of the compiler.

    Attributes:
        ok: there is a program.
        result: of the compiler's run; None when the program was in the store already, or nothing was run.
        reason: one sentence on why there is none.
    """

    ok: bool
    stdout: bytes = b""
    stderr: bytes = b""
    result: RunResult | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of an Ask.

    Attributes:
        language: id; "" for a command.
        version: of its compiler or interpreter.
        compile: None where nothing is compiled.
        run: None when it was not compiled.
    """

    language: str = ""
    version: str = ""
    compile: Stage | None = None
    run: RunResult | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens: a stage begins, writes, ends ("exit": then with its result, where there is one)."""

    kind: Literal["stage", "stdout", "stderr", "exit"]
    stage: Literal["compile", "run"]
    data: bytes = b""
    result: RunResult | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageInfo:
    """A language that this host has. `version` always has three numbers, `banner` is what the tool says of itself."""

    id: str
    name: str
    version: str
    aliases: tuple[str, ...]
    extensions: tuple[str, ...]
    banner: str = ""
