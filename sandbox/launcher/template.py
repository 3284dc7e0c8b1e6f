"""The launcher's own root: built once, copied to every sandbox by CLONE_NEWNS.

Order matters: (1) propagation off, so that nothing reaches the host; (2) every source opened before the first mount,
with the caller's own credentials, so that no mount can redirect a path; (3) mount points made in a tmpfs of our own,
never inside foreign data; (4) pivot_root, after which no host path exists any more.
"""

from __future__ import annotations

import _signal
import errno
import os
import stat

from sandbox.kernel import files, mounts, namespaces, process
from sandbox.kernel.libc import AT_FDCWD
from sandbox.model import plan as plans
from sandbox.model import steps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandbox.model.plan import MountOp, Plan
    from sandbox.model.steps import Progress

_STAGES = (b"/tmp", b"/mnt", b"/run", b"/var/tmp", b"/usr")
_ROOT_OPTIONS = ((b"size", b"4m"), (b"nr_inodes", b"4096"), (b"mode", b"0755"))
_HARD = mounts.ATTR_NOSUID | mounts.ATTR_NODEV
# Of all runs of this launcher together; the kernel counts them for the caller's own user too (128 instances by default).
_USER_LIMITS = (("max_inotify_instances", b"64"), ("max_inotify_watches", b"32768"))
_NO_LINKS = files.RESOLVE_NO_SYMLINKS | files.RESOLVE_NO_MAGICLINKS


def build(plan: Plan, progress: Progress) -> None:
    """Become the root of the new user namespace and build the template root.

    Process: the launcher, after its id maps were written. Raises OSError at `progress`.
    """
    progress.at(steps.TEMPLATE_NAMESPACES)
    if not plan.ids.deny_setgroups:
        os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    process.prctl(process.PR_SET_PDEATHSIG, _signal.SIGKILL)  # a change of credentials clears it
    process.prctl(process.PR_SET_DUMPABLE, 1)  # init's id maps cannot be written otherwise
    process.new_session_keyring()
    for name, value in _USER_LIMITS:
        namespaces.write_file("/proc/sys/user/" + name, value)
    mounts.mount(None, b"/", None, mounts.MS_REC | mounts.MS_PRIVATE)
    sources = _open_sources(plan.template, progress)
    progress.at(steps.TEMPLATE_ROOT)
    root = mounts.new_filesystem(b"tmpfs", _ROOT_OPTIONS, _HARD)
    stage = _open_first_directory(_STAGES)
    mounts.move_mount(root, b"", dir_fd=stage)
    os.fchdir(root)
    os.umask(0)
    for index, operation in enumerate(plan.template):
        progress.at(steps.TEMPLATE_PROC if operation.kind == plans.PROC else steps.TEMPLATE_MOUNT, index)
        _execute(operation, root, sources.get(index, -1))
    progress.at(steps.TEMPLATE_HARDEN)
    mounts.set_attributes(root, b"", _HARD | mounts.ATTR_RDONLY, recursive=False)
    progress.at(steps.TEMPLATE_PIVOT)
    os.fchdir(root)
    mounts.pivot_root_here()
    os.umask(0o077)
    for fd in (root, stage, *sources.values()):
        os.close(fd)


def _open_sources(operations: tuple[MountOp, ...], progress: Progress) -> dict[int, int]:
    """An O_PATH descriptor for every bind and device, of the planned type; index of the operation to descriptor."""
    sources = {}
    for index, operation in enumerate(operations):
        if operation.kind not in (plans.BIND, plans.DEVICE):
            continue
        progress.at(steps.TEMPLATE_SOURCE, index)
        fd = _open_source(operation)
        found = os.fstat(fd)
        if operation.kind == plans.DEVICE:
            if not stat.S_ISCHR(found.st_mode) or found.st_rdev != os.makedev(operation.major, operation.minor):
                raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        elif stat.S_ISDIR(found.st_mode) != operation.is_dir:
            raise OSError(errno.ENOTDIR if operation.is_dir else errno.EISDIR, "not of the planned type")
        sources[index] = fd
    return sources


def _open_source(operation: MountOp) -> int:
    """The planner has followed every link on the way: one that is there now was made since, and is an error (ELOOP).

    What lies in a root directory of somebody else (`beneath`) is also looked up without leaving it.
    """
    if not operation.beneath:
        return files.openat2(AT_FDCWD, operation.source, os.O_PATH, resolve=_NO_LINKS)
    root = files.openat2(AT_FDCWD, operation.beneath, os.O_PATH | os.O_DIRECTORY, resolve=_NO_LINKS)
    try:
        return files.openat2(root, operation.source, os.O_PATH, resolve=_NO_LINKS | files.RESOLVE_BENEATH)
    finally:
        os.close(root)


def _open_first_directory(candidates: tuple[bytes, ...]) -> int:
    """Some existing directory of the host to mount the new root over, inside our own mount namespace."""
    for path in candidates:
        try:
            return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def _execute(operation: MountOp, root: int, source: int) -> None:
    """Carry out one operation; targets are relative to the new root, which is the current directory."""
    target = operation.target.lstrip(b"/")
    kind = operation.kind
    if kind == plans.MKDIR:
        os.mkdir(target, operation.mode)
    elif kind == plans.MKFILE:
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, operation.mode)
        try:
            os.write(fd, operation.data)
        finally:
            os.close(fd)
    elif kind == plans.SYMLINK:
        os.symlink(operation.data, target)
    elif kind in (plans.BIND, plans.DEVICE):
        _attach(mounts.open_tree(b"", dir_fd=source), root, target, operation.attrs)
    elif kind == plans.PROC:
        _attach(mounts.new_filesystem(b"proc", (), _HARD | mounts.ATTR_NOEXEC), root, target, 0)
    elif kind == plans.TMPFS:
        options = ((b"size", b"%d" % operation.size_bytes), (b"nr_inodes", b"%d" % operation.inodes))
        tree = mounts.new_filesystem(b"tmpfs", (*options, (b"mode", b"%o" % operation.mode)), operation.attrs)
        _attach(tree, root, target, 0)
    elif kind == plans.COVER:
        _attach(mounts.open_tree(target), root, target, operation.attrs)
    else:
        raise OSError(errno.EINVAL, "unknown mount operation")


def _attach(tree: int, root: int, target: bytes, attributes: int) -> None:
    """Set attributes on a detached tree, with everything below it, and attach it: it is never visible without them.

    A link on the way to the target, which only foreign data below an earlier mount can have, is an error (threat NR12).
    """
    place = -1
    try:
        if attributes:
            mounts.set_attributes(tree, b"", attributes, recursive=True)
        place = files.openat2(root, target, os.O_PATH, resolve=_NO_LINKS | files.RESOLVE_IN_ROOT)
        mounts.move_mount(tree, b"", dir_fd=place)
    finally:
        os.close(tree)
        if place >= 0:
            os.close(place)
