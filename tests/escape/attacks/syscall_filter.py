"""Ways round the list of system calls: other entries, other numbers, hidden flags, other moments (threat model SF)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sandbox.model.plan import Filters, Plan
from tests.escape import layers, rights
from tests.escape.layers import Layer
from tests.escape.model import Attack, Scene

assert rights  # its layers are used below

SY = ("SEC-SY-03",)
ABI = ("SEC-SY-02",)
WIDE = ("SEC-SY-04",)
FILTER = ("filter",)
USER_NAMESPACE = ("filter", "user namespace limit")
CAPABLE = ("filter", "capability sets")
NAMESPACES = {"mount": 0x20000, "cgroup": 0x2000000, "uts": 0x4000000, "ipc": 0x8000000, "pid": 0x20000000, "net": 0x40000000}
_KILL, _TRAP = (0x80000000).to_bytes(4, "little"), (0x00030000).to_bytes(4, "little")


def _trap(plan: Plan) -> Plan:
    """Entries of other architectures get a signal that a program can catch."""
    filters = plan.filters
    changed = Filters(
        main=filters.main.replace(_KILL, _TRAP),
        notify=filters.notify.replace(_KILL, _TRAP),
        kill=filters.kill,
        names=filters.names,
    )
    return plan.replace(filters=changed)


def _unrecorded(plan: Plan) -> Plan:
    filters = plan.filters
    return plan.replace(filters=Filters(main=filters.main, notify=b"", kill=(), names=()))


layers.register(Layer(name="filter kills", plan=_trap), Layer(name="reported calls", plan=_unrecorded))


@contextlib.contextmanager
def _same_answers(directory: Path) -> Iterator[Scene]:
    """A profile whose default answer is the one of its refusals: libraries have dropped such rules (SF12)."""
    yield Scene(profile={"seccomp": {"default_errno": "EPERM"}, "why": {"seccomp.default_errno": "an attack"}})


@contextlib.contextmanager
def _may_trace(directory: Path) -> Iterator[Scene]:
    rule = {"syscalls": ["ptrace"], "action": "allow", "why": "an attack"}
    yield Scene(profile={"seccomp": {"rules": [rule]}, "why": {"seccomp.rules": "an attack"}})


@contextlib.contextmanager
def _recorded(directory: Path) -> Iterator[Scene]:
    def check(result: Any) -> str:
        told = [item.key for item in result.evidence if item.source == "seccomp"]
        return "" if "keyctl" in told else f"keyctl is not in the evidence: {told}"

    yield Scene(check=check)


def attack(name: str, title: str, command: str, held_by: tuple[str, ...], claims: tuple[str, ...] = SY, **more: Any) -> Attack:
    return Attack(id=name, title=title, claims=claims, command=f"probe {command}", layers=held_by, **more)


ENTRIES = [
    attack("SF01-int80", "the i386 entry by int 0x80", "int80", FILTER, ABI),
    attack("SF01-int80-unshare", "unshare by the i386 entry", "int80-unshare", USER_NAMESPACE, ABI),
    attack("SF01-int80-keyctl", "keyctl by the i386 entry", "int80-keyctl", FILTER, ABI),
    attack("SF02-x32", "refused calls by their x32 numbers", "x32", FILTER, ABI),
    attack("SF02-x32-low", "the x32 numbers without their bit", "x32-low", FILTER, ABI),
    attack("SF03-elf32", "a 32-bit program", "elf32", FILTER, ABI, outcomes=("denied_syscall", "SIGSYS")),
    attack("SF09-socketcall", "socketcall: the family lies behind a pointer", "int80-socketcall", FILTER, (*ABI, "SEC-NW-02")),
    attack(
        "SF12-same-answer",
        "socketcall where the default answer is that of the refusals",
        "int80-socketcall",
        FILTER,
        ABI,
        scene=_same_answers,
    ),
    attack("SF22-handler", "a handler for SIGSYS outlives the filter", "handler", ("filter kills",), ABI),
]
NEW_NAMESPACES = [
    attack(
        "SF05-clone3",
        "clone3 hides the flags of new namespaces behind a pointer",
        "clone3",
        USER_NAMESPACE,
        ("SEC-SY-05", "SEC-ID-04"),
    ),
    attack("SF06-unshare-user", "a nested user namespace", "unshare 0x10000000", USER_NAMESPACE, ("SEC-ID-04", *SY)),
    attack("SF06-clone-user", "a child in a user namespace", "clone 0x10000000", USER_NAMESPACE, ("SEC-ID-04", *SY)),
    attack("SF06-unshare-user-all", "a user namespace with all others", "unshare 0x7e020000", USER_NAMESPACE, ("SEC-ID-04",)),
    attack("SF06-nested-root", "root in a nested user namespace", "nested", USER_NAMESPACE, ("SEC-ID-04", "SEC-ID-01")),
    attack("SF06-unshare-time", "another clock: a time namespace", "unshare 0x80", CAPABLE),
    *(
        attack(f"SF06-unshare-{kind}", f"a new {kind} namespace", f"unshare {flag:#x}", CAPABLE)
        for kind, flag in NAMESPACES.items()
    ),
    *(
        attack(f"SF06-clone-{kind}", f"a child in a {kind} namespace", f"clone {flag:#x}", CAPABLE)
        for kind, flag in NAMESPACES.items()
    ),
    *(
        attack(f"SF06-setns-{kind}", f"setns to its own {kind} namespace", f"setns {kind}", CAPABLE)
        for kind in ("net", "uts", "ipc")
    ),
]
ARGUMENTS = [
    attack("SF10-number", "a call by a number with high bits", "wide-number", FILTER, WIDE),
    attack("SF10-personality", "personality with high bits", "wide-personality", FILTER, WIDE),
    attack("SF10-socket", "a family with high bits", "wide-socket", FILTER, (*WIDE, "SEC-NW-02")),
    attack("SF10-prctl", "PR_SET_MM with high bits", "wide-prctl", FILTER, WIDE),
    attack("SF10-prlimit", "a pid with high bits", "wide-prlimit", FILTER, WIDE),
    attack("SF10-listener", "SECCOMP_FILTER_FLAG_NEW_LISTENER with high bits", "listener 0 0x10000000008", FILTER, WIDE),
    attack("SF17-no-random", "personality: no random layout of memory", "personality 0x0040000", FILTER),
    attack("SF17-read-executes", "personality: everything readable can be executed", "personality 0x0400000", FILTER),
    attack("SF17-memory-map", "PR_SET_MM: looks like another program", "memory-map", FILTER),
    attack("SF17-sched-core", "PR_SCHED_CORE: how the host schedules", "sched-core", FILTER),
    attack("SF20-unnamed", "a call that no rule names", "unnamed", FILTER, ("SEC-SY-01",)),
    attack("SF20-newer", "calls newer than this package", "newer", FILTER, ("SEC-SY-01",)),
]
MOMENTS = [
    attack(
        "SF16-rewrite", "a tracer puts another call in place", "rewrite", FILTER, scene=_may_trace, profiles=("default", "native")
    ),
    attack("SF17-own-filter", "a filter of its own that allows all", "own-filter", FILTER, ("SEC-SY-01",)),
    attack("SF17-listener", "a listener that answers in place of ours", "listener 0 8", FILTER, ("SEC-SY-05",)),
    attack("SF17-listener-late", "a listener, when ours is exhausted", "listener 70 8", FILTER, ("SEC-SY-05",)),
    attack("SF21-tasks", "a thread, a child or an exec without the filter", "tasks", FILTER, ("SEC-SY-01",)),
    attack("SF23-pointers", "the path changes while the launcher looks", "pointers", (*CAPABLE, "landlock"), ("SEC-SY-05",)),
    attack("SF23-signals", "signals while the launcher is asked", "signals", FILTER),
    attack("SF23-exhaust", "more refused calls than are recorded", "exhaust", FILTER),
    attack(
        "SF24-record",
        "a refused call leaves no record",
        "call keyctl-join",
        ("reported calls",),
        scene=_recorded,
        bwrap=False,
    ),
]
ATTACKS = [*ENTRIES, *NEW_NAMESPACES, *ARGUMENTS, *MOMENTS]
