"""Where a launcher finds the program of a submission: a directory that it mounts once, filled with one program after another.

    $XDG_CACHE_HOME/sandbox/places/<random>/program

What a launcher mounts is settled when it starts. With a place of its own it serves every submission of a problem, and can start
while the first is still being compiled. Files are hard links to those of the store, or copies where there can be none. Nothing is
changed while a run can see it: `boxes` fills a place only when nobody uses its sandboxes.

Who made a place holds a lock on it; one whose maker has died is removed by the next maker.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import weakref
from pathlib import Path

from sandbox.grader import store
from sandbox.grader.removal import empty, remove
from sandbox.model.errors import ResourceError

_FOLDER = "program"
_ATTEMPTS = 10  # at making one that nobody takes for a dead one's before it is locked


class Place:
    """One such directory.

    Attributes:
        path: what is mounted.
    """

    def __init__(self) -> None:
        """Make one. Raises ResourceError."""
        self._files: dict[str, int] = {}  # name → inode of what was put here
        try:
            with store.opened(_root()) as root:
                _remove_abandoned(root)
                name, self._lock, self._found = _made(root)
        except OSError as error:
            raise _failed(str(_root()), error) from error
        self.path = _root() / name / _FOLDER
        self.close = weakref.finalize(self, _close, self._lock, os.getpid(), str(_root()), name)

    def is_there(self) -> bool:
        """Whether nobody has removed it, or put another in its stead: a launcher has this very directory."""
        try:
            return os.path.samestat(os.lstat(self.path), self._found)
        except OSError:
            return False

    def is_whole(self) -> bool:
        """Whether everything that was put here is still here."""
        try:
            return self.is_there() and all(os.lstat(self.path / name).st_ino == inode for name, inode in self._files.items())
        except OSError:
            return False

    def fill(self, files: Path) -> None:
        """Put these files (of an entry of the store) in the place of what was there.

        Raises ResourceError: then what is here is nothing to run.
        """
        try:
            self._clear()
            self._link(files)
        except OSError as error:
            raise _failed(str(self.path), error) from error

    def _clear(self) -> None:
        self._files = {}
        empty(self._lock, _FOLDER)
        left = os.listdir(self.path)
        if left:
            raise OSError(errno.ENOTEMPTY, f"{left[0]!r} of the program before cannot be removed")

    def _link(self, files: Path) -> None:
        for folder, folders, names, fd in os.fwalk(files, onerror=_raise):
            target = self.path / os.path.relpath(folder, files)
            for name in folders:
                (target / name).mkdir(mode=0o755)
                (target / name).chmod(0o755)
            for name in names:
                try:
                    os.link(name, target / name, src_dir_fd=fd, follow_symlinks=False)
                except OSError:  # too many links, or a file system without them
                    shutil.copy(f"/proc/self/fd/{fd}/{name}", target / name, follow_symlinks=False)
                self._files[os.path.relpath(target / name, self.path)] = os.lstat(target / name).st_ino


def _raise(error: OSError) -> None:
    raise error


def _failed(where: str, error: OSError) -> ResourceError:
    what = f"{where}: a program cannot be put here"
    return ResourceError.exhausted(what, error.errno) or ResourceError(f"{what}: {error.strerror}")


def _made(root: int) -> tuple[str, int, os.stat_result]:
    """(name, descriptor with its maker's lock, what is mounted) of a new place. Raises OSError; then nothing is left."""
    for _ in range(_ATTEMPTS):
        name = os.urandom(8).hex()
        os.mkdir(name, 0o755, dir_fd=root)
        lock = store.locked(root, name, fcntl.LOCK_EX)
        if lock is None:
            continue
        try:
            os.fchmod(lock, 0o755)  # whatever the umask: a run has a user of its own
            os.mkdir(_FOLDER, 0o755, dir_fd=lock)
            os.chmod(_FOLDER, 0o755, dir_fd=lock)
            return name, lock, os.stat(_FOLDER, dir_fd=lock)
        except BaseException:
            remove(root, name)
            os.close(lock)
            raise
    raise OSError(errno.EBUSY, "others remove what is made here")


def _root() -> Path:
    return store.default().root.with_name("places")


def _remove_abandoned(root: int) -> None:
    for name in os.listdir(root):
        lock = store.locked(root, name, fcntl.LOCK_EX)
        if lock is not None:
            try:
                remove(root, name)
            finally:
                os.close(lock)


def _close(lock: int, maker: int, root: str, name: str) -> None:
    """Remove it. In a forked child it is the parent's."""
    try:
        if os.getpid() == maker:
            with contextlib.suppress(ResourceError), store.opened(Path(root)) as fd:
                remove(fd, name)
    finally:
        os.close(lock)
