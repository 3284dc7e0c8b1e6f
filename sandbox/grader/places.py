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
        with store.opened(_root()) as root:
            _remove_abandoned(root)
            for _ in range(_ATTEMPTS):
                name = os.urandom(8).hex()
                os.mkdir(name, 0o755, dir_fd=root)
                lock = _locked(root, name)
                if lock is not None:
                    break
            else:
                raise ResourceError(
                    f"{_root()}: others remove what is made here", hint="set XDG_CACHE_HOME to a directory of yours"
                )
            os.fchmod(lock, 0o755)  # whatever the umask: a run has a user of its own
            os.mkdir(_FOLDER, 0o755, dir_fd=lock)
            os.chmod(_FOLDER, 0o755, dir_fd=lock)
        self.path = _root() / name / _FOLDER
        self._lock = lock
        self.close = weakref.finalize(self, _close, lock, os.getpid(), str(_root()), name)

    def fill(self, files: Path) -> None:
        """Put these files (of an entry of the store) in the place of what was there. Raises ResourceError; then it is empty."""
        try:
            self._clear()
            self._link(files)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._clear()
            what = f"{self.path}: a program cannot be put here"
            raise ResourceError.exhausted(what, error.errno) or ResourceError(f"{what}: {error.strerror}") from error

    def _clear(self) -> None:
        empty(self._lock, _FOLDER)
        left = os.listdir(self.path)
        if left:
            raise OSError(errno.ENOTEMPTY, f"{left[0]!r} of the program before cannot be removed")

    def _link(self, files: Path) -> None:
        for folder, folders, names, fd in os.fwalk(files):
            target = self.path / os.path.relpath(folder, files)
            for name in folders:
                (target / name).mkdir(mode=0o755)
                (target / name).chmod(0o755)
            for name in names:
                try:
                    os.link(name, target / name, src_dir_fd=fd, follow_symlinks=False)
                except OSError:  # too many links, or a file system without them
                    shutil.copy(f"/proc/self/fd/{fd}/{name}", target / name, follow_symlinks=False)


def _root() -> Path:
    return store.default().root.with_name("places")


def _locked(root: int, name: str) -> int | None:
    """A descriptor of the directory with the lock of its maker; None when somebody has it, or it is gone."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_ino == os.stat(name, dir_fd=root, follow_symlinks=False).st_ino:
            return fd
    except OSError:
        pass
    os.close(fd)
    return None


def _remove_abandoned(root: int) -> None:
    for name in os.listdir(root):
        lock = _locked(root, name)
        if lock is not None:
            remove(root, name)
            os.close(lock)


def _close(lock: int, maker: int, root: str, name: str) -> None:
    """Remove it. In a forked child it is the parent's."""
    if os.getpid() == maker:
        with contextlib.suppress(OSError):
            fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            remove(fd, name)
            os.close(fd)
    os.close(lock)
