"""Writing collected files below a new directory. Their names and content are the payload's: nothing is followed or replaced."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Mapping

from sandbox.model.errors import RequestError
from sandbox.model.result import CollectedFile

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Destination:
    """A directory that did not exist before; an empty one is taken away again."""

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            raise RequestError(f"--out {path!r} exists already", hint="name a directory that does not") from None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise RequestError(f"--out {path!r} cannot be made: {reason}") from None
        self._fd = os.open(path, _DIRECTORY)

    def write(self, files: Mapping[str, CollectedFile]) -> None:
        """Write all files; a mode keeps no more than whether it is executable. Raises RequestError when the disk is full."""
        for name, file in sorted(files.items()):
            try:
                self._write_one(name, file)
            except OSError as error:
                raise RequestError(f"--out: {name!r} cannot be written: {error.strerror}") from None

    def _write_one(self, name: str, file: CollectedFile) -> None:
        *directories, last = name.split("/")
        if name.startswith("/") or any(part in ("", ".", "..") for part in (*directories, last)):
            raise OSError(errno.EINVAL, "is no relative name")
        parents = [os.dup(self._fd)]
        try:
            for part in directories:
                parents.append(_enter(part, parents[-1]))
            fd = os.open(last, _CREATE, 0o700 if file.mode & 0o100 else 0o600, dir_fd=parents[-1])
            _fill(fd, file.data, last, parents[-1])
        except OSError:
            for part, parent in reversed(list(zip(directories, parents, strict=False))):
                with contextlib.suppress(OSError):  # something else is in it
                    os.rmdir(part, dir_fd=parent)
            raise
        finally:
            for parent in parents:
                os.close(parent)

    def close(self) -> None:
        """Let go; remove the directory if nothing was put in."""
        os.close(self._fd)
        try:
            os.rmdir(self.path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
                raise


def _fill(fd: int, data: bytes, name: str, parent: int) -> None:
    """Write all of it; half a file would be taken for a whole one, so it is taken away. Raises OSError."""
    try:
        with open(fd, "wb") as out:
            out.write(data)
    except OSError:
        os.unlink(name, dir_fd=parent)
        raise


def _enter(name: str, parent: int) -> int:
    with contextlib.suppress(FileExistsError):  # made for another file; opening it refuses a link
        os.mkdir(name, 0o700, dir_fd=parent)
    return os.open(name, _DIRECTORY, dir_fd=parent)
