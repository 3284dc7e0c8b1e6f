"""Processes outside: init, the host's, those of another run (threat model PR01 to PR08, PS11, IN08, IN10)."""

from __future__ import annotations

import contextlib
import functools
import os
import resource
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sandbox import Exited, SandboxError
from sandbox.model.result import Signaled
from tests.escape import layers, rights
from tests.escape.layers import HOST
from tests.escape.model import Attack, Scene
from tests.escape.pids import BOTH, OWN, SIGNALS

assert rights, layers  # their layers are used below

INIT = ("SEC-PR-02",)
OUTSIDE = ("SEC-PR-01",)
OWN_ID = ("newuidmap",)  # or root: without, the payload is the caller on the host
DUMPABLE = "init not dumpable"
_STANDS = "import signal, sys; signal.signal(signal.SIGUSR1, signal.SIG_DFL); print(flush=True); sys.stdin.read()"


@contextlib.contextmanager
def _bystander(directory: Path, seen: Callable[[int], str] = lambda pid: "", where: tuple[str, ...] = ()) -> Iterator[Scene]:
    """A process of the caller, which SIGUSR1 would end."""
    command = [sys.executable, "-I", "-S", "-c", _STANDS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()

        def check(result: Any) -> str:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
            return f"a process of the host ended: {process.returncode}" if process.returncode else seen(process.pid)

        yield Scene(arguments=[str(process.pid), *where], check=check)
        process.kill()


def _limited(pid: int) -> str:
    limit = resource.prlimit(pid, resource.RLIMIT_CORE)
    return f"a process of the host has other limits: {limit}" if limit == (0, 0) else ""


def _niced(pid: int) -> str:
    nice = os.getpriority(os.PRIO_PROCESS, pid)
    return f"a process of the host is nice: {nice}" if nice == 19 != os.getpriority(os.PRIO_PROCESS, 0) else ""


def _init_died(error: SandboxError) -> str:
    return f"init is dead: {error}" if "without a report" in str(error) else ""


@contextlib.contextmanager
def _reported(directory: Path) -> Iterator[Scene]:
    """Whatever is done to init, it reports how its payload ended."""

    def check(result: Any) -> str:
        return "" if result.exit == Exited(0) else f"init reports {result.exit}"

    yield Scene(check=check, failed=_init_died)


@contextlib.contextmanager
def _beside(directory: Path) -> Iterator[Scene]:
    """Another run of the same launcher, at the same time."""
    token = secrets.token_hex(8)
    scene = Scene(arguments=[token], companion=["stand", token], companion_grace=0.5)

    def check(result: Any) -> str:
        ended = scene.companion_result.exit
        return "another run was ended by a signal" if ended == Signaled(signal.SIGUSR1) else ""

    scene.check = check
    scene.failed = _init_died
    yield scene


def attack(name: str, title: str, command: str, held_by: tuple[str, ...], claims: tuple[str, ...], **more: Any) -> Attack:
    return Attack(id=name, title=title, command=f"probe {command}", layers=held_by, claims=claims, **{"bwrap": False, **more})


def init(name: str, title: str, command: str, *held_by: str, **more: Any) -> Attack:
    return attack(name, title, command, held_by, **{"claims": INIT, "bwrap": "scene" not in more, **more})


def signals(how: str, title: str) -> Attack:
    return init(f"PR05-{how}", f"every signal to init: {title}", f"signal-init {how}", OWN, scene=_reported)


def host(name: str, title: str, command: str, *held_by: str, seen: Any = None, **more: Any) -> Attack:
    scene = functools.partial(_bystander, seen=seen) if seen else _bystander
    return attack(name, title, command, held_by, OUTSIDE, **{"scene": scene, "bwrap": True, **more})


INITS = [
    init("PR04-status", "what init is doing", "init-file status", "hidepid"),
    init("PR04-environ", "the environment of init", "init-file environ", DUMPABLE),
    init("PR04-auxv", "addresses that init was started with", "init-file auxv", DUMPABLE),
    init("PR04-maps", "the memory map of init", "init-file maps", DUMPABLE),
    init("PR04-syscall", "registers of init", "init-file syscall", DUMPABLE),
    init("PR04-descriptors", "the descriptors of init", "init-file fd", DUMPABLE),
    init("PR04-cwd", "the directory of init", "init-link cwd", DUMPABLE),
    init("PR04-exe", "the interpreter that init runs", "init-link exe", DUMPABLE),
    init("PR04-mem-read", "memory of init is read", "init-mem r", DUMPABLE),
    init("PR04-mem-write", "memory of init is changed", "init-mem w", DUMPABLE, "read-only proc", "landlock"),
    init("PR04-namespace", "a namespace of init by its file", "init-namespace", DUMPABLE, "filter", "capability sets"),
    init("PR04-trace", "ptrace of init", "process trace 1", DUMPABLE, "filter"),
    init("PR04-vm", "memory of init by process_vm_readv", "process memory 1", DUMPABLE, "filter"),
    init("PR04-take", "a descriptor of init by pidfd_getfd", "process take 1", DUMPABLE, "filter"),
    init("IN10-spare", "init is to be killed for want of memory before it", "spare", "read-only proc", "landlock"),
    signals("kill", "kill"),
    signals("thread", "tgkill"),
    signals("pidfd", "pidfd_send_signal"),
    signals("queue", "rt_sigqueueinfo with a forged sender"),
    signals("owner", "F_SETOWN and F_SETSIG"),
    init("PR02-group", "a signal to its process group", "signal-group", "session of the payload", OWN, scene=_reported),
]
SETS = ("capability sets",) if os.getuid() == 0 else ()  # those of root's processes
SAME_USER = ("own host id", *SIGNALS)
NONE_OF = ("user namespaces", "capability sets", *BOTH)
HOSTS = [
    host("PR01-see", "a process of the host is seen", "process stat", *BOTH),
    host("PR01-pidfd", "pidfd_open of a process of the host", "process open", *BOTH),
    host("PR01-kill", "kill of a process of the host", "signal kill", *BOTH, *SAME_USER, needs=OWN_ID),
    host("PR01-queue", "a signal with a forged sender to the host", "signal queue", *BOTH, *SAME_USER, needs=OWN_ID),
    host("PR01-owner", "F_SETOWN of a process of the host", "signal owner", *BOTH, *SAME_USER, needs=OWN_ID),
    host(
        "PR01-limit", "limits of the host's process", "process limit", "filter", *BOTH, "own host id", seen=_limited, needs=OWN_ID
    ),
    host(
        "PR01-nice",
        "a process of the host is nice",
        "process nice",
        "filter",
        *BOTH,
        "own host id",
        *SETS,
        seen=_niced,
        needs=OWN_ID,
    ),
    host("PR01-environ", "environment of the host's process", "process environ", *NONE_OF, "landlock", needs=("root",)),
    host("PR01-trace", "ptrace of the host's process", "process trace", "filter", *NONE_OF, "landlock", needs=("root",)),
    host("PR01-memory", "memory of the host's process", "process memory", "filter", *NONE_OF, "landlock", needs=("root",)),
    host("PR01-take", "a descriptor of the host's process", "process take", "filter", *NONE_OF, "landlock", needs=("root",)),
    host("PR01-join", "the network of the host's process", "process join", "filter", *NONE_OF, "landlock", needs=("root",)),
    host(
        "PR01-command-line",
        "the host's procfs",
        "process cmdline",
        "mounts",
        "landlock",
        scene=functools.partial(_bystander, where=(f"{HOST}/proc",)),
    ),
]
OTHERS = [
    attack("PR08-see", "a process of another run is seen", "other see", (OWN,), OUTSIDE, scene=_beside),
    attack(
        "PR08-signal",
        "a process of another run is ended",
        "other kill",
        (OWN, *SAME_USER),
        (*OUTSIDE, "SEC-ID-02"),
        scene=_beside,
        needs=OWN_ID,
    ),
    attack("PR01-everybody", "kill(-1): init, and other runs", "other everybody", (OWN,), (*OUTSIDE, *INIT), scene=_beside),
    attack("PR02-launcher", "a signal to the launcher", "launcher", (OWN, *SAME_USER), OUTSIDE, needs=OWN_ID),
]
ATTACKS = [*INITS, *HOSTS, *OTHERS]
