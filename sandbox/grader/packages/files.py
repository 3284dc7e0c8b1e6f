"""The files of a package: read from one folder, never from outside it, only plain files, and never more than a bound.

Links inside the package are allowed by the format; where they lead is resolved first and has to be inside as well.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from sandbox.grader.model import Source
from sandbox.model.errors import ProblemError

MAX_PROGRAM_BYTES = 32 << 20
MAX_PROGRAM_FILES = 1_000
MAX_READ_BYTES = 256 << 20  # of everything that is kept in memory: programs and settings, not test data
MAX_NAMES = 100_000
MAX_DEPTH = 16
_HIDDEN = (".", "__pycache__")
_CONSTANT = re.compile(rb"\{\{([a-zA-Z_][a-zA-Z0-9_]*(?:\.[a-zA-Z_][a-zA-Z0-9_]*)?)\}\}")


class Folder:
    """The folder of a package. Names are relative to it, with "/"."""

    def __init__(self, root: Path) -> None:
        try:
            self.root = Path(os.path.realpath(root, strict=True))
        except OSError as error:
            raise ProblemError(f"cannot be read: {error.strerror}", file=str(root)) from error
        self._place = str(self.root).rstrip("/") + "/"
        self._left = MAX_READ_BYTES
        self._names = MAX_NAMES
        self._listed: dict[str, frozenset[str]] = {}

    def find(self, name: str) -> Path | None:
        """The file or folder itself, behind all links; None when there is none.

        Raises:
            ProblemError: it leads outside or to nothing, or is neither a plain file nor a folder.
        """
        folder, _, base = name.rpartition("/")
        listed = self._listed.get(folder)
        if listed is not None and base not in listed and not base.startswith(_HIDDEN):
            return None  # most of what may be beside a test case is not there: no need to ask the system each time
        path = os.path.join(self._place, name)
        try:
            found = os.path.realpath(path, strict=True)
            mode = os.stat(found).st_mode
        except (FileNotFoundError, NotADirectoryError):
            if os.path.islink(path):
                said = f"is a link to {os.readlink(path)!r}, where there is nothing"
                raise ProblemError(said, file=name, hint="put the file itself there, or remove the link") from None
            return None
        except (OSError, ValueError) as error:
            raise ProblemError(f"cannot be read: {getattr(error, 'strerror', None) or error}", file=name) from error
        if f"{found}/" != self._place and not found.startswith(self._place):
            raise ProblemError("leads out of the package", file=name)
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise ProblemError("is neither a plain file nor a folder", file=name)
        return Path(found)

    def is_file(self, name: str) -> bool:
        """Whether there is such a plain file."""
        found = self.find(name)
        return found is not None and found.is_file()

    def is_folder(self, name: str) -> bool:
        """Whether there is such a folder."""
        found = self.find(name)
        return found is not None and found.is_dir()

    def file(self, name: str) -> Path:
        """The plain file, behind all links."""
        found = self.find(name)
        if found is None or not found.is_file():
            raise ProblemError("is missing" if found is None else "has to be a file", file=name)
        return found

    def names(self, name: str) -> list[str]:
        """Names in a folder, in order; hidden ones are left out; none when there is no such folder."""
        found = self.find(name)
        if found is None or not found.is_dir():
            return []
        try:
            with os.scandir(found) as entries:
                listed = []
                for entry in entries:
                    self._names -= 1
                    if self._names < 0:
                        raise ProblemError(f"the package holds more than {MAX_NAMES} files", file=name)
                    if not entry.name.startswith(_HIDDEN):
                        listed.append(entry.name)
        except OSError as error:
            raise ProblemError(f"cannot be read: {error.strerror}", file=name) from error
        self._listed[name] = frozenset(listed)
        return sorted(listed)

    def read(self, name: str, limit: int = MAX_PROGRAM_BYTES) -> bytes:
        """The bytes of a file."""
        path = self.file(name)
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(handle, "rb") as file:
                data = file.read(min(limit, self._left) + 1)
        except OSError as error:
            raise ProblemError(f"cannot be read: {error.strerror}", file=name) from error
        if len(data) > limit:
            raise ProblemError(f"is larger than {limit >> 10} KiB", file=name)
        self._left -= len(data)
        if self._left < 0:
            raise ProblemError(f"with it the programs of the package exceed {MAX_READ_BYTES >> 20} MiB", file=name)
        return data

    def text(self, name: str, limit: int = 1 << 20) -> str:
        """The text of a file."""
        try:
            return self.read(name, limit).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ProblemError(f"is not UTF-8 (byte {error.start})", file=name) from None

    def walk(self, name: str, depth: int = MAX_DEPTH) -> Iterator[str]:
        """Names of all plain files below a folder, relative to it, in order."""
        if depth == 0:
            raise ProblemError(f"is deeper than {MAX_DEPTH} folders", file=name)
        for entry in self.names(name):
            inner = f"{name}/{entry}" if name else entry
            if self.is_folder(inner):
                for below in self.walk(inner, depth - 1):
                    yield f"{entry}/{below}"
            elif self.find(inner) is not None:
                yield entry

    def program(self, name: str, constants: Mapping[str, str] | None = None) -> Source:
        """A program: one file, or all files of a folder, with the constants of the package put in."""
        found = self.find(name)
        if found is None:
            raise ProblemError("is missing", file=name)
        files: dict[str, bytes] = {}
        total = 0
        for inner in self.walk(name) if found.is_dir() else [""]:
            path = f"{name}/{inner}" if inner else name
            data = with_constants(self.read(path, MAX_PROGRAM_BYTES), constants or {}, MAX_PROGRAM_BYTES, path)
            total += len(data)
            if total > MAX_PROGRAM_BYTES or len(files) >= MAX_PROGRAM_FILES:
                allowed = f"{MAX_PROGRAM_FILES} files and {MAX_PROGRAM_BYTES >> 20} MiB are allowed"
                raise ProblemError("is too large for a program", file=name, hint=allowed)
            files[inner or name.rpartition("/")[2]] = data
        if not files:
            raise ProblemError("is a folder without files; a program was expected", file=name)
        return Source(files, origin=name)


def with_constants(data: bytes, constants: Mapping[str, str], room: int, file: str) -> bytes:
    """The text with its constants, once: what a constant itself holds stays as it is.

    Source: 2025-09, "Constants": {{name}} or {{name.variant}} becomes the value; names that are not defined stay.
    Raises ProblemError when there would be more than `room` bytes.
    """
    out, end = bytearray(), 0
    for found in _CONSTANT.finditer(data) if constants else ():
        out += data[end : found.start()] + constants.get(found[1].decode(), found[0].decode()).encode()
        end = found.end()
        if len(out) > room:
            raise ProblemError(f"becomes larger than {room >> 10} KiB by its constants", file=file)
    return bytes(out) + data[end:] if end else data
