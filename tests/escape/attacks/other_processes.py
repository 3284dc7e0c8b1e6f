"""Calls about other processes: siblings, and init, which has the payload's own ids (threat model SF15, SF18)."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sandbox import Exited
from tests.escape import layers, rights
from tests.escape.attacks.privileges import private
from tests.escape.layers import Layer
from tests.escape.model import Attack, Scene

assert rights  # its layers are used below

SY = ("SEC-SY-03",)
INIT = ("SEC-PR-02",)
HOST = ("capability sets", "user namespaces")

layers.register(
    Layer(
        name="init not dumpable",
        patches=(("launcher/init.py", "process.prctl(process.PR_SET_DUMPABLE, 0)", "process.prctl(process.PR_SET_DUMPABLE, 1)"),),
    ),
    Layer(
        name="stops are no ends",
        patches=(("launcher/init.py", "if pid == child and not os.WIFSTOPPED(status):", "if pid == child:"),),
    ),
)


@contextlib.contextmanager
def _traced(directory: Path) -> Iterator[Scene]:
    """A profile in which programs may be traced, as debuggers want it. A traced program that is stopped has not ended."""

    def check(result: Any) -> str:
        return f"a stopped program is said to have ended: {result.exit}" if isinstance(result.exit, Exited) else ""

    rule = {"syscalls": ["ptrace"], "action": "allow", "why": "an attack"}
    profile = {"seccomp": {"rules": [rule]}, "why": {"seccomp.rules": "an attack"}}
    yield Scene(profile=profile, options={"limits": {"wall": "300ms"}}, check=check)


def attack(name: str, title: str, command: str, held_by: tuple[str, ...] = ("filter",), **more: Any) -> Attack:
    return Attack(id=name, title=title, command=f"probe {command}", layers=held_by, **{"claims": SY, **more})


ATTACKS = [
    attack("SF15-ptrace", "ptrace of a sibling", "ptrace"),
    attack("SF15-read", "memory of a sibling is read", "vm r"),
    attack("SF15-write", "memory of a sibling is changed", "vm w"),
    attack("SF15-descriptor", "a descriptor of a sibling is taken", "pidfd-getfd"),
    attack("SF15-kcmp", "kernel objects of a sibling are compared", "kcmp"),
    attack(
        "SF15-madvise",
        "memory of a sibling is thrown out",
        "madvise",
        ("filter", "capability sets", "user namespaces"),
        needs=("root",),
    ),
    attack("SF15-mrelease", "memory of a sibling is reaped", "mrelease"),
    attack(
        "SF15-traceme",
        "init as tracer takes a stop for the end",
        "traceme",
        ("stops are no ends",),
        claims=("SEC-RS-01",),
        scene=_traced,
        profiles=("default", "native"),
        bwrap=False,
    ),
    attack("SF18-prlimit", "init gets other limits", "init prlimit", claims=INIT),
    attack("SF18-affinity", "init is bound to one CPU", "init affinity", claims=INIT),
    attack("SF18-scheduler", "init runs when nobody else does", "init scheduler", claims=INIT),
    attack("SF18-attributes", "the same by sched_setattr", "init attributes", claims=INIT),
    attack("SF18-parameters", "scheduling parameters of init", "init parameters", claims=INIT),
    attack("SF18-nice", "init becomes nice", "init nice", claims=INIT),
    attack("SF18-nice-user", "everything of this user becomes nice", "init nice-user", claims=INIT),
    attack("SF18-ioprio", "init reads and writes last", "init ioprio", claims=INIT),
    attack("SF18-robust-list", "an address in init's memory", "init robust-list", ("init not dumpable",), claims=INIT),
    attack("SF18-better", "a nice value that is better", "better", HOST, claims=("SEC-PR-04",), needs=("root",)),
    attack(
        "NI12-lease",
        "writers of the host wait for a lease",
        "lease",
        ("own host id",),
        claims=("SEC-ID-02", "SEC-FS-02"),
        scene=functools.partial(private, mode=0o644),
        needs=("newuidmap",),
    ),
]
