"""Files of the host: read, changed, reached through what is left of its root (threat model NR02 to NR21, PS17)."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sandbox.kernel import mounts
from sandbox.model import plan as plans
from sandbox.model.plan import Plan
from tests.escape import layers, rights
from tests.escape.attacks import other_processes, terminal
from tests.escape.attacks.set_id_bits import PLACE
from tests.escape.layers import HOST, Layer, _without_attribute
from tests.escape.model import Attack, Scene

assert all((rights, other_processes, terminal))  # their layers are used below

READ, CHANGE, OUT = ("SEC-FS-01",), ("SEC-FS-02",), ("SEC-FS-03",)
SEEN = ("mounts", "landlock")
HELD = ("read-only", "landlock")
OWN_ID = ("newuidmap",)
TOKEN = "token-of-the-host"


def _writable_devices(plan: Plan) -> Plan:
    def change(item: plans.MountOp) -> plans.MountOp:
        return item.replace(attrs=item.attrs & ~mounts.ATTR_RDONLY) if item.kind == plans.DEVICE else item

    return plan.replace(template=tuple(change(item) for item in plan.template))


# Only what is no mount of its own, and where the launcher puts its root, stays private: a knock-out must not cover the
# host's /tmp.
_SHARED = """    for stage in (b"/", *_STAGES):
        try:
            mounts.mount(None, stage, None, mounts.MS_PRIVATE)
        except OSError:
            pass
"""
layers.register(
    Layer(name="links are not followed", plan=_without_attribute(mounts.ATTR_NOSYMFOLLOW)),
    Layer(name="read-only devices", plan=_writable_devices),
    Layer(
        name="read-only submounts",
        patches=(
            (
                "launcher/template.py",
                'mounts.set_attributes(tree, b"", attributes, recursive=True)',
                'mounts.set_attributes(tree, b"", attributes, recursive=False)',
            ),
        ),
    ),
    Layer(
        name="old root detached",
        patches=(
            ("launcher/template.py", "    os.umask(0)\n", '    os.umask(0)\n    os.mkdir(b".old")\n'),
            (
                "launcher/template.py",
                "    mounts.pivot_root_here()\n",
                '    mounts.syscall("pivot_root", b".", b".old")\n    os.chdir(b"/")\n',
            ),
        ),
    ),
    Layer(
        name="private propagation",
        patches=(("launcher/template.py", '    mounts.mount(None, b"/", None, mounts.MS_REC | mounts.MS_PRIVATE)\n', _SHARED),),
    ),
)


def _named(path: Path) -> Scene:
    return Scene(arguments=[HOST + str(path), str(path)])


@contextlib.contextmanager
def _secret(directory: Path, under: str = HOST) -> Iterator[Scene]:
    """A file of the host that everybody may read, and no profile names."""
    path = directory / "token"
    path.write_text(TOKEN)
    path.chmod(0o644)
    yield Scene(arguments=[under + str(path), str(path)])


@contextlib.contextmanager
def _directory(directory: Path) -> Iterator[Scene]:
    with _secret(directory):
        yield _named(directory)


@contextlib.contextmanager
def _program(directory: Path) -> Iterator[Scene]:
    yield _named(Path(shutil.copy2(directory.parent / "payloads" / "probe", directory / "program")))


@contextlib.contextmanager
def _fifo(directory: Path) -> Iterator[Scene]:
    path = directory / "fifo"
    os.mkfifo(path)
    path.chmod(0o666)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def check(result: Any) -> str:
        return "the fifo has something to read" if os.read(reader, 1) else ""

    try:
        scene = _named(path)
        scene.check = check
        yield scene
    finally:
        os.close(reader)


def state_of(place: Path) -> dict[str, tuple[Any, ...]]:
    """All that can be changed below a directory, but for access times."""
    found = {}
    for path in (place, *place.rglob("*")):
        seen = os.lstat(path)
        open_to_us = stat.S_ISREG(seen.st_mode) and os.access(path, os.R_OK)  # what the payload makes need not be
        attributes = {name: os.getxattr(path, name) for name in os.listxattr(path)} if open_to_us else {}
        content = path.read_bytes() if open_to_us else b""
        times = (seen.st_mtime_ns, seen.st_ctime_ns)
        found[str(path.relative_to(place))] = (seen.st_mode, seen.st_uid, seen.st_gid, seen.st_nlink, *times, content, attributes)
    return found


@contextlib.contextmanager
def _shared(directory: Path) -> Iterator[Scene]:
    """A directory of the host in which everybody may change everything, mounted read-only."""
    place = directory / "shared"
    (place / "directory").mkdir(parents=True)
    for name in ("file", "other"):
        (place / name).write_text("before")
        (place / name).chmod(0o666)
    with contextlib.suppress(OSError):  # not every file system has them
        os.setxattr(place / "file", "user.before", b"x")
    for path in (place, place / "directory"):
        path.chmod(0o777)
    before = state_of(place)

    def check(result: Any) -> str:
        now = state_of(place)
        changed = sorted(name for name in now | before if now.get(name) != before.get(name))
        return f"the host's directory has changed: {changed}" if changed else ""

    try:
        yield Scene(arguments=[PLACE, str(place)], mounts=[(str(place), PLACE, False)], check=check)
    finally:
        with contextlib.suppress(OSError):  # it may belong to somebody whose directories we cannot empty
            os.rmdir(place / "made")


@contextlib.contextmanager
def _running(directory: Path) -> Iterator[Scene]:
    place = directory / "programs"
    place.mkdir()
    place.chmod(0o755)
    program = Path(shutil.copy2(directory.parent / "payloads" / "probe", place / "program"))
    program.chmod(0o777)
    yield Scene(arguments=[f"{PLACE}/program", str(program)], mounts=[(str(place), PLACE, False)])


@contextlib.contextmanager
def _mounted(place: Path, *words: str) -> Iterator[None]:
    """A small file system of the host at `place`."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=32,mode=0777", *words, "none", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@contextlib.contextmanager
