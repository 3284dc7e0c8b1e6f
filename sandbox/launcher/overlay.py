"""A root directory with a private writable overlay: all writes land in the run's own tmpfs and die with it.

The foreign directory is only ever a lower layer. What must be seen in it (/dev, /proc, the work directory, mounts) is
attached by descriptors to places made in the upper layer; a link in the way is replaced, never followed (threat NR12).
"""

from __future__ import annotations

import errno
import os
import stat

from sandbox.kernel import mounts
from sandbox.launcher.scratch import OVERLAY_STAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandbox.model.plan import Plan
    from sandbox.model.steps import Progress

LOWER = b"/.lower"
MERGED = b"/.root"
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def enter(plan: Plan, progress: Progress) -> None:
    """Mount the overlay, carry our own mounts over, make it the root. Process: init."""
    upper, work = OVERLAY_STAGE + b"/upper", OVERLAY_STAGE + b"/internal"
    os.mkdir(upper, 0o755)
    os.mkdir(work, 0o755)
    os.chmod(upper, 0o755)
    data = b"lowerdir=" + LOWER + b",upperdir=" + upper + b",workdir=" + work + b",userxattr"
    mounts.mount(b"overlay", MERGED, b"overlay", mounts.MS_NOSUID | mounts.MS_NODEV, data)
    root = os.open(MERGED, _DIRECTORY)
    for index, target in enumerate(plan.carried):
        progress.index = index + 1
        is_directory = stat.S_ISDIR(os.stat(target, follow_symlinks=False).st_mode)
        tree = mounts.open_tree(target)
        place = _make_place(root, target, is_directory)
        mounts.move_mount(tree, b"", dir_fd=place)
        os.close(place)
        os.close(tree)
    os.fchdir(root)
    os.close(root)
    mounts.pivot_root_here()


def _make_place(root: int, target: bytes, is_directory: bool) -> int:
    """An O_PATH descriptor of `target` below `root`; what is missing, or is not what is needed, is made anew."""
    here = os.dup(root)
    parts = target.strip(b"/").split(b"/")
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        below = _component(here, part, directory=is_directory or not last)
        os.close(here)
        here = below
    return here


def _component(parent: int, name: bytes, *, directory: bool) -> int:
    flags = _DIRECTORY if directory else os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    for _ in range(2):
        try:
            fd = os.open(name, flags, dir_fd=parent)
            kind = os.fstat(fd).st_mode
            if stat.S_ISDIR(kind) if directory else stat.S_ISREG(kind):
                return fd
            os.close(fd)
            os.unlink(name, dir_fd=parent)
        except FileNotFoundError:
            pass  # made below
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            os.unlink(name, dir_fd=parent)
        if directory:
            os.mkdir(name, 0o755, dir_fd=parent)
        else:
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=parent))
    raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
