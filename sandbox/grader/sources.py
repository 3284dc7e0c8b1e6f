"""Reading what was handed in: a file, a folder or a zip, into a bounded `Source`. What is read is hostile.

Links, pipes and devices are refused, never followed; names are plain relative names; sizes and numbers are bounded before
anything is kept.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any, BinaryIO

from sandbox.grader.model import Source
from sandbox.grader.packages import archive
from sandbox.model.errors import ProblemError, RequestError

MAX_BYTES = 64 << 20  # far above any limit of a problem, which is a compile error and checked later
MAX_FILES = 1000
_MAX_DEPTH = 16
_MAX_NAME = 240
_IGNORED = {".git", ".hg", ".svn", "__pycache__", "__MACOSX", ".DS_Store", "Thumbs.db"}
_LINK = 0xA000  # S_IFLNK in the upper half of a zip entry's external attributes
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_FOLDER = _FILE | os.O_DIRECTORY


def read(
    path: str | os.PathLike[str],
    *,
    language: str = "",
    entry_point: str = "",
    max_bytes: int = MAX_BYTES,
    max_files: int = MAX_FILES,
) -> Source:
    """The source at `path`: one file, a folder with everything below it, or a zip.

    The path itself is the caller's and may be a link; nothing below it may.
    Raises RequestError, saying what is odd about which file.
    """
    origin = os.fspath(path)
    bag = _Bag(origin, max_bytes, max_files)
    try:
        fd = os.open(origin, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise RequestError(f"{origin}: the submission cannot be read: {getattr(error, 'strerror', None) or error}") from None
    with contextlib.ExitStack() as stack:
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode):
            stack.callback(os.close, fd)
            _read_folder(fd, "", bag, 0)
        else:
            file = stack.enter_context(open(fd, "rb"))
            if not stat.S_ISREG(mode):
                raise RequestError(f"{origin}: is neither a file nor a folder", hint="hand in a source file, a folder or a .zip")
            if origin.lower().endswith(".zip"):
                _read_zip(file, bag)
            else:
                bag.add(os.path.basename(origin), file.read(bag.room + 1))
    return _source(bag, language, entry_point)


def from_bytes(name: str, data: bytes, *, language: str = "", entry_point: str = "") -> Source:
    """One file that is in memory. Raises RequestError."""
    bag = _Bag(name, MAX_BYTES, 1)
    bag.add(name, data)
    return _source(bag, language, entry_point)


class _Bag:
    """Files as they come in, and how much room is left."""

    def __init__(self, origin: str, max_bytes: int, max_files: int) -> None:
        self.origin = origin
        self.files: dict[str, bytes] = {}
        self.room = max_bytes
        self._max_bytes = max_bytes
        self._max_files = max_files

    def add(self, name: str, data: bytes) -> None:
        """Keep one file. Raises RequestError."""
        self.check(name)
        self.room -= len(data)
        if self.room < 0:
            raise RequestError(f"{self.origin}: the source is larger than {self._max_bytes} bytes", hint="hand in sources only")
        self.files[name] = data

    def check(self, name: str) -> None:
        """Refuse what is no plain relative name, or too many of them."""
        parts = name.split("/")
        bad = any(part in ("", ".", "..") for part in parts) or "\\" in name or not name.isprintable()
        if bad or len(name.encode("utf-8", "surrogateescape")) > _MAX_NAME or len(parts) > _MAX_DEPTH:
            raise RequestError(
                f"{self.origin}: {name[:80]!r} is no usable file name",
                hint=f"relative, without '..', at most {_MAX_NAME} bytes, {_MAX_DEPTH} folders deep",
            )
        if name in self.files:
            raise RequestError(f"{self.origin}: {name!r} is in it twice")
        if len(self.files) >= self._max_files:
            raise RequestError(f"{self.origin}: there are more than {self._max_files} files", hint="hand in sources only")


def _source(bag: _Bag, language: str, entry_point: str) -> Source:
    if not bag.files:
        raise RequestError(f"{bag.origin}: the submission is empty", hint="it has no file")
    for name in bag.files:
        if any(other.startswith(f"{name}/") for other in bag.files):
            raise RequestError(f"{bag.origin}: {name!r} is a file and a folder")
    return Source(dict(sorted(bag.files.items())), bag.origin, language, entry_point)


def _read_folder(fd: int, prefix: str, bag: _Bag, depth: int) -> None:
    """Everything below an open folder, which is not left by way of links."""
    if depth >= _MAX_DEPTH:
        raise RequestError(f"{bag.origin}: {prefix!r} is more than {_MAX_DEPTH} folders deep")
    for name in _listed(fd, prefix, bag):
        full = prefix + name
        try:
            found = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                inner = os.open(name, _FOLDER, dir_fd=fd)
                try:
                    _read_folder(inner, full + "/", bag, depth + 1)
                finally:
                    os.close(inner)
                continue
            if not stat.S_ISREG(found.st_mode):
                raise RequestError(f"{bag.origin}: {full!r} is {_kind(found.st_mode)}", hint="only files and folders are taken")
            bag.check(full)
            with open(os.open(name, _FILE, dir_fd=fd), "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise RequestError(f"{bag.origin}: {full!r} changed while it was read")
                bag.add(full, file.read(bag.room + 1))
        except OSError as error:
            raise RequestError(f"{bag.origin}: {full!r} cannot be read: {error.strerror}") from None


def _listed(fd: int, prefix: str, bag: _Bag) -> list[str]:
    names: list[str] = []
    with os.scandir(fd) as entries:
        for entry in entries:
            if entry.name in _IGNORED:
                continue
            if len(names) > 4 * MAX_FILES:
                raise RequestError(f"{bag.origin}: {prefix or '.'} has too many files")
            names.append(entry.name)
    return sorted(names)


def _kind(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "a link"
    return "a pipe" if stat.S_ISFIFO(mode) else "no regular file"


def _read_zip(file: BinaryIO, bag: _Bag) -> None:
    try:
        bounded: Any = archive.Bounded(file, bag.origin)
        with zipfile.ZipFile(bounded) as opened:
            for entry in _entries(opened, bag):
                with opened.open(entry) as member:
                    bag.add(entry.filename, _member(member, bag.room))
    except ProblemError as error:
        raise RequestError(f"{bag.origin}: {error.message}", hint="hand in sources only") from None
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        NotImplementedError,
        RuntimeError,
        EOFError,
        ValueError,
        OSError,
        OverflowError,
    ) as error:
        raise RequestError(f"{bag.origin}: is no usable zip: {error}") from None


def _member(member: IO[bytes], room: int) -> bytes:
    """What is in an entry, at most one byte more than there is room for."""
    data = bytearray()
    while len(data) <= room and (piece := member.read(min(archive.CHUNK, room + 1 - len(data)))):
        data += piece
    return bytes(data)


def _entries(opened: zipfile.ZipFile, bag: _Bag) -> Iterator[zipfile.ZipInfo]:
    """The files of a zip. What the directory of the zip says of their sizes is not believed."""
    for entry in opened.infolist():
        parts = entry.filename.split("/")
        if entry.is_dir() or any(part in _IGNORED for part in parts):
            continue
        kind = (entry.external_attr >> 16) & 0xF000
        if kind not in (0, 0x8000):
            what = "a link" if kind == _LINK else "no regular file"
            raise RequestError(f"{bag.origin}: {entry.filename[:80]!r} is {what}", hint="only files and folders are taken")
        if entry.compress_type not in archive.PLAIN:  # others name the memory that their decoders want
            what = f"compressed with method {entry.compress_type}"
            raise RequestError(f"{bag.origin}: {entry.filename[:80]!r} is {what}", hint="use deflate")
        bag.check(entry.filename)
        yield entry
