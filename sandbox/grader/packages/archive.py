"""Zip archives of strangers, unpacked into a private directory that goes with the last reference to it.

Nothing of an archive is trusted: names stay inside, only plain files and folders are made, what is read is counted, and only the
two plain compressions are taken (an LZMA stream names the memory that its decoder wants).
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import stat
import struct
import tempfile
import weakref
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from sandbox.grader.removal import remove
from sandbox.model.errors import ProblemError

MAX_ARCHIVE_BYTES = 1 << 30
MAX_ENTRIES = 20_000
MAX_ENTRY_BYTES = 1 << 30
MAX_TOTAL_BYTES = 4 << 30
MAX_DEPTH = 20
_MAX_DIRECTORY_BYTES = 4 << 20  # of the archive's list of entries, which is read at once
CHUNK = 1 << 20
_BAD_IN_NAME = re.compile(r"[\x00-\x1f\x7f\\]")
PLAIN = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_NOISE = ("__MACOSX/", ".DS_Store")
_ENCRYPTED = 0x1
_UNSOUND = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError, struct.error)


class Unpacked:
    """A private directory with the files of an archive.

    Attributes:
        root: the directory; it is gone after `close`, or when nothing refers to this object any more.
    """

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="sandbox-problem-"))
        self._finalizer = weakref.finalize(self, _remove, self.root, os.getpid())

    def close(self) -> None:
        """Removes the directory now. A second call does nothing."""
        self._finalizer()


def _remove(root: Path, owner: int) -> None:
    """Removes a directory; not in a process that was forked from its owner, which still needs it."""
    if os.getpid() != owner:
        return
    with contextlib.suppress(OSError):
        above = os.open(root.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            remove(above, root.name)
        finally:
            os.close(above)


class Bounded:
    """The file of an archive as zipfile reads it: never more at once than a list of entries may take. Raises ProblemError."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name

    def read(self, size: int = -1) -> bytes:
        """As of a file."""
        data = self._file.read(min(size, _MAX_DIRECTORY_BYTES + 1) if size >= 0 else _MAX_DIRECTORY_BYTES + 1)
        if len(data) > _MAX_DIRECTORY_BYTES:
            raise ProblemError("its list of entries is too long", file=self._name, hint=f"{MAX_ENTRIES} are allowed")
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As of a file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """As of a file."""
        return self._file.tell()

    def seekable(self) -> bool:
        """As of a file."""
        return True


def unpack(path: Path) -> Unpacked:
    """Unpacks an archive.

    Raises:
        ProblemError: it is no archive, or holds anything but plain files and folders with names that stay inside, or too much.
    """
    name = path.name
    unpacked = Unpacked()
    try:
        with open(path, "rb", opener=_open_plain) as file:
            if os.fstat(file.fileno()).st_size > MAX_ARCHIVE_BYTES:
                raise ProblemError(f"is larger than {MAX_ARCHIVE_BYTES >> 20} MiB", file=name)
            bounded: Any = Bounded(file, name)
            with zipfile.ZipFile(bounded) as archive:
                _extract(archive, checked(archive.infolist(), name), unpacked.root, name)
    except BaseException as error:
        unpacked.close()
        if isinstance(error, OSError):
            raise ProblemError(f"cannot be unpacked: {error.strerror or error}", file=name) from error
        if isinstance(error, _UNSOUND):
            raise ProblemError(f"is not a sound zip archive: {error}", file=name) from error
        raise
    return unpacked


def _open_plain(path: str, flags: int) -> int:
    """Opens a plain file and nothing else: a pipe would make the host wait."""
    handle = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is not a plain file")
    return handle


def checked(entries: list[zipfile.ZipInfo], archive: str) -> list[tuple[str, zipfile.ZipInfo]]:
    """The entries that are unpacked, with clean names: "data/secret/1.in"; folders end with "/".

    Raises:
        ProblemError: what the archive holds is not plain, is too much, or leads outside.
    """
    if len(entries) > MAX_ENTRIES:
        raise ProblemError(f"holds {len(entries)} entries; {MAX_ENTRIES} are allowed", file=archive)
    found: dict[str, zipfile.ZipInfo] = {}
    total = 0
    for entry in entries:
        if entry.filename.startswith(_NOISE[0]) or entry.filename.endswith(_NOISE[1]):
            continue
        name = _clean(entry, archive)
        total += entry.file_size
        if entry.file_size > MAX_ENTRY_BYTES or total > MAX_TOTAL_BYTES:
            limits = f"{MAX_ENTRY_BYTES >> 20} MiB for a file and {MAX_TOTAL_BYTES >> 20} MiB for all are allowed"
            raise ProblemError(f"unpacks to too much (at {name!r})", file=archive, hint=limits)
        if name in found and not name.endswith("/"):
            raise ProblemError(f"holds {name!r} twice", file=archive)
        found[name] = entry
    for name in found:
        parts = name.rstrip("/").split("/")
        for length in range(1, len(parts) + 1):
            above = "/".join(parts[:length])
            if above != name and above in found:
                raise ProblemError(f"holds {above!r} as a file and as a folder", file=archive)
    return sorted(found.items())


def _clean(entry: zipfile.ZipInfo, archive: str) -> str:
    name = entry.filename
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if entry.flag_bits & _ENCRYPTED:
        raise ProblemError(f"{name!r} is encrypted", file=archive)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ProblemError(f"{name!r} is a link or a special file", file=archive, hint="put the file itself into the archive")
    if entry.compress_type not in PLAIN:
        raise ProblemError(f"{name!r} is compressed with method {entry.compress_type}", file=archive, hint="use deflate")
    parts = name.rstrip("/").split("/")
    inside = not name.startswith("/") and all(part not in ("", ".", "..") and len(os.fsencode(part)) <= 255 for part in parts)
    if not inside or _BAD_IN_NAME.search(name) or len(parts) > MAX_DEPTH:
        raise ProblemError(f"the name {name[:200]!r} is not one that stays inside the package", file=archive)
    return "/".join(parts) + ("/" if name.endswith("/") or kind == stat.S_IFDIR else "")


def _extract(archive: zipfile.ZipFile, entries: list[tuple[str, zipfile.ZipInfo]], root: Path, name: str) -> None:
    left = MAX_TOTAL_BYTES
    for inner, entry in entries:
        target = root / inner
        if inner.endswith("/"):
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(entry) as source, open(target, "xb") as sink:
            # The size that the archive claims was checked; this counts what really comes.
            size = 0
            while chunk := source.read(CHUNK):
                size += len(chunk)
                left -= len(chunk)
                if size > MAX_ENTRY_BYTES or left < 0:
                    raise ProblemError(f"unpacks to too much (at {inner!r})", file=name)
                sink.write(chunk)
