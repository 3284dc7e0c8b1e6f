"""Interfaces of the kernel that are files: /proc, /sys, control groups (threat model PS, NR05)."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.escape import layers, rights
from tests.escape.attacks.host_objects import _memory
from tests.escape.layers import HOST, Layer
from tests.escape.model import Attack, Scene

assert rights  # its layers are used below

FS = ("SEC-FS-05",)
MASKS = ("masks",)
OWN = "own host id"
SYS = ("read-only proc", "read-only paths", "landlock")
PROC = ("read-only proc", "landlock")
REAL = ("capability sets", "user namespaces")  # what the kernel gives to root of the host only
MOUNTING = ("filter", "capability sets", "landlock")
ROOT = ("root",)
NOTES = "/sys/kernel/notes"

layers.register(
    Layer(name="pids only", plan=lambda plan: plan.replace(proc_pids=False)),
    Layer(
        name="cgroup namespace",
        patches=(
            (
                "launcher/init.py",
                "        namespaces.unshare(namespaces.CLONE_NEWCGROUP | extra)\n",
                "        if extra:\n            namespaces.unshare(extra)\n",
            ),
        ),
    ),
)


@contextlib.contextmanager
def _pids_only(directory: Path) -> Iterator[Scene]:
    yield Scene(profile={"paths": {"proc": "pids"}})


@contextlib.contextmanager
def _segment(directory: Path) -> Iterator[Scene]:
    """A System V segment of the host, found by its key in the table that everybody can read."""
    with _memory(directory) as scene:
        yield Scene(arguments=["/proc/sysvipc/shm", f"{scene.arguments[0]} "])


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[Scene]:
    """A lock of an open file description: it belongs to no process, so no pid namespace hides it."""
    start = 1 + secrets.randbelow(1 << 40)
    with open(directory / "locked", "w") as file:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, start, 1, 0))
        yield Scene(arguments=["/proc/locks", f" {start} {start}"])


def attack(name: str, title: str, command: str, held_by: tuple[str, ...], claims: tuple[str, ...] = FS, **more: Any) -> Attack:
    return Attack(id=name, title=title, claims=claims, command=f"probe {command}", layers=held_by, **more)


READING = [
    attack("PS10-keys", "keys of its user", "proc-read /proc/keys", (*MASKS, OWN), needs=ROOT),
    attack("PS10-users", "how many keys the users of the host have", "proc-read /proc/key-users", (*MASKS, OWN), needs=ROOT),
    attack("PS09-interrupts", "interrupts, which tell of keystrokes", "proc-read /proc/interrupts", MASKS),
    attack("PS09-timers", "timers of all processes", "proc-read /proc/timer_list", (*MASKS, OWN, *REAL), needs=ROOT),
    attack("PS08-symbols", "the names of the kernel's functions", "proc-read /proc/kallsyms", MASKS),
    attack("PS08-layout", "the layout of physical memory", "proc-read /proc/iomem /proc/ioports", MASKS),
    attack("PS08-core", "the kernel's memory", "proc-read /proc/kcore", (*MASKS, OWN, *REAL), needs=ROOT),
    attack("PS08-log", "the kernel's messages", "proc-read /proc/kmsg", (*MASKS, OWN, *REAL), needs=ROOT),
    attack(
        "PS08-allocations",
        "what the kernel has allocated",
        "proc-read /proc/slabinfo /proc/vmallocinfo /proc/pagetypeinfo",
        (*MASKS, OWN),
        needs=ROOT,
    ),
    attack("PS08-frames", "what every page is used for", "proc-read /proc/kpageflags", (*MASKS, OWN), needs=ROOT),
    attack("PS08-pagemap", "physical addresses of its own pages", "proc-pagemap", REAL, needs=ROOT),
    attack("PS08-stack", "its own stack in the kernel", "proc-stack", REAL, needs=ROOT),
    attack("PS14-config", "how the kernel was built", "proc-read /proc/config.gz", MASKS),
    attack(
        "PS14-machine",
        "the host's processors and memory, where only processes are shown",
        "proc-read /proc/cpuinfo /proc/meminfo /proc/cmdline",
        ("pids only",),
        scene=_pids_only,
    ),
    attack("PS11-cgroup", "names of the host's control groups", "proc-cgroup", ("cgroup namespace",), needs=("cgroup",)),
    attack("PS12-segment", "a table of the host's shared memory", "proc-line", ("ipc namespace",), scene=_segment),
    attack("PS12-locks", "locks that the host has on its files", "proc-line", MASKS, scene=_locked, bwrap=False),
    attack(
        "PS13-sys",
        "the host's /sys",
        f"proc-read {HOST}/sys/kernel/notes /sys/kernel/notes",
        ("mounts", "landlock"),
        (*FS, "SEC-FS-01"),
    ),
]
WRITING = [
    attack("PS02-sysrq", "the keys that stop the machine", "proc-write /proc/sysrq-trigger", (OWN, *SYS), needs=ROOT),
    attack("PS02-irq", "who serves interrupts", "proc-same /proc/irq/default_smp_affinity", (OWN, *SYS), needs=ROOT),
    attack("PS02-mtrr", "how memory is cached", "proc-write /proc/mtrr", (OWN, *REAL, *PROC), needs=ROOT),
    attack("PS06-hostname", "the host's name by its file", "proc-same /proc/sys/kernel/hostname", (OWN, *SYS), needs=ROOT),
    attack("PS06-caches", "the host's caches are dropped", "proc-write /proc/sys/vm/drop_caches", (OWN, *SYS), needs=ROOT),
    attack("PS06-net", "settings of its network", "proc-same /proc/sys/net/ipv4/ip_forward", ("capability sets", *SYS)),
    attack("PS06-last-pid", "which pid comes next", "proc-same /proc/sys/kernel/ns_last_pid", ("capability sets", *SYS)),
    attack("PS06-all", "any setting of the kernel", "proc-sweep /proc/sys", SYS),
    attack("PS07-all", "anything about itself", "proc-sweep /proc/self", PROC),
    attack("PS06-pressure", "the kernel watches pressure of the host for it", "proc-pressure", PROC),
    attack("PS07-memory", "its own memory without protection", "proc-memory", PROC),
    attack("PS07-filter", "what its core dumps contain", "proc-same /proc/self/coredump_filter", PROC),
    attack("PS07-autogroup", "the weight of its session", "proc-write /proc/self/autogroup 0", PROC),
    attack("PS07-references", "which of its pages were used", "proc-write /proc/self/clear_refs 1", PROC),
]
UNCOVERING = [
    attack("NR05-mask", "a mask is taken away", "proc-mask /proc/interrupts", MOUNTING),
    attack("PS03-cgroup", "control groups of its own", "fsmount cgroup2", ("filter", "capability sets")),
    attack("PS05-formats", "formats of programs, by a mount of its own", "fsmount binfmt_misc", ("filter", "capability sets")),
    attack("PS03-debug", "the kernel's debugging files", "fsmount debugfs", ("filter", *REAL), needs=ROOT),
    attack("PS03-trace", "the kernel's tracing files", "fsmount tracefs", ("filter", *REAL), needs=ROOT),
    attack(
        "PS04-limits",
        "limits of the host's control groups",
        f"proc-write {HOST}/sys/fs/cgroup/memory/memory.limit_in_bytes",
        ("mounts", "read-only", "landlock", OWN),
        (*FS, "SEC-FS-02"),
        needs=("root", "cgroup1"),
    ),
    attack(
        "PS03-release",
        "the program that the host runs for an empty control group",
        f"proc-write {HOST}/sys/fs/cgroup/memory/release_agent",
        ("mounts", "read-only", "landlock", OWN),
        (*FS, "SEC-FS-02"),
        needs=("root", "cgroup1"),
    ),
]
ATTACKS = [*READING, *WRITING, *UNCOVERING]
