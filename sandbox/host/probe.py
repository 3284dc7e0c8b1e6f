"""A stand-alone program that tries what a launcher needs, in namespaces of its own, and prints `step errno` lines.

`python -I -S -B …/sandbox/host/probe.py`. The caller may have threads and must neither fork nor unshare, so this runs
in a process of its own. It changes nothing outside: everything it mounts ends with its namespaces.
"""

from __future__ import annotations

import functools
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_WAIT = b"go"


def main() -> None:
    """Clone like a keeper, write the id maps, and let the child try the rest. Process: the probe."""
    from sandbox.kernel import namespaces

    reader, writer = os.pipe()
    try:
        flags = namespaces.CLONE_NEWUSER | namespaces.CLONE_NEWNS | namespaces.CLONE_NEWPID
        pid, pidfd = namespaces.clone(flags)
    except OSError as error:
        _say("userns", error)
        return
    if pid == 0:
        os.close(writer)
        try:
            if os.read(reader, len(_WAIT)) == _WAIT:
                _inside()
        finally:
            os._exit(0)
    os.close(reader)
    _say("userns")
    try:
        namespaces.write_file(f"/proc/{pid}/setgroups", b"deny")
        namespaces.write_file(f"/proc/{pid}/uid_map", b"0 %d 1\n" % os.getuid())
        namespaces.write_file(f"/proc/{pid}/gid_map", b"0 %d 1\n" % os.getgid())
        _say("map")
        os.write(writer, _WAIT)
    except OSError as error:
        _say("map", error)
    os.close(writer)
    os.waitid(os.P_PIDFD, pidfd, os.WEXITED)


def _inside() -> None:
    """Process: the child, pid 1 with all capabilities in its own namespaces."""
    from sandbox.kernel import mounts, namespaces

    _try("private", lambda: mounts.mount(None, b"/", None, mounts.MS_REC | mounts.MS_PRIVATE))
    for name, flag in (
        ("ipc", namespaces.CLONE_NEWIPC),
        ("uts", namespaces.CLONE_NEWUTS),
        ("net", namespaces.CLONE_NEWNET),
        ("cgroup", namespaces.CLONE_NEWCGROUP),
        ("time", namespaces.CLONE_NEWTIME),
    ):
        _try(name, functools.partial(namespaces.unshare, flag))
    _try("proc", lambda: os.close(mounts.new_filesystem(b"proc", ((b"hidepid", b"invisible"),), mounts.ATTR_NOSUID)))
    if _try("tmpfs", lambda: mounts.mount(b"tmpfs", b"/tmp", b"tmpfs", 0, b"size=64k,nr_inodes=16")):
        _try("mount_setattr", lambda: mounts.set_attributes(-100, b"/tmp", mounts.ATTR_NOSUID, recursive=True))
        _try("overlay", _overlay)


def _overlay() -> None:
    from sandbox.kernel import mounts

    for name in ("lower", "upper", "work", "merged"):
        os.mkdir(f"/tmp/{name}")
    options = b"lowerdir=/tmp/lower,upperdir=/tmp/upper,workdir=/tmp/work,userxattr"
    mounts.mount(b"overlay", b"/tmp/merged", b"overlay", 0, options)


def _try(step: str, action: Callable[[], object]) -> bool:
    try:
        action()
    except OSError as error:
        _say(step, error)
        return False
    _say(step)
    return True


def _say(step: str, error: OSError | None = None) -> None:
    os.write(1, f"{step} {error.errno if error else 0}\n".encode())


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    main()
