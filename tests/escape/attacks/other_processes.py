"""Calls about other processes: siblings, and init, which has the payload's own ids (threat model SF15, SF18)."""

from __future__ import annotations

from typing import Any

from tests.escape import layers, rights
from tests.escape.layers import Layer
from tests.escape.model import Attack

assert rights  # its layers are used below

SY = ("SEC-SY-03",)
INIT = ("SEC-PR-02",)

layers.register(
    Layer(
        name="init not dumpable",
        patches=(("launcher/init.py", "process.prctl(process.PR_SET_DUMPABLE, 0)", "process.prctl(process.PR_SET_DUMPABLE, 1)"),),
    ),
)


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
    attack("SF18-prlimit", "init gets other limits", "init prlimit", claims=INIT),
    attack("SF18-affinity", "init is bound to one CPU", "init affinity", claims=INIT),
    attack("SF18-scheduler", "init runs when nobody else does", "init scheduler", claims=INIT),
    attack("SF18-attributes", "the same by sched_setattr", "init attributes", claims=INIT),
    attack("SF18-parameters", "scheduling parameters of init", "init parameters", claims=INIT),
    attack("SF18-nice", "init becomes nice", "init nice", claims=INIT),
    attack("SF18-nice-user", "everything of this user becomes nice", "init nice-user", claims=INIT),
    attack("SF18-ioprio", "init reads and writes last", "init ioprio", claims=INIT),
    attack("SF18-robust-list", "an address in init's memory", "init robust-list", ("init not dumpable",), claims=INIT),
]
