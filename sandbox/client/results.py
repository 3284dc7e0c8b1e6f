"""The types of the local API, rebuilt exactly from the JSON of the service. Pure functions."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.client.errors import BadAnswer
from sandbox.model.result import (
    CollectedFile,
    Degraded,
    Evidence,
    Exited,
    ExitStatus,
    Outcome,
    RunResult,
    Signaled,
    Timings,
    Usage,
)

__all__ = ["Answer", "Language", "Stage", "answer_from", "language_from", "result_from", "rows_of", "run_of", "text_bytes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What became of the compiler.

    Attributes:
        ok: there is a program.
        stdout, stderr: what it said.
        result: of its run; None where the program was kept from before, or the compiler was not run.
        reason: one sentence on why there is none.
    """

    ok: bool
    stdout: bytes
    stderr: bytes
    result: RunResult | None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of sources in some language.

    Attributes:
        id: of the run, as the service's logs and audit file have it.
        language, version: what they were taken for.
        compile: None where nothing had to be compiled.
        run: None where they could not be compiled.
    """

    id: str
    language: str
    version: str
    compile: Stage | None
    run: RunResult | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """A language of the service."""

    id: str
    name: str
    version: str
    aliases: tuple[str, ...]
    extensions: tuple[str, ...]


def result_from(said: Mapping[str, Any]) -> RunResult:
    """The inverse of `RunResult.to_dict`. Raises KeyError, TypeError or ValueError for what is none."""
    modes, exact = said.get("file_modes", {}), said.get("file_names_base64", {})
    return RunResult(
        outcome=Outcome(said["outcome"]),
        exit=_exit(said["exit"]),
        usage=Usage(**said["usage"]),
        timings=Timings(**said["timings"]),
        stdout=text_bytes(said, "stdout"),
        stderr=text_bytes(said, "stderr"),
        truncated=tuple(said["truncated"]),
        files={
            _name(key, exact.get(key)): CollectedFile(base64.b64decode(content, validate=True), modes[key])
            for key, content in said["files"].items()
        },
        evidence=tuple(Evidence(**item) for item in said["evidence"]),
        enforced=said["enforced"],
        degraded=tuple(Degraded(**item) for item in said["degraded"]),
        plan_digest=said["plan_digest"],
        refused_files=tuple((_name(item["name"], item.get("name_base64")), item["reason"]) for item in said["refused_files"]),
    )


def answer_from(said: Mapping[str, Any]) -> Answer:
    """The answer of `/v1/run`. Raises KeyError, TypeError or ValueError for what is none."""
    return Answer(
        id=said["id"],
        language=said["language"],
        version=said["version"],
        compile=None if said["compile"] is None else _stage(said["compile"]),
        run=None if said["run"] is None else result_from(said["run"]),
    )


def language_from(said: Mapping[str, Any]) -> Language:
    """A row of `/v1/languages`. Raises KeyError, TypeError or ValueError for what is none."""
    return Language(
        id=said["id"],
        name=said["name"],
        version=said["version"],
        aliases=tuple(said["aliases"]),
        extensions=tuple(said["extensions"]),
    )


def run_of(answer: Answer) -> RunResult:
    """The result of a command, which always has one. Raises BadAnswer."""
    if answer.run is None:
        raise BadAnswer("the service has not run the command")
    return answer.run


def rows_of(said: Any, name: str) -> list[Any]:
    """A list, or the member of an object that has it. Raises KeyError or TypeError where there is none."""
    rows = said[name] if isinstance(said, dict) else said
    if not isinstance(rows, list):
        raise TypeError(f"expected a list of {name}")
    return rows


def text_bytes(said: Mapping[str, Any], name: str) -> bytes:
    """The exact bytes of a text: those beside it where it is not UTF-8."""
    exact = said.get(f"{name}_base64")
    if exact is not None:
        return base64.b64decode(exact, validate=True)
    text: str = said[name]
    return text.encode("utf-8")


def _name(shown: str, exact: str | None) -> str:
    return shown if exact is None else base64.b64decode(exact, validate=True).decode("utf-8", "surrogateescape")


def _exit(said: Mapping[str, Any]) -> ExitStatus:
    return Exited(said["code"]) if "code" in said else Signaled(said["signal"])


def _stage(said: Mapping[str, Any]) -> Stage:
    result = None if said["result"] is None else result_from(said["result"])
    return Stage(
        ok=said["ok"],
        stdout=text_bytes(said, "stdout") if result is None else result.stdout,
        stderr=text_bytes(said, "stderr") if result is None else result.stderr,
        result=result,
        reason=said["reason"],
    )
