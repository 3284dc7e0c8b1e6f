"""Piston's requests as what the core is asked for, and the core's answers as Piston's. Pure.

Source: engineer-man/piston, `api/src/api/v2.js` and `api/src/job.js`; messages are worded as there. What is an internal error
there (a file name that leads out, an argument that is no word) is a 400 here.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sandbox.model.errors import RequestError
from sandbox.model.result import RunResult, Signaled
from sandbox.service.ask import Answer, Ask, LanguageInfo, Stage
from sandbox.service.dialects import piston_names, stages, text
from sandbox.service.dialects.piston_names import Runtime
from sandbox.service.dialects.stages import Ending, Recorder, Streams

RUN_TIMEOUT = 3000
COMPILE_TIMEOUT = 10000
OPEN_MEMORY = -1  # no limit of one's own: that of the server holds
_ENCODINGS = ("base64", "hex", "utf8")
_MOST_FILES = 256
_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Job:
    """A request that is in order."""

    runtime: Runtime
    ask: Ask


def to_job(
    body: Any,
    *,
    limits: Mapping[str, int],
    compile_limits: Mapping[str, int],
    infos: Sequence[LanguageInfo],
    label: str = "",
    peer: str = "",
) -> Job:
    """What `POST /execute` and `init` ask for. Raises RequestError with Piston's message.

    Args:
        body: parsed JSON.
        limits: the most that a run may have, by fields of `Limits`.
        compile_limits: likewise, of a compiler.
        infos: the languages that there are.
        label: of the request, for figures and the audit.
        peer: address of the client, likewise.
    """
    given: Mapping[str, Any] = body if isinstance(body, dict) else {}
    runtime, files = _checked(given, infos)
    own = _limits(given, limits, compile_limits)
    sources, others = _files(files)
    if not stages.is_compiled(runtime.info.id):  # its sources lie beside it anyway
        own_names = {name for name, _ in sources}
        others = {name: data for name, data in others.items() if name not in own_names}
    ask = Ask(
        label=label,
        peer=peer,
        language=runtime.info.id,
        sources=sources,
        files=others,
        argv=_arguments(given.get("args")),
        stdin=_stdin(given.get("stdin")),
        limits={
            "wall_ns": _ns(own.get("run_timeout"), RUN_TIMEOUT, limits.get("wall_ns")),
            "cpu_ns": _ns(own.get("run_cpu_time"), RUN_TIMEOUT, limits.get("cpu_ns")),
            **_memory(own.get("run_memory_limit")),
        },
        compile_limits={
            "cpu_ns": min(
                _ns(own.get(name), COMPILE_TIMEOUT, compile_limits.get("cpu_ns"))
                for name in ("compile_timeout", "compile_cpu_time")
            ),
            **_memory(own.get("compile_memory_limit")),
        },
    )
    return Job(runtime, ask)


def streamed(ask: Ask, stdin: AsyncIterable[bytes]) -> Ask:
    """The same run with its standard input as it comes; no newline is added then."""
    return replace(ask, stdin=stdin)


def ceilings(limits: Mapping[str, int], compile_limits: Mapping[str, int]) -> dict[str, int]:
    """The most that each of Piston's limits may be, in its units; nothing for what has no limit here."""
    found = {
        "compile_memory_limit": compile_limits.get("memory_bytes"),
        "run_memory_limit": limits.get("memory_bytes"),
        "compile_timeout": _ms(compile_limits.get("cpu_ns")),
        "run_timeout": _ms(limits.get("wall_ns")),
        "compile_cpu_time": _ms(compile_limits.get("cpu_ns")),
        "run_cpu_time": _ms(limits.get("cpu_ns")),
    }
    return {name: value for name, value in found.items() if value}


def from_answer(answer: Answer, runtime: Runtime, record: Recorder) -> dict[str, Any]:
    """The answer of `POST /execute`. What could not be compiled has the compiler's stage as that of the run, too."""
    out: dict[str, Any] = {"language": runtime.name, "version": runtime.info.version}
    if answer.compile is not None:
        out["compile"] = compiler(answer.compile, record)
    if answer.run is not None:
        out["run"] = program(answer.run, record)
    elif answer.compile is not None:
        out["run"] = dict(out["compile"])
    return out


def program(run: RunResult, record: Recorder) -> dict[str, Any]:
    """The stage of a program that was run."""
    return _stage(stages.ending(run), record.of("run", run.stdout, run.stderr), stages.over_length(run), run)


def compiler(stage: Stage, record: Recorder) -> dict[str, Any]:
    """The stage of the compiler."""
    over = stages.over_length(stage.result) if stage.result is not None else ""
    return _stage(stages.ending_of_compiler(stage), record.of("compile", stage.stdout, stage.stderr), over, stage.result)


def _stage(end: Ending, wrote: Streams, over: str, run: RunResult | None) -> dict[str, Any]:
    status = {"stdout": "OL", "stderr": "EL"}.get(over, end.status)
    message = f"{over} length exceeded" if over else end.message
    signal = Signaled(end.signal).name if end.signal is not None else None
    if status == "XX" and run is not None and isinstance(run.exit, Signaled):
        signal = run.exit.name
    ended = status in ("TO", "OL", "EL")
    return {
        "signal": "SIGKILL" if ended else signal,
        "stdout": text.decode(wrote.stdout),
        "stderr": text.decode(wrote.stderr),
        "code": None if ended else end.code,
        "output": text.decode(wrote.merged),
        "memory": end.memory_bytes if run is not None else None,
        "message": message or None,
        "status": status or None,
        "cpu_time": _ms(end.cpu_ns),
        "wall_time": _ms(end.wall_ns),
    }


