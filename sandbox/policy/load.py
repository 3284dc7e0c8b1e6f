"""Finding and reading profile files. Every mistake is reported with file, line, path and the nearest known word."""

from __future__ import annotations

import errno
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from sandbox.model.errors import ProfileError, ResourceError
from sandbox.policy import schema
from sandbox.policy.locate import profiles_dir
from sandbox.policy.schema import ProfileFile
from sandbox.policy.seccomp.tables import nearest

MAX_FILE_BYTES = 1 << 20
MAX_DEPTH = 8
ROOT = "base"
_HEADER = re.compile(r"\s*\[\[?\s*([^\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([A-Za-z0-9_.-]+))\s*=""")


@dataclass(frozen=True, slots=True)
class Layer:
    """One file of a chain of `extends`.

    Attributes:
        name: name of the profile.
        file: its path, or "<text>" for one that was built in Python.
        content: what it says.
        lines: path of a key → 1-based line.
    """

    name: str
    file: str
    content: ProfileFile
    lines: Mapping[str, int]


def search_path() -> list[Path]:
    """Directories in which a profile name is looked up, first match wins."""
    configured = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return [Path(configured) / "sandbox" / "profiles", Path("/etc/sandbox/profiles"), profiles_dir()]


def available() -> dict[str, Path]:
    """Every profile that can be named: name → file."""
    found: dict[str, Path] = {}
    for directory in reversed(search_path()):
        try:
            found.update({file.stem: file for file in sorted(directory.glob("*.toml"))})
        except OSError:
            continue
    return dict(sorted(found.items()))


def load_chain(name: str) -> tuple[Layer, ...]:
    """The layers of a profile, the most basic first. `name` is a name, or a path (with a slash or ending in .toml)."""
    file = _locate(name, None)
    return _chain(_parse(_read(file), file.stem, str(file)), [str(file)])


def parse_chain(text: str, name: str = "text") -> tuple[Layer, ...]:
    """As `load_chain`, for a text."""
    return _chain(_parse(text, name, "<text>"), [])


def dict_chain(data: Mapping[str, Any], name: str = "dict") -> tuple[Layer, ...]:
    """As `load_chain`, for data in the form of the file."""
    return _chain(Layer(name, "<dict>", _validate(data, "<dict>", {}), {}), [])


def _chain(top: Layer, seen: list[str]) -> tuple[Layer, ...]:
    layers = [top]
    while True:
        current = layers[0]
        parent = current.content.extends
        if parent is None:
            if current.name == ROOT and Path(current.file).parent == profiles_dir():
                return tuple(layers)
            parent = ROOT
        file = _locate(parent, current)
        if str(file) in seen or len(layers) >= MAX_DEPTH:
            raise ProfileError(
                f"the chain of extends is a loop or longer than {MAX_DEPTH}: {' → '.join([*seen, str(file)])}",
                file=current.file,
                line=current.lines.get("extends", 0),
                path="extends",
            )
        seen.append(str(file))
        layers.insert(0, _parse(_read(file), file.stem, str(file)))


def _locate(name: str, asked_by: Layer | None) -> Path:
    where = {"file": asked_by.file, "line": asked_by.lines.get("extends", 0), "path": "extends"} if asked_by else {}
    if not isinstance(name, str) or "\0" in name or not name:
        raise ProfileError(f"{name!r} is no name of a profile", **where)  # type: ignore[arg-type]
    if "/" in name or name.endswith(".toml"):
        path = Path(name)
        if asked_by is not None and not path.is_absolute():
            path = Path(asked_by.file).parent / path
        return path.absolute()
    if re.fullmatch(schema.NAME, name):
        for directory in search_path():
            if os.path.isfile(directory / f"{name}.toml"):  # pathlib's raises for a home that is somebody else's
                return directory / f"{name}.toml"
    known = list(available())
    hint = nearest(name, known) or f"known profiles: {', '.join(known)}"
    raise ProfileError(f"there is no profile {name!r}", hint=hint, **where)  # type: ignore[arg-type]


