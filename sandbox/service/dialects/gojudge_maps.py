"""Requests of go-judge as what the core is asked for, and its answers as results of go-judge. Pure.

Source: criyle/go-judge, `cmd/go-judge/model/model.go`, `worker/worker.go`, `envexec/*.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sandbox.grader import exports
from sandbox.model.errors import RequestError
from sandbox.model.result import Outcome, RunResult
from sandbox.service.ask import Ask
from sandbox.service.dialects import text
from sandbox.service.dialects.stages import Streams

ACCEPTED, FILE_ERROR, OUTPUT_LIMIT, INTERNAL = "Accepted", "File Error", "Output Limit Exceeded", "Internal Error"
MOST_COMMANDS = 16
_MOST_FILES = 256
_INVALID = "file is not valid for cmd"
# A program that was copied in has no mode of its own here: it is made executable, and then it is what runs.
_EXECUTE = 'chmod 755 -- "$0" && exec "$0" "$@"'
_LIMITS = {"cpuLimit": "cpu_ns", "clockLimit": "wall_ns", "memoryLimit": "memory_bytes", "stackLimit": "stack_bytes"}
_COUNTS = {"procLimit": "pids", "cpuRateLimit": "cpu_quota_millicpus"}
Cached = Callable[[str], bytes | None]


@dataclass(frozen=True, slots=True)
class Collector:
    """An output of a program that is an entry of `files`: its name there, and how much of it is taken."""

    name: str
    most: int


@dataclass(frozen=True, slots=True)
class Command:
    """One member of `cmd`, checked.

    Attributes:
        ask: the run.
        outputs: descriptor → what becomes of it; 1 and 2 at most.
        copied: names of files to take out.
        cached: those of them that are kept by the server.
        optional: those that may be missing.
        most: the largest file that is taken out; 0: any.
        truncates: a larger file is cut off.
        piped: descriptors that a pipe to or from another command stands for.
    """

    ask: Ask
    outputs: Mapping[int, Collector]
    copied: tuple[str, ...]
    cached: frozenset[str]
    optional: frozenset[str]
    most: int
    truncates: bool
    piped: frozenset[int]


@dataclass(frozen=True, slots=True)
class Pipe:
    """From the output of one command to the standard input of another; what passes is an entry of `files` under a name."""

    source: int
    descriptor: int
    target: int
    copy: Collector | None


def commands(body: Any, cached: Cached, limits: Mapping[str, int], *, peer: str = "") -> tuple[list[Command], list[Pipe]]:
    """What `POST /run` asks for. Raises RequestError.

    Args:
        body: parsed JSON.
        cached: gives the content of a file of the server by its id.
        limits: the most that a run may have; what asks for more gets that.
        peer: address of the client.
    """
    given: Mapping[str, Any] = body if isinstance(body, dict) else {}
    raw = given.get("cmd")
    if not raw:
        raise RequestError("no cmd provided")
    if not isinstance(raw, list) or not all(isinstance(item, dict) for item in raw):
        raise RequestError("cmd must be an array of objects")
    if len(raw) > MOST_COMMANDS:
        raise RequestError(f"cmd has {len(raw)} members, at most {MOST_COMMANDS} are taken")
    found = [_command(item, cached, limits, peer) for item in raw]
    return found, _pipes(given.get("pipeMapping") or [], found)


def result(command: Command, run: RunResult, wrote: Streams) -> tuple[dict[str, Any], dict[str, bytes], dict[str, bytes]]:
    """(the members of the result without files, contents of `files`, contents to be kept by the server)."""
    out = exports.go_judge(run)
    del out["files"]
    errors = [
        item for item in out.pop("fileError", []) if not (item["name"] in command.optional and item["type"] == "CopyOutOpen")
    ]
    if out["status"] == FILE_ERROR and not errors:
        out["status"] = ACCEPTED
    files: dict[str, bytes] = {}
    streams = {1: wrote.stdout, 2: wrote.stderr}
    for descriptor, collector in command.outputs.items():
        data = streams[descriptor]
        files[collector.name] = data[: collector.most]
        if len(data) > collector.most and out["status"] in (ACCEPTED, "Nonzero Exit Status"):
            out["status"] = OUTPUT_LIMIT
    for name in command.copied:
        item = run.files.get(name)
        if item is None:
            continue
        if command.most and len(item.data) > command.most and not command.truncates:
            said = f"the file has {len(item.data)} bytes, {command.most} are allowed"
            errors.append({"name": name, "type": "CopyOutSizeExceeded", "message": said})
            continue
        files[name] = item.data[: command.most or None]
    if errors:
        out["fileError"] = errors
        if out["status"] == ACCEPTED:
            out["status"], out["error"] = FILE_ERROR, errors[0]["message"]
    if run.outcome is Outcome.CANCELED:
        out["error"] = "canceled"
    kept = {name: data for name, data in files.items() if name in command.cached}
    return out, {name: data for name, data in files.items() if name not in kept}, kept


def too_large(out: Mapping[str, Any], files: Mapping[str, bytes]) -> dict[str, Any]:
    """The result of a command whose files do not fit into the answer any more."""
    said = "the files of all commands together are more than one answer holds"
    errors = [{"name": name, "type": "CollectSizeExceeded", "message": said} for name in files]
    return {**out, "status": FILE_ERROR, "error": said, "files": {}, "fileError": [*out.get("fileError", []), *errors]}


def failure(message: str) -> dict[str, Any]:
    """The result of a command that could not be started."""
    return {"status": INTERNAL, "exitStatus": 0, "error": message, "time": 0, "memory": 0, "runTime": 0}


def _command(given: Mapping[str, Any], cached: Cached, limits: Mapping[str, int], peer: str) -> Command:
    argv = _strings(given, "args")
    if not argv:
        raise RequestError("args must name a program")
    for name in ("cpuSetLimit", "copyOutDir"):
        if given.get(name):
            raise RequestError(f"{name} is not supported here")
    files = given.get("files") or []
    if not isinstance(files, list):
        raise RequestError("files must be an array")
    if len(files) > 3:
        raise RequestError("files has more than 3 members: only descriptors 0, 1 and 2 are supported here")
    stdin, outputs, piped = _descriptors(files, cached)
    inside = _copied_in(given.get("copyIn") or {}, cached)
    out, kept = _strings(given, "copyOut"), _strings(given, "copyOutCached")
    plain = [name.removesuffix("?") for name in (*out, *kept)]
    collected = {collector.name for collector in outputs.values()}
    most = _whole(given, "copyOutMax")
    named = f"./{argv[0]}" if "/" not in argv[0] and argv[0] in inside else argv[0]
    own = named.removeprefix("./") in inside
    ask = Ask(
        argv=("/bin/sh", "-c", _EXECUTE, named, *argv[1:]) if own else argv,
        stdin=stdin,
        files=inside,
        collect=tuple(dict.fromkeys(name for name in plain if name not in collected)),
        env=_environment(_strings(given, "env")),
        limits=_limits(given, outputs, piped, limits),
        tty=(24, 80) if given.get("tty") else None,
        label="gojudge/run",
        peer=peer,
    )
    return Command(
        ask=ask,
        outputs=outputs,
        copied=ask.collect,
        cached=frozenset(name.removesuffix("?") for name in kept),
        optional=frozenset(name.removesuffix("?") for name in (*out, *kept) if name.endswith("?")),
        most=most,
        truncates=bool(given.get("copyOutTruncate")),
        piped=piped,
    )


def _descriptors(files: Sequence[Any], cached: Cached) -> tuple[bytes, dict[int, Collector], frozenset[int]]:
    """(standard input, what becomes of the outputs, descriptors that are left to pipes)."""
    stdin, outputs, piped = b"", {}, set()
    for number, file in enumerate(files):
        if file is None:
            piped.add(number)
            continue
        if isinstance(file, dict) and isinstance(file.get("name"), str) and file.get("max") is not None and number:
            outputs[number] = Collector(file["name"], _whole(file, "max"))
        elif number == 0:
            stdin = _content(file, cached)
        else:
            raise RequestError(_INVALID)
    return stdin, outputs, frozenset(piped)


def _copied_in(given: Any, cached: Cached) -> dict[str, bytes]:
    if not isinstance(given, dict) or len(given) > _MOST_FILES:
        raise RequestError(f"copyIn must be an object of at most {_MOST_FILES} files")
    out = {}
    for name, file in given.items():
        try:
            out[text.inner_name(name)] = _content(file, cached)
        except ValueError as error:
            raise RequestError(f"copyIn: {name[:100]!r} {error}") from None
    return out


def _content(file: Any, cached: Cached) -> bytes:
    """What is in an input file. Files of this host and links are never read."""
    if not isinstance(file, dict):
        raise RequestError(_INVALID)
    if isinstance(file.get("src"), str):
        raise RequestError(f"file ({file['src'][:100]}) does not under ([])")
    if file.get("symlink") is not None:
        raise RequestError("symlink is not supported here")
    if isinstance(file.get("content"), str):
        return text.encode(file["content"])
    if isinstance(file.get("fileId"), str):
        data = cached(file["fileId"])
        if data is None:
            raise RequestError(f"file not exists with id {file['fileId'][:100]}")
        return data
    raise RequestError(_INVALID)


def _limits(
    given: Mapping[str, Any], outputs: Mapping[int, Collector], piped: frozenset[int], most: Mapping[str, int]
) -> dict[str, int]:
    """What is asked for, below what the server has. Nothing, or 0, is what the server has."""
    wanted = {field: _whole(given, name) for name, field in {**_LIMITS, **_COUNTS}.items()}
    wanted["wall_ns"] = _whole(given, "realCpuLimit") or wanted["wall_ns"]
    if wanted["cpu_ns"] and not wanted["wall_ns"]:
        wanted["wall_ns"] = 2 * wanted["cpu_ns"]
    if outputs and not piped & {1, 2}:  # one limit for both outputs: what goes through a pipe is not cut off by it
        wanted["output_bytes"] = max(collector.most for collector in outputs.values()) + 1
    return {field: min(number, most.get(field, number)) for field, number in wanted.items() if number}


def _pipes(given: Any, found: Sequence[Command]) -> list[Pipe]:
    if not isinstance(given, list) or not all(isinstance(item, dict) for item in given):
        raise RequestError("pipeMapping must be an array of objects")
    out = []
    for item in given:
        ends = [item.get(name) for name in ("in", "out")]
        numbers = [(_whole(end, "index"), _whole(end, "fd")) if isinstance(end, dict) else (-1, -1) for end in ends]
        (source, descriptor), (target, its) = numbers  # data goes in at "in" and comes out at "out"
        if not (0 <= source < len(found) and 0 <= target < len(found)) or source == target:
            raise RequestError("pipeMapping: an index is not that of another cmd")
        if descriptor not in (1, 2) or its != 0:
            raise RequestError("pipeMapping: only pipes from descriptor 1 or 2 to descriptor 0 are supported here")
        if descriptor not in found[source].piped or 0 not in found[target].piped:
            raise RequestError("pipeMapping: the files of its ends must be null")
        name = item.get("name")
        copy = Collector(name, _whole(item, "max")) if item.get("proxy") and isinstance(name, str) and name else None
        out.append(Pipe(source, descriptor, target, copy))
    if len({(pipe.source, pipe.descriptor) for pipe in out}) < len(out) or len({pipe.target for pipe in out}) < len(out):
        raise RequestError("pipeMapping: a descriptor is in it twice")
    return out


def _environment(words: Sequence[str]) -> dict[str, str]:
    out = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name:
            raise RequestError("env must be an array of NAME=value")
        out[name] = value
    return out


def _strings(given: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = given.get(name) or []
    if not isinstance(value, list) or not all(isinstance(word, str) and "\0" not in word for word in value):
        raise RequestError(f"{name} must be an array of strings")
    return tuple(text.decode(text.encode(word)) for word in value)


def _whole(given: Mapping[str, Any], name: str) -> int:
    value = given.get(name) or 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 63:
        raise RequestError(f"{name} must be a number that is whole and not negative")
    return value