def _checked(given: Mapping[str, Any], infos: Sequence[LanguageInfo]) -> tuple[Runtime, list[dict[str, Any]]]:
    """The language and the files, checked in Piston's order. Raises RequestError."""
    language, version, files = given.get("language"), given.get("version"), given.get("files")
    if not language or not isinstance(language, str):
        raise RequestError("language is required as a string")
    if not version or not isinstance(version, str):
        raise RequestError("version is required as a string")
    if not isinstance(files, list):
        raise RequestError("files is required as an array")
    for index, file in enumerate(files):
        if not isinstance(file, dict) or not isinstance(file.get("content"), str):
            raise RequestError(f"files[{index}].content is required as a string")
    runtime = piston_names.find(language, version, infos)
    if runtime is None:
        raise RequestError(f"{text.decode(text.encode(f'{language[:100]}-{version[:100]}'))} runtime is unknown")
    if not any(not file.get("encoding") or file["encoding"] == "utf8" for file in files):
        raise RequestError("files must include at least one utf8 encoded file")
    return runtime, files


def _limits(given: Mapping[str, Any], limits: Mapping[str, int], compile_limits: Mapping[str, int]) -> dict[str, float]:
    """The limits that the request has, in Piston's order and units. Raises RequestError."""
    most = ceilings(limits, compile_limits)
    out: dict[str, float] = {}
    for constraint in ("memory_limit", "timeout", "cpu_time"):
        for kind in ("compile", "run"):
            name = f"{kind}_{constraint}"
            value = given.get(name)
            if not value and not isinstance(value, list | dict):
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise RequestError(f"If specified, {name} must be a number")
            if constraint == "memory_limit" and value == OPEN_MEMORY:
                continue
            if name in most and value > most[name]:
                raise RequestError(f"{name} cannot exceed the configured limit of {most[name]}")
            if value < 0 or not math.isfinite(value):
                raise RequestError(f"{name} must be non-negative")
            out[name] = value
    return out


def _files(files: Sequence[Mapping[str, Any]]) -> tuple[tuple[tuple[str, bytes], ...], dict[str, bytes]]:
    """(the sources, of which the first is run, everything that lies beside the program). Raises RequestError."""
    if len(files) > _MOST_FILES:
        raise RequestError(f"files has {len(files)} members, at most {_MOST_FILES} are taken")
    sources: dict[str, bytes] = {}
    others: dict[str, bytes] = {}
    for index, file in enumerate(files):
        encoding = next((known for known in _ENCODINGS if known == file.get("encoding")), "utf8")
        name = _name(index, file.get("name"))
        try:
            data = {"utf8": text.encode, "base64": text.from_base64, "hex": text.from_hex}[encoding](file["content"])
        except ValueError as error:
            raise RequestError(f"files[{index}].content {error}") from None
        is_main = encoding == "utf8" and not sources
        if is_main or (encoding == "utf8" and not name.rpartition("/")[2].startswith(("-", "@"))):
            sources[name] = data
        if not is_main:
            others[name] = data
    for name in others.keys() | sources.keys():
        if any(other.startswith(f"{name}/") for other in (*others, *sources)):
            raise RequestError(f'File path "{name}" is a file and a directory')
    return tuple(sources.items()), others


def _name(index: int, name: Any) -> str:
    if not name:
        return f"file{index}.code"
    if not isinstance(name, str):
        raise RequestError(f"files[{index}].name must be a string")
    try:
        return text.inner_name(name)
    except ValueError as error:
        raise RequestError(f'File path "{text.decode(text.encode(name[:200]))}" {error}') from None


def _arguments(args: Any) -> tuple[str, ...]:
    if not args:
        return ()
    if not isinstance(args, list) or any(isinstance(word, list | dict | None | bool) for word in args):
        raise RequestError("args must be an array of strings")
    words = tuple(text.decode(text.encode(str(word))) for word in args)
    if any("\0" in word for word in words):
        raise RequestError("args must be strings without NUL bytes")
    return words


def _stdin(stdin: Any) -> bytes:
    """With the newline at its end that Piston adds, also to nothing."""
    if stdin is None:
        return b"\n"
    if not isinstance(stdin, str):
        raise RequestError("stdin must be a string")
    return text.encode(stdin if stdin.endswith("\n") else f"{stdin}\n")


def _memory(value: float | None) -> dict[str, int]:
    return {} if value is None else {"memory_bytes": max(1, int(value))}


def _ns(value: float | None, default: int, most: int | None) -> int:
    """Milliseconds as nanoseconds: at least one, and for the default at most what the server allows."""
    if value is not None:
        return max(_MS, int(value * _MS))
    return min(default * _MS, most) if most else default * _MS


def _ms(nanoseconds: int | None) -> int | None:
    return None if nanoseconds is None else round(nanoseconds / _MS)
