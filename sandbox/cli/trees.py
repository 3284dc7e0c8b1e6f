"""A whole directory of the caller for the work directory: its regular files, no link followed, within bounds."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from sandbox.cli import reading
from sandbox.cli.reading import Content
from sandbox.model.errors import RequestError


def read_tree(path: str, room: int, entries: int) -> tuple[dict[str, Content], list[tuple[str, str]]]:
    """(relative name → file, (relative name, reason) of what is left out).

    Args:
        path: the directory; it may be a link itself.
        room: bytes that fit.
        entries: files and directories that fit.

    Raises RequestError for what does not fit or cannot be read.
    """
    files: dict[str, Content] = {}
    left_out: list[tuple[str, str]] = []
    seen = 0
    try:
        root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise RequestError(f"--file {path!r} cannot be read: {reason}") from None
    try:
        for name, is_directory in _walk(root, path):
            seen += 1
            if seen > entries:
                raise RequestError(
                    f"--file {path!r} has more than the {entries} entries that fit the scratch space",
                    hint=f"--mount {path}:/data",
                )
            if is_directory:
                continue
            found = _read(root, path, name, room)
            if isinstance(found, str):
                left_out.append((name, found))
                continue
            room -= len(found[0])
            if room < 0:
                raise RequestError(f"--file {path!r} does not fit the scratch space", hint=f"mount it: --mount {path}:/data")
            files[name] = found
    finally:
        os.close(root)
    if not files:
        raise RequestError(f"--file {path!r} is a directory without any regular file")
    return files, left_out


def _walk(root: int, path: str) -> Iterator[tuple[str, bool]]:
    """(relative name, whether it is a directory) of everything, each directory before what is in it."""
    waiting = [""]
    while waiting:
        below = waiting.pop()
        try:
            fd = reading.directory_beneath(root, below or ".")
            try:
                with os.scandir(fd) as found:
                    entries = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in found)
            finally:
                os.close(fd)
        except OSError as error:
            raise RequestError(f"--file {path!r}: {below or '.'!r} cannot be read: {error.strerror}") from None
        for name, is_directory in entries:
            whole = f"{below}/{name}" if below else name
            yield whole, is_directory
            if is_directory:
                waiting.append(whole)


def _read(root: int, path: str, name: str, room: int) -> Content | str:
    """The file, or why it is left out."""
    try:
        return reading.beneath(root, name, room) or "neither a file nor a directory"
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "a symbolic link"
        raise RequestError(f"--file {path!r}: {name!r} cannot be read: {error.strerror}") from None