def _read(path: Path) -> str:
    """The text of a regular file of bounded size; a fifo or a device must not hang or flood us."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            raise ResourceError(f"{path} cannot be read: {error.strerror}", hint="close files, or raise the limit") from error
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ProfileError(f"cannot be read: {reason}", file=str(path), hint="check the name and its permissions") from None
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        os.close(fd)
        raise ProfileError("is not a regular file", file=str(path))
    with os.fdopen(fd, "rb") as file:
        if found.st_size > MAX_FILE_BYTES:
            raise ProfileError(f"is larger than {MAX_FILE_BYTES} bytes", file=str(path))
        data = file.read(MAX_FILE_BYTES + 1)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ProfileError("is not UTF-8 text", file=str(path), line=line) from None


def _parse(text: str, name: str, file: str) -> Layer:
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        line = re.search(r"line (\d+)", str(error))
        raise ProfileError(f"is not valid TOML: {error}", file=file, line=int(line[1]) if line else 0) from None
    lines = key_lines(text)
    return Layer(name, file, _validate(data, file, lines), lines)


def _validate(data: Mapping[str, Any], file: str, lines: Mapping[str, int]) -> ProfileFile:
    try:
        return ProfileFile.model_validate(data)
    except ValidationError as error:
        problems = [_problem(item, file, lines) for item in error.errors(include_url=False)]
    first = problems[0]
    if len(problems) > 1:
        first.hint = "; ".join(filter(None, [first.hint, f"{len(problems) - 1} more: " + " | ".join(map(str, problems[1:6]))]))
    raise first


def _problem(item: Any, file: str, lines: Mapping[str, int]) -> ProfileError:
    steps = [step for step in item["loc"] if step != "[key]"]
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).lstrip(".")
    message, hint = item["msg"].removeprefix("Value error, "), ""
    if item["type"] == "extra_forbidden":
        known = _keys_at(steps[:-1])
        message = f"unknown key {steps[-1]!r}"
        hint = nearest(str(steps[-1]), known) or (f"known keys: {', '.join(sorted(known))}" if known else "")
    elif item["type"] == "literal_error":
        expected = item["ctx"]["expected"]
        words = re.findall(r"'([^']*)'", expected)
        message = f"expected {expected}, not {item['input']!r}"
        hint = nearest(str(item["input"]), words)
    elif item["type"] != "value_error":
        message = f"{message}, not {item['input']!r}"
    return ProfileError(message, file=file, line=line_of(path, lines), path=path, hint=hint)


def _keys_at(steps: list[Any]) -> set[str]:
    """The keys that the schema knows at a place."""
    model: type[BaseModel] = ProfileFile
    for step in steps:
        if isinstance(step, int):
            continue
        kind: Any = model.model_fields[step].annotation if step in model.model_fields else None
        for candidate in (kind, *getattr(kind, "__args__", ())):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                model = candidate
                break
        else:
            return set()
    return set(model.model_fields)


def key_lines(text: str) -> dict[str, int]:
    """Path of each key → line, by the headers and assignments of a TOML text (good enough to point at the place)."""
    lines: dict[str, int] = {}
    prefix = ""
    counts: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        header = _HEADER.match(line)
        if header and not _KEY.match(line):
            name = header[1].strip()
            if line.lstrip().startswith("[["):
                counts[name] = counts.get(name, -1) + 1
                name = f"{name}[{counts[name]}]"
            prefix = name + "."
            lines.setdefault(name, number)
        elif key := _KEY.match(line):
            lines.setdefault(prefix + next(group for group in key.groups() if group is not None), number)
    return lines


def line_of(path: str, lines: Mapping[str, int]) -> int:
    """The line of a path, or of the nearest thing above it; 0 when there is none."""
    while path:
        if path in lines:
            return lines[path]
        cut = max(path.rfind("."), path.rfind("["))
        path = path[:cut] if cut > 0 else ""
    return 0
