"""The private writable places of one run: one tmpfs, sized in bytes and inodes, seen as /work, /tmp and /dev/shm.

One size for all of them means that a run cannot use twice what it was given, and that one statvfs tells whether it
was full.
"""

from __future__ import annotations

import errno
import os

from sandbox.kernel import mounts
from sandbox.launcher import wire
from sandbox.model import steps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandbox.model.launch import LaunchRequest
    from sandbox.model.plan import Plan

_STAGE = b"/dev/shm"
OVERLAY_STAGE = b"/.scratch"
_HARD = mounts.ATTR_NOSUID | mounts.ATTR_NODEV
_OVERLAY_INODES = 3  # its upper directory, its internal one and what it makes there
_CHUNK = 1 << 20
_MAX_LOOKS = 10_000


def mount_places(plan: Plan, request: LaunchRequest, progress: steps.Progress) -> int:
    """Mount the places; returns a descriptor of the work directory. Process: init."""
    progress.at(steps.INIT_SCRATCH)
    places = [(b"work", plan.work, 0o755, plan.work_attrs)]
    if plan.tmp:
        places.append((b"tmp", b"/tmp", 0o1777, plan.scratch_attrs))
    if plan.shm:
        places.append((b"shm", b"/dev/shm", 0o1777, plan.scratch_attrs))
    own = 1 + len(places) + (_OVERLAY_INODES if plan.overlay else 0)
    options = (
        (b"size", b"%d" % request.scratch_bytes),
        (b"nr_inodes", b"%d" % (request.scratch_inodes + own)),
        (b"mode", b"0755"),
    )
    stage = OVERLAY_STAGE if plan.overlay else _STAGE
    tree = mounts.new_filesystem(b"tmpfs", options, _HARD)
    mounts.move_mount(tree, stage)
    os.close(tree)
    copies = []
    for index, (name, _, mode, attributes) in enumerate(places):
        progress.at(steps.INIT_SCRATCH, index + 1)
        path = stage + b"/" + name
        os.mkdir(path)
        os.chmod(path, mode)
        copy = mounts.open_tree(path, recursive=False)
        mounts.set_attributes(copy, b"", attributes | _HARD, recursive=False)
        copies.append(copy)
    if not plan.overlay:  # the overlay still needs the stage, and loses it by its own pivot_root
        mounts.unmount(stage)
    for copy, (_, target, _, _) in zip(copies, places, strict=True):
        mounts.move_mount(copy, target)
        os.close(copy)
    return os.open(plan.work, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def unpack(memfd: int, work: int) -> None:
    """Write the input files into the empty work directory. Names were checked by the caller and are checked again."""
    entries, _, offset = wire.read_index(memfd)
    for name, mode, size in entries:
        parts = name.split(b"/")
        if any(part in (b"", b".", b"..") for part in parts):
            raise OSError(errno.EINVAL, "unclean name")
        directory = os.dup(work)
        for part in parts[:-1]:
            directory = _descend(directory, part)
        fd = os.open(
            parts[-1], os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode & 0o777, dir_fd=directory
        )
        try:
            os.fchmod(fd, mode & 0o777)
            _copy(memfd, offset, size, fd)
        finally:
            os.close(fd)
            os.close(directory)
        offset += size


def _descend(directory: int, part: bytes) -> int:
    try:
        os.mkdir(part, 0o755, dir_fd=directory)
    except FileExistsError:
        pass  # made for an earlier file
    below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    os.close(directory)
    return below


def _copy(source: int, offset: int, size: int, target: int) -> None:
    while size > 0:
        copied = os.sendfile(target, source, offset, min(size, _CHUNK))
        if copied == 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        offset += copied
        size -= copied


def has_file_of(places: list[bytes], size: int) -> bool:
    """Whether a regular file of at least `size` bytes is among the first entries found. Follows no link."""
    left = _MAX_LOOKS
    pending = list(places)
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    left -= 1
                    if left < 0:
                        return False
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    elif entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_size >= size:
                        return True
        except OSError:
            continue  # what its owner cannot read, or what has gone
    return False
