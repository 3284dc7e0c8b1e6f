"""Finding and reading profile files. Every mistake is reported with file, line, path and the nearest known word."""

from __future__ import annotations

import errno
import os
import re
import stat
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sandbox.model.errors import ProfileError, ResourceError
from sandbox.policy import mistakes, schema
from sandbox.policy.lines import key_lines
from sandbox.policy.locate import profiles_dir
from sandbox.policy.schema import ProfileFile
from sandbox.policy.seccomp.tables import nearest

MAX_FILE_BYTES = 1 << 20
MAX_DEPTH = 8
ROOT = "base"


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


def shadowed(name: str) -> bool:
    """Whether a file of the caller or of the machine takes the place of a shipped profile."""
    shipped = profiles_dir() / f"{name}.toml"
    return shipped.is_file() and available().get(name) != shipped


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


def sources(layers: Sequence[Layer]) -> tuple[str, ...]:
    """Every file that the layers were made of: their own, and the OCI files that they name."""
    named = [str(Path(layer.file).parent / layer.content.seccomp.oci) for layer in layers if layer.content.seccomp.oci]
    return (*(layer.file for layer in layers), *named)


def _chain(top: Layer, seen: list[str]) -> tuple[Layer, ...]:
    layers = [top]
    while True:
        current = layers[0]
        parent = current.content.extends
        root = profiles_dir() / f"{ROOT}.toml"  # never a file of that name elsewhere
        if parent is None and current.file == str(root):
            return tuple(layers)
        file = root if parent is None else _locate(parent, current)
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
        for directory in _searched_by(asked_by):
            file = directory / f"{name}.toml"
            own = asked_by is not None and _same(file, Path(asked_by.file))
            if not own and os.path.isfile(file):  # pathlib's raises for a home that is somebody else's
                return file
    known = list(available())
    hint = nearest(name, known) or f"known profiles: {', '.join(known)}"
    raise ProfileError(f"there is no profile {name!r}", hint=hint, **where)  # type: ignore[arg-type]


def _searched_by(asked_by: Layer | None) -> list[Path]:
    """Where a name in `extends` is looked up: in the asking file's own directory of the search path and in those after it.

    So a shipped profile means the same whatever files a user has, and a file may extend the one whose name it took.
    """
    directories = search_path()
    if asked_by is not None:
        for index, directory in enumerate(directories):
            if _same(Path(asked_by.file).parent, directory):
                return directories[index:]
    return directories


def _same(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


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
        raise mistakes.in_words(error.errors(include_url=False), file, lines) from None