def _submount(directory: Path) -> Iterator[Scene]:
    """A mount of the host below the directory that is mounted read-only."""
    place = directory / "shared"
    below = place / "below"
    below.mkdir(parents=True)
    place.chmod(0o755)

    with _mounted(below):
        (below / "file").write_text("before")
        (below / "file").chmod(0o666)
        yield Scene(arguments=[f"{PLACE}/below", str(below)], mounts=[(str(place), PLACE, False)])


@contextlib.contextmanager
def _shared_mount(directory: Path) -> Iterator[Scene]:
    """A mount of the host whose peers get whatever is mounted on it."""
    place = directory / "shared"
    place.mkdir()
    place.chmod(0o755)

    def check(result: Any) -> str:
        found = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"{place}/point" in line]
        for _ in found:
            subprocess.run(["umount", "-l", f"{place}/point"], check=True)
        return f"the host has the mount {found[0]}" if found else ""

    with _mounted(place, "--make-shared"):
        (place / "point").mkdir(mode=0o777)
        yield Scene(arguments=[PLACE], mounts=[(str(place), PLACE, True)], check=check)


@contextlib.contextmanager
def _loop(directory: Path) -> Iterator[Scene]:
    """A mounted directory with a node of a block device, which everybody may read: the first loop device."""
    place = directory / "nodes"
    place.mkdir()
    place.chmod(0o755)
    os.mknod(place / "node", stat.S_IFBLK | 0o600, os.makedev(7, 0))
    os.chmod(place / "node", 0o644)
    yield Scene(arguments=[f"{PLACE}/node", str(place / "node")], mounts=[(str(place), PLACE, False)])


def attack(
    name: str, title: str, command: str, held_by: tuple[str, ...], claims: tuple[str, ...], scene: Any = None, **more: Any
) -> Attack:
    return Attack(id=name, title=title, claims=claims, command=f"probe {command}", layers=held_by, scene=scene, **more)


def change(way: str, title: str, held_by: tuple[str, ...] = HELD, claims: tuple[str, ...] = CHANGE, **more: Any) -> Attack:
    return attack(f"NR11-{way}", f"{title} of a read-only mount", f"file-change {way}", held_by, claims, _shared, **more)


