"""What is asked for, as the JSON of `/v1/run`. Pure, but for files of this machine that are read."""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from sandbox.model.errors import RequestError
from sandbox.model.limits import Limits

__all__ = ["MAX_FILES_BYTES", "FileContent", "Sources", "Word", "content", "is_live", "is_stream", "program", "run", "submission"]

Word: TypeAlias = str | bytes | os.PathLike[str]
FileContent: TypeAlias = bytes | tuple[bytes, int] | os.PathLike[str]
Sources: TypeAlias = str | bytes | Mapping[str, str | bytes]
MAX_FILES_BYTES = 64 << 20
_MODE = 0o644
_OPTIONS = ("stdin", "files", "collect", "env", "cwd", "limits", "tty", "profile")


def run(argv: Sequence[Word], options: Mapping[str, Any], limits: Mapping[str, str | int] | Limits | None) -> dict[str, Any]:
    """The body for a command.

    Args:
        argv: program and arguments.
        options: those of the local API that travel, and `profile`.
        limits: those of the client; a run's own take their places.

    Raises RequestError for what cannot be sent.
    """
    return {"argv": _words(argv), **_options(options, limits)}


def program(
    language: str,
    sources: Sources,
    args: Sequence[Word],
    version: str,
    options: Mapping[str, Any],
    limits: Mapping[str, str | int] | Limits | None,
) -> dict[str, Any]:
    """The body for sources in some language. Raises RequestError for what cannot be sent."""
    body: dict[str, Any] = {"language": language, **_options(options, limits)}
    if version:
        body["version"] = version
    if args:
        body["args"] = _words(args)
    return {**body, **_sources(sources)}


def submission(language: str, sources: Sources, terms: Mapping[str, Any]) -> dict[str, Any]:
    """The body for a submission that is judged. Raises RequestError for what cannot be sent."""
    body = {"language": language, **_sources(sources), **terms}
    package = body.get("package")
    if isinstance(package, bytes | bytearray | memoryview):
        body["package"] = {"content": base64.b64encode(package).decode("ascii"), "encoding": "base64"}
    return body


def _sources(sources: Sources) -> dict[str, Any]:
    if isinstance(sources, str):
        return {"code": sources}
    named = {"": sources} if isinstance(sources, bytes) else sources
    if not isinstance(named, Mapping) or not all(isinstance(item, str | bytes) for item in named.values()):
        raise RequestError("sources must be text, bytes, or name → text or bytes", hint='write {"main.cpp": "…"}')
    raw = {name: item.encode() if isinstance(item, str) else item for name, item in named.items()}
    return {"sources": [{"name": name, **content(item)} for name, item in raw.items()]}


def content(data: bytes) -> dict[str, str]:
    """Bytes as JSON: text where they are text."""
    try:
        return {"content": data.decode("utf-8"), "encoding": "utf8"}
    except UnicodeDecodeError:
        return {"content": base64.b64encode(data).decode("ascii"), "encoding": "base64"}


def is_stream(stdin: object) -> bool:
    """Whether this standard input comes piece by piece: a file, a descriptor, an iterable."""
    return stdin is not None and not isinstance(stdin, bytes | bytearray | memoryview)


def is_live(options: Mapping[str, Any], callbacks: Mapping[str, Any]) -> bool:
    """Whether something has to be told, or to be had, while the run goes on."""
    return bool(callbacks) or options.get("tty") is not None or is_stream(options.get("stdin"))


def _options(options: Mapping[str, Any], limits: Mapping[str, str | int] | Limits | None) -> dict[str, Any]:
    for name in options:
        if name not in _OPTIONS:
            raise TypeError(f"a run has no option {name!r}; there are {', '.join(_OPTIONS)}")
    body: dict[str, Any] = {}
    stdin = options.get("stdin")
    if stdin is not None and not is_stream(stdin):
        said = content(bytes(stdin))
        body["stdin"] = said["content"] if said["encoding"] == "utf8" else said
    files = _files(options.get("files") or {})
    if files:
        body["files"] = files
    merged = {**_limits(limits), **_limits(options.get("limits"))}
    if merged:
        body["limits"] = merged
    if options.get("collect"):
        body["collect"] = list(options["collect"])
    if options.get("tty") is not None:
        body["tty"] = _tty(options["tty"])
    for name in ("env", "cwd", "profile"):
        if options.get(name):
            body[name] = dict(options[name]) if name == "env" else options[name]
    return body


def _tty(tty: Any) -> dict[str, int]:
    try:
        rows, columns = map(int, tty)
    except (TypeError, ValueError):
        raise RequestError(f"tty must be (rows, columns), not {tty!r}") from None
    return {"rows": rows, "columns": columns}


def _words(argv: Iterable[Word]) -> list[str]:
    if isinstance(argv, str | bytes) or not isinstance(argv, Sequence):
        raise RequestError(f"argv must be a list of words, not {type(argv).__name__}", hint='write ["python3", "script.py"]')
    if not argv:
        raise RequestError("argv is empty", hint="name the program to run")
    words = []
    for number, word in enumerate(argv):
        try:
            words.append(os.fsencode(word).decode("utf-8"))
        except TypeError:
            raise RequestError(f"argv[{number}] is no str, bytes or path: {type(word).__name__}") from None
        except UnicodeError:
            hint = "pass it as stdin or with files="
            raise RequestError(f"argv[{number}] is not UTF-8, which JSON cannot carry", hint=hint) from None
    return words


def _limits(limits: Mapping[str, str | int] | Limits | None) -> dict[str, str | int]:
    if limits is None:
        return {}
    if isinstance(limits, Limits):
        return {name: getattr(limits, name) for name in Limits.__slots__}
    return dict(limits)


def _files(files: Mapping[str, FileContent]) -> dict[str, dict[str, str | int]]:
    out: dict[str, dict[str, str | int]] = {}
    room = MAX_FILES_BYTES
    for name, item in files.items():
        data, mode = _file(name, item, room)
        room -= len(data)
        if room < 0:
            raise RequestError(
                f"files: they have more than {MAX_FILES_BYTES} bytes together", hint="mount them on the service's host"
            )
        out[name] = {**content(data), **({"mode": mode} if mode != _MODE else {})}
    return out


def _file(name: str, item: FileContent, room: int) -> tuple[bytes, int]:
    """Content and mode; of a path here it is read, if it is a regular file that fits."""
    data, mode = item if isinstance(item, tuple) else (item, _MODE)
    if isinstance(data, bytes | bytearray | memoryview) and isinstance(mode, int):
        return bytes(data), mode & 0o777
    if not isinstance(data, os.PathLike):
        hint = "encode text with .encode(), paths are pathlib.Path"
        raise RequestError(f"files: {name!r} must be bytes, (bytes, mode) or a path", hint=hint)
    try:
        fd = os.open(data, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        with open(fd, "rb") as file:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise RequestError(f"files: {os.fspath(data)!r} is not a regular file")
            return file.read(room + 1), 0o755 if found.st_mode & 0o111 else _MODE
    except (OSError, ValueError) as error:
        raise RequestError(f"files: {name!r} cannot be read from {os.fspath(data)!r}: {error}") from None
