"""A root directory with a private writable overlay: all writes land in the run's own tmpfs and die with it.

The foreign directory is only ever the lowest layer. Mount points for what must be seen in it (/dev, /proc, the work
directory, mounts) lie in a layer of our own above it: they need no rights there, and a link in the way is covered by a
directory, never followed (threat NR12).
"""

from __future__ import annotations

import os

from sandbox.kernel import files, mounts
from sandbox.launcher.scratch import OVERLAY_STAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandbox.model.plan import Plan
    from sandbox.model.steps import Progress

LOWER = b"/.lower"
POINTS = b"/.points"
MERGED = b"/.root"
_NO_LINKS = files.RESOLVE_IN_ROOT | files.RESOLVE_NO_SYMLINKS | files.RESOLVE_NO_MAGICLINKS


def enter(plan: Plan, progress: Progress) -> None:
    """Mount the overlay, carry our own mounts over, make it the root. Process: init."""
    upper, work = OVERLAY_STAGE + b"/upper", OVERLAY_STAGE + b"/internal"
    os.mkdir(upper, 0o755)
    os.mkdir(work, 0o755)
    os.chmod(upper, 0o755)
    data = b"lowerdir=" + POINTS + b":" + LOWER + b",upperdir=" + upper + b",workdir=" + work + b",userxattr"
    mounts.mount(b"overlay", MERGED, b"overlay", mounts.MS_NOSUID | mounts.MS_NODEV, data)
    root = os.open(MERGED, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    for index, target in enumerate(plan.carried):
        progress.index = index + 1
        tree = mounts.open_tree(target)
        place = files.openat2(root, target.lstrip(b"/"), os.O_PATH, resolve=_NO_LINKS)
        mounts.move_mount(tree, b"", dir_fd=place)
        os.close(place)
        os.close(tree)
    os.fchdir(root)
    os.close(root)
    mounts.pivot_root_here()