READING = [
    attack("NR09-path", "a file of the host by its path", "file-read plain", SEEN, READ, _secret),
    attack("NR09-own-root", "a file of the host by /proc/self/root", "file-read self", SEEN, READ, _secret),
    attack("NR09-init-root", "a file of the host by /proc/1/root", "file-read 1", (*SEEN, "init not dumpable"), READ, _secret),
    attack("NR09-walk", "a file of the host by 64 steps upwards", "file-read walk", SEEN, (*READ, *OUT), _secret),
    attack(
        "NR09-link",
        "a file of the host by a link of its own",
        "file-read link",
        (*SEEN, "links are not followed"),
        READ,
        _secret,
    ),
    attack("NR09-names", "the names in a directory of the host", "file-list", ("mounts",), READ, _directory),
    attack("NR09-execute", "a program of the host is executed", "file-execute", SEEN, READ, _program),
    attack("NR09-fifo", "a fifo of the host is written to", "file-fifo", SEEN, (*READ, *CHANGE), _fifo),
]
ROOTS = [
    attack("NR03-mountinfo", "a mount that nobody planned", "file-mountinfo", ("old root detached",), OUT),
    attack(
        "NR03-old-root",
        "a file below the old root",
        "file-read plain",
        ("old root detached", "landlock"),
        (*OUT, *READ),
        functools.partial(_secret, under="/.old"),
    ),
]
CHANGES = [
    attack("NR11-sweep", "anything that could be changed", "file-sweep", ("read-only", "own host id"), CHANGE, needs=("root",)),
    change("append", "a file"),
    change("truncate", "a file is cut off:"),
    change("reopen", "a descriptor is opened again for writing: a file", claims=(*CHANGE, "SEC-PR-03")),
    change("create", "a new file"),
    change("tmpfile", "a file without a name gets one: a directory"),
    change("mkdir", "a new directory"),
    change("symlink", "a new link"),
    change("socket", "a new socket", profiles=("default", "python", "node", "native", "compile")),
    change("mkfifo", "a new fifo"),
    change("link", "another name of a file"),
    change("unlink", "a file is removed:"),
    change("rmdir", "a directory is removed:"),
    change("rename", "a file is renamed:"),
    change("exchange", "two files change places:"),
    change("chmod", "the mode of a file", ("read-only", "own host id"), needs=OWN_ID),
    change("chown", "the group of a file", ("read-only", "own host id"), needs=OWN_ID),
    change("flags", "the flags of a file", ("read-only", "own host id"), needs=OWN_ID),
    change("times", "the times of a file", ("read-only",)),
    change("xattr", "a new attribute of a file", ("read-only",)),
    change("remove-xattr", "an attribute of a file is removed:", ("read-only",)),
    attack("PS17-self", "the program that it runs", "file-self", HELD, (*CHANGE, "SEC-PR-03"), _running),
    attack(
        "NR11-submount",
        "a file in a mount of the host below a read-only one",
        "file-change append",
        ("read-only submounts", "landlock"),
        CHANGE,
        _submount,
        needs=("root",),
    ),
    attack(
        "NR05-remount",
        "a read-only mount of the host is mounted writable",
        "file-remount",
        ("filter", "capability sets", "landlock", "user namespaces"),
        CHANGE,
        _shared,
        needs=("root",),
    ),
    attack(
        "NR06-propagation",
        "a mount on a shared mount of the host",
        "file-over",
        ("filter", "capability sets", "landlock", "user namespaces", "private propagation"),
        ("SEC-FS-07",),
        _shared_mount,
        needs=("root",),
        bwrap=False,
    ),
]
DEVICES = [
    attack(
        "NR07-host",
        "a node in the host's /dev",
        f"file-read plain {HOST}/dev/zero",
        ("mounts", "nodev", "landlock"),
        ("SEC-FS-04", *READ),
    ),
    attack(
        "NR07-character",
        "a device node of its own",
        "file-node c 1 1",
        ("filter", "landlock", "capability sets", "user namespaces"),
        ("SEC-FS-04",),
        needs=("root",),
    ),
    attack(
        "NR07-block",
        "a node of a disk",
        "file-node b 7 0",
        ("filter", "landlock", "capability sets", "user namespaces"),
        ("SEC-FS-04",),
        needs=("root",),
    ),
    attack("NR20-whiteout", "a whiteout, which is a device", "file-node c 0 0", ("filter", "landlock"), ("SEC-FS-04",)),
    attack(
        "NR07-disk",
        "a node of a block device in a mount",
        "file-block",
        ("nodev",),
        ("SEC-FS-04", *READ),
        _loop,
        needs=("root", "device files"),
    ),
    attack("NR07-times", "times of a device that the host has too", "file-device times", ("read-only devices",), CHANGE),
    attack(
        "NR07-mode",
        "the mode of a device that the host has too",
        "file-device mode",
        ("read-only devices", "own host id"),
        CHANGE,
        needs=("root",),
    ),
    attack(
        "NR07-entropy",
        "the host's random numbers are given credit",
        "file-device random",
        ("capability sets", "user namespaces"),
        ("SEC-FS-04",),
        needs=("root",),
    ),
]
ATTACKS = [*READING, *ROOTS, *CHANGES, *DEVICES]
