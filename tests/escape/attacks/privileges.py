"""Ids and capabilities, and files that would give some (threat model PV, IN13, NR16, NR18)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.escape import rights
from tests.escape.attacks.set_id_bits import PLACE, writable
from tests.escape.model import Attack, Scene

assert rights  # its layers are used below

OWN_ID = ("newuidmap",)  # or root: without, the payload is the caller on the host
IDENTITY = ("SEC-ID-01",)
CAPABILITY = ("SEC-ID-03",)
SETS = "capabilities CapInh CapPrm CapEff CapBnd CapAmb"
_VFS_CAP = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)  # version 2, effective: CAP_NET_RAW
_CAP_NET_RAW = 13


def _program_of(directory: Path) -> Path:
    """A copy of the attack program, to be given rights."""
    place = directory / "rights"
    place.mkdir()
    place.chmod(0o755)
    return Path(shutil.copy2(directory.parent / "payloads" / "probe", place / "program"))


def _mounted(program: Path) -> Scene:
    return Scene(
        arguments=[f"{PLACE}/{program.name}", str(program)],
        mounts=[(str(program.parent), PLACE, False)],
    )


@contextlib.contextmanager
def _set_uid(directory: Path) -> Iterator[Scene]:
    program = _program_of(directory)
    program.chmod(0o6755)
    yield _mounted(program)


@contextlib.contextmanager
def _capable(directory: Path) -> Iterator[Scene]:
    program = _program_of(directory)
    os.setxattr(program, "security.capability", _VFS_CAP)
    yield _mounted(program)


@contextlib.contextmanager
def private(directory: Path, mode: int = 0o600) -> Iterator[Scene]:
    """A directory that everybody may read, with a file in it that only the caller may."""
    place = directory / "shared"
    place.mkdir()
    place.chmod(0o755)
    path = place / "token"
    path.write_text("token-of-the-caller")
    path.chmod(mode)
    yield Scene(arguments=[f"{PLACE}/token", str(path)], mounts=[(str(place), PLACE, False)])


@contextlib.contextmanager
def _owned(directory: Path) -> Iterator[Scene]:
    """A directory in which the payload makes a file: it must not be the caller's."""
    place = directory / "shared"
    place.mkdir()
    place.chmod(0o777)
    made = place / "made"

    def check(result: Any) -> str:
        owner = made.stat().st_uid if made.exists() else -1
        return f"the file belongs to user {owner}" if owner in {0, os.getuid()} else ""

    yield Scene(arguments=[f"{PLACE}/made", str(made)], mounts=[(str(place), PLACE, True)], check=check)


@contextlib.contextmanager
def _ambient(directory: Path) -> Iterator[Scene]:
    """A caller with an ambient capability, which every program that it starts has too."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = struct.pack("=Ii", 0x20080522, 0)
    before = ctypes.create_string_buffer(24)
    libc.syscall(125 if os.uname().machine == "x86_64" else 90, header, before)  # capget
    words = list(struct.unpack("=6I", before.raw))
    words[2] |= 1 << _CAP_NET_RAW
    capset = 126 if os.uname().machine == "x86_64" else 91
    libc.syscall(capset, header, struct.pack("=6I", *words))
    if libc.prctl(47, 2, _CAP_NET_RAW, 0, 0):  # PR_CAP_AMBIENT_RAISE
        raise OSError(ctypes.get_errno(), "no ambient capability")
    try:
        yield Scene(profile={"identity": {"hostname": "ambient"}})  # a launcher of its own, started now
    finally:
        libc.prctl(47, 4, 0, 0, 0)
        libc.syscall(capset, header, before.raw)


def attack(
    name: str, title: str, command: str, held_by: tuple[str, ...], claims: tuple[str, ...] = IDENTITY, **more: Any
) -> Attack:
    return Attack(id=name, title=title, claims=claims, command=f"probe {command}", layers=held_by, **more)


CAPABILITIES = [
    attack("PV01-sets", "a capability in any of the five sets", SETS, ("capability sets",), CAPABILITY),
    attack("PV01-bounding", "a bounding set that lets some come back", SETS, ("capabilities",), CAPABILITY),
    attack("PV01-raise", "a capability is raised", "raise", ("capability sets",), CAPABILITY),
    attack("PV01-securebits", "the securebits are cleared", "securebits", ("capability sets", "securebits"), CAPABILITY),
    attack(
        "PV02-root-inside",
        "root inside has all capabilities after exec",
        "capabilities CapPrm CapEff",
        ("not root inside", "capabilities"),
        CAPABILITY,
    ),
    attack(
        "IN13-ambient",
        "an ambient capability of the caller",
        "capabilities CapInh CapPrm CapEff CapAmb",
        ("user namespaces", "capabilities"),
        (*CAPABILITY, "SEC-PR-04"),
        scene=_ambient,
        needs=("root",),
    ),
]
IDS = [
    attack("PV01-become-0", "user or group 0 again", "become 0", ("one id inside", "capability sets"), needs=OWN_ID),
    attack("PV01-chown", "a file given to user 0", "chown", ("one id inside", "capability sets"), needs=OWN_ID),
    attack(
        "PV06-drop-groups",
        "a group is dropped that has less than others",
        "drop-groups",
        ("capability sets",),
        ("SEC-ID-03",),
        needs=OWN_ID,
    ),
    attack("PV02-ids-inside", "an id 0 inside", "ids-inside", ("not root inside",)),
    attack(
        "PV03-core-pattern",
        "host root writes kernel settings without a capability",
        "host-root /proc/sys/kernel/core_pattern",
        ("own host id", "read-only proc", "read-only paths", "landlock"),
        (*IDENTITY, "SEC-FS-05"),
        needs=("root",),
    ),
    attack(
        "PV03-more-namespaces",
        "the limit of user namespaces is raised",
        "more-namespaces",
        ("capability sets", "read-only proc", "read-only paths", "landlock"),
        ("SEC-ID-04", "SEC-FS-05"),
    ),
    attack(
        "PV03-owner",
        "its files are the caller's",
        "create",
        ("own host id",),
        (*IDENTITY, "SEC-ID-02"),
        scene=_owned,
        needs=OWN_ID,
    ),
    attack(
        "PV03-private",
        "a file that only the caller may read",
        "read-private",
        ("own host id",),
        ("SEC-ID-02",),
        scene=private,
        needs=OWN_ID,
    ),
]
FILES = [
    attack("PV05-no-new-privs", "no_new_privs is not set, or cleared", "new-privileges", ("no_new_privs",), CAPABILITY),
    attack(
        "NR16-set-uid",
        "a set-uid program of the caller",
        "exec",
        ("nosuid", "no_new_privs", "one id inside"),
        ("SEC-FS-04", "SEC-ID-01"),
        scene=_set_uid,
        needs=("set-uid files", *OWN_ID),
    ),
    attack(
        "NR16-file-capability",
        "a program with file capabilities",
        "exec",
        ("nosuid", "no_new_privs", "one id inside", "capabilities"),
        ("SEC-FS-04", "SEC-ID-03"),
        scene=_capable,
        needs=("root", "set-uid files"),
    ),
    attack("NR17-file-capability", "a file that gives capabilities", "file-capability", ("capability sets",), ("SEC-FS-04",)),
    attack(
        "NR17-host-file-capability",
        "a file of the host that gives capabilities",
        "file-capability",
        ("capability sets", "one id inside"),
        ("SEC-FS-04",),
        scene=writable,
        needs=OWN_ID,
    ),
]
ATTACKS = [*CAPABILITIES, *IDS, *FILES]
