"""The calls of the groups "dangerous" and "quiet": each, where the kernel would do it, and all of them at once (SF)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sandbox.policy.seccomp import tables
from tests.escape import rights
from tests.escape.model import Attack, Scene

assert rights  # its layers are used below

ROOT = Path(__file__).resolve().parents[3]
SY = ("SEC-SY-03",)
FILTER = ("filter",)
CAPABLE = ("filter", "capability sets")
MOUNTING = ("filter", "capability sets", "landlock")
# What the kernel gives to root of the host only: not to root of a user namespace.
HOST = {"held_by": ("filter", "capability sets", "user namespaces"), "needs": ("root",)}


def _calls_of(group: str) -> str:
    """name:number of every call that the group refuses whatever its arguments are."""
    rules = tomllib.loads((ROOT / "profiles" / "syscalls" / f"{group}.toml").read_text())["rules"]
    known = tables.numbers(os.uname().machine)
    conditional = {name for rule in rules if rule.get("args") for name in rule["syscalls"]}
    names = [name for rule in rules for name in rule["syscalls"] if name in known and name not in conditional]
    return " ".join(f"{name}:{known[name]}" for name in names)


def attack(
    name: str, title: str, command: str, held_by: tuple[str, ...] = FILTER, claims: tuple[str, ...] = SY, **more: Any
) -> Attack:
    return Attack(id=name, title=title, claims=claims, command=f"probe {command}", layers=held_by, **more)


@contextlib.contextmanager
def _handle(directory: Path) -> Iterator[Scene]:
    """The handle of a file that is not mounted inside, and lies in a file system that is."""
    path = directory / "token"
    path.write_text("token-of-the-host")
    path.chmod(0o600)
    buffer = (ctypes.c_ubyte * 136)()
    ctypes.memmove(buffer, (128).to_bytes(4, "little"), 4)
    mount = ctypes.c_int()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.name_to_handle_at(-100, os.fsencode(path), buffer, ctypes.byref(mount), 0):
        raise OSError(ctypes.get_errno(), "name_to_handle_at")
    size = int.from_bytes(bytes(buffer[:4]), "little")
    kind = int.from_bytes(bytes(buffer[4:8]), "little")
    yield Scene(arguments=[str(kind), bytes(buffer[8 : 8 + size]).hex()])


LISTS = [
    attack("SF30-dangerous", 'every call of the group "dangerous"', f"refused {_calls_of('dangerous')}"),
    attack("SF30-quiet", 'every call of the group "quiet"', f"refused {_calls_of('quiet')}"),
]
TREE = [
    attack("SF31-mount", "a file system over /tmp", "mount", MOUNTING, (*SY, "SEC-FS-07")),
    attack("SF31-remount", "/proc writable again, by mount", "remount", MOUNTING, (*SY, "SEC-FS-05")),
    attack("SF31-umount", "what is mounted goes away", "umount", MOUNTING, (*SY, "SEC-FS-05")),
    attack("SF31-pivot-root", "another root by pivot_root", "pivot_root", MOUNTING, (*SY, "SEC-FS-03")),
    attack("SF31-chroot", "another root by chroot", "chroot", CAPABLE, (*SY, "SEC-FS-03")),
    attack("SF31-open-tree", "a copy of a mount", "open_tree", CAPABLE),
    attack("SF31-open-tree-attr", "a copy of a mount with other attributes", "open_tree_attr", CAPABLE),
    attack("SF31-move-mount", "a mount over another", "move_mount", MOUNTING),
    attack("SF31-fspick", "a mounted file system is configured again", "fspick", CAPABLE),
    attack("SF31-mount-setattr", "/proc writable again, by mount_setattr", "mount_setattr", MOUNTING, (*SY, "SEC-FS-05")),
    attack("SF31-fsmount", "a file system of its own, detached", "fsmount tmpfs", CAPABLE),
    attack("SF31-fsmount-proc", "a procfs without masks", "fsmount proc", CAPABLE, (*SY, "SEC-FS-05")),
]
KERNEL = [
    attack("SF32-bpf", "a map of the kernel's virtual machine", "bpf", **HOST | {"needs": ("root", "bpf for root only")}),
    attack("SF32-perf", "a performance counter", "perf"),
    attack("SF14-userfaultfd", "page faults of itself, by the system call", "call userfaultfd"),
    attack("SF32-fanotify", "a watch on file systems", "call fanotify_init"),
    attack("SF32-syslog", "the kernel's log", "call syslog", **HOST),
    attack("SF32-modify-ldt", "a segment of its own", "modify_ldt"),
    attack("SF32-remap", "remap_file_pages", "remap"),
    attack("SF32-memfd-secret", "memory that nobody can look into", "call memfd_secret"),
    attack("SF32-listmount", "every mount, without /proc", "listmount"),
    attack("SF32-lsm", "the security modules of the host", "lsm"),
    attack("SF32-sysfs", "the kernel's file systems by number", "call sysfs"),
    attack("SF32-set-mempolicy", "placement of memory", "call set_mempolicy"),
    attack("SF32-move-pages", "pages of processes", "call move_pages"),
    attack("SF07-io-uring", "a ring for calls that no filter sees", "ring"),
    attack("SF07-io-uring-socket", "a netlink socket through a ring", "ring-socket", FILTER, (*SY, "SEC-NW-02")),
    attack("SF07-io-uring-set-id", "a set-uid file through a ring", "ring-set-id", FILTER, (*SY, "SEC-FS-04")),
]
MACHINE = [
    attack("SF33-swapon", "swap on a file of its own", "call swapon", **HOST),
    attack("SF33-swapoff", "no swap for the host", "call swapoff", **HOST),
    attack("SF33-acct", "no more accounting", "call acct", **HOST),
    attack("SF33-vhangup", "terminals of others", "call vhangup", **HOST),
    attack("SF33-sethostname", "another host name", "call sethostname", CAPABLE),
    attack("SF33-setdomainname", "another domain name", "call setdomainname", CAPABLE),
    attack("SF33-reboot", "reboot", "call reboot", CAPABLE),
    attack("SF33-quotactl", "quotas of every file system are written back", "call quotactl"),
    attack("SF33-module", "a module of the kernel is removed", "call delete_module", **HOST),
    attack("SF33-iopl", "ports of the machine", "call iopl", **HOST),
    attack("SF33-settimeofday", "the kernel's time zone", "settimeofday", **HOST),
    attack("SF33-adjtimex", "the length of a tick", "adjtimex a", **HOST),
    attack("SF33-clock-adjtime", "the length of a tick, by clock", "adjtimex c", **HOST),
    attack("SF33-sync", "every file system of the host is written back", "call sync"),
    attack("SF33-syncfs", "one file system of the host is written back", "syncfs"),
]
HANDLES = [
    attack("SF34-handle", "a file by number: its handle", "handle"),
    attack(
        "SF34-shocker",
        "a file of the host by its handle (Shocker)",
        "shocker",
        ("filter", "capability sets", "user namespaces", "landlock"),
        (*SY, "SEC-FS-01"),
        scene=_handle,
        needs=("root", "file handles"),
    ),
]
KEYS = [
    attack("SF19-add-key", "a key in the kernel", "call add_key"),
    attack("SF19-request-key", "a search for a key", "call request_key"),
    attack("SF19-join", "a session keyring of its own", "call keyctl-join"),
]
ATTACKS = [*LISTS, *TREE, *KERNEL, *MACHINE, *HANDLES, *KEYS]
