"""More than the limits give: memory, CPU and elapsed time, processes, disk, output (threat model ME, CT, RS, OU)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.escape import layers, rights
from tests.escape.layers import Layer
from tests.escape.limits import GROUPS, MEMORY, PIDS, PRIVATE
from tests.escape.model import Attack, Scene
from tests.escape.model import of_one_claim as attack
from tests.support.clock import SLOWNESS

assert rights  # its layers are used below

HOST = ("capability sets", "user namespaces")
COUNTED = ("memory limit",)
UNCOUNTED = COUNTED if GROUPS else ("filter",)  # without control groups there is no such memory
SIZE, INODES = ("scratch size",), ("scratch inodes",)
Making = Callable[[Path], contextlib.AbstractContextManager[Scene]]
_RUN_INSTANCES = '    ("max_inotify_instances", b"16"),\n'
_RUN_WATCHES = '    ("max_inotify_watches", b"8192"),\n'
_ALL = '_USER_LIMITS = (("max_inotify_instances", b"64"), ("max_inotify_watches", b"32768"))'


layers.register(
    Layer(
        name="inotify limits of the run",
        patches=(("launcher/init.py", _RUN_INSTANCES, ""), ("launcher/init.py", _RUN_WATCHES, "")),
    ),
    Layer(name="inotify limits of the launcher", patches=(("launcher/template.py", _ALL, '_USER_LIMITS: "tuple[()]" = ()'),)),
    Layer(
        name="terminals of the run",
        patches=(("launcher/init.py", ', (b"max", b"%d" % _TERMINALS))', ")"),),
    ),
)


def limited(**values: Any) -> Making:
    """A run with tighter limits."""

    @contextlib.contextmanager
    def scene(directory: Path) -> Iterator[Scene]:
        yield Scene(options={"limits": {"wall": "10s", **values}})

    return scene


def with_options(check: Callable[[Any], str] | None = None, **options: Any) -> Making:
    """A run with these options."""

    @contextlib.contextmanager
    def scene(directory: Path) -> Iterator[Scene]:
        yield Scene(options={**options, "limits": {"wall": "10s", **options.get("limits", {})}}, check=check)

    return scene


def _kept_too_much(result: Any) -> str:
    return f"{len(result.stdout)} bytes were kept of it" if len(result.stdout) > 1 << 16 else ""


def _counted_too_much(result: Any) -> str:
    """The limit, a piece beyond it, and what a pipe holds when the run is killed, however late that is."""
    return f"{result.usage.output_bytes} bytes were read" if result.usage.output_bytes > 2 << 20 else ""


def memory(name: str, title: str, command: str, held_by: tuple[str, ...], limit: str = "64MiB", **more: Any) -> Attack:
    return attack(
        name, title, f"memory-{command}", held_by, "SEC-LI-01", limited(memory=limit), **{"outcomes": ("memory",), **more}
    )


KERNEL = ("cgroup",)
ATTACKS = [
    memory("ME07-private", "private memory, touched", "private 300", PRIVATE),
    memory("ME01-shared", "shared memory without a name", "shared 300", MEMORY),
    memory("ME07-unreadable", "memory of a process that nobody may look into", "unreadable 300", MEMORY),
    memory("ME03-processes", "seven processes, each below the limit", "each 50 7", MEMORY),
    memory("ME07-leader", "memory of a process without its first thread", "leader 300", MEMORY),
    memory("ME07-churn", "memory of a process whose threads end all the time", "churn 300", MEMORY),
    memory("ME07-stack", "a stack that grows", "stack 150", (*MEMORY, "RLIMIT_STACK"), outcomes=("memory", "SIGSEGV")),
    memory("ME01-memfd", "memory files", "memfd 200", UNCOUNTED),
    memory("ME01-segment", "System V memory", "segment 200", UNCOUNTED if GROUPS else ("filter", *MEMORY)),
    memory("ME01-queues", "System V queues", "queues 96", UNCOUNTED),
    memory("ME01-semaphores", "System V semaphores", "semaphores 96", UNCOUNTED),
    memory("ME01-pipes", "pipes that are full", "pipes 48", COUNTED, "32MiB", needs=KERNEL),
    memory("ME01-sockets", "socket buffers", "sockets 48", COUNTED, "32MiB", needs=KERNEL, profiles=("default", "compile")),
    memory("ME04-tables", "page tables", "tables 128", COUNTED, needs=KERNEL),
    memory("ME01-epoll", "what epoll keeps of each watch", "watches 40", COUNTED, "32MiB", needs=KERNEL),
    memory("ME06-swap", "memory that is swapped out", "swapped 300", COUNTED, needs=KERNEL),
    attack(
        "RS10-attributes",
        "extended attributes",
        "memory-xattrs 96",
        (*(COUNTED if GROUPS else ()), *INODES),
        "SEC-LI-01",
        limited(memory="64MiB"),
        outcomes=("memory",),
    ),
    attack("ME08-locked", "memory that is locked", "memory-locked", ("RLIMIT_MEMLOCK",), "SEC-LI-01"),
    attack(
        "ME05-tmpfs",
        "files in memory",
        "bytes 200 plain",
        (*(COUNTED if GROUPS else ()), *SIZE),
        "SEC-LI-01",
        limited(memory="64MiB", scratch="16MiB"),
        outcomes=("memory",),
    ),
]
CPU, SOON = limited(cpu="100ms"), limited(wall="400ms")
BOTH = ("CPU clock", "RLIMIT_CPU")


def clock(name: str, title: str, command: str, held_by: tuple[str, ...], scene: Making, outcome: str) -> Attack:
    """What is ended by a clock can say nothing."""
    return attack(name, title, command, held_by, "SEC-LI-03", scene, outcomes=(outcome,))


ATTACKS += [
    clock("CT03-spin", "a loop without an end", "spin 2.4 1 user", BOTH, CPU, "cpu_time"),
    clock("CT02-threads", "eight threads that ignore SIGXCPU", "spin 2.4 8 user", BOTH, CPU, "cpu_time"),
    clock("CT08-kernel", "time in the kernel", "spin 2.4 1 kernel", BOTH, CPU, "cpu_time"),
    clock("CT01-orphans", "time in orphans", "orphans 10", ("CPU clock",), CPU, "cpu_time"),
    clock("CT04-sleep", "sleep with every signal blocked", "stay 1500 sleep", ("wall clock",), SOON, "wall_time"),
    clock("CT05-vfork", "waiting for a vfork", "stay 1500 vfork", ("wall clock",), SOON, "wall_time"),
    clock("CT05-stopped", "the program is stopped", "stay 1500 stopped", ("wall clock",), SOON, "wall_time"),
    clock("CT04-idle", "sleep where nothing may be idle", "stay 1500 sleep", ("idle clock",), limited(idle="300ms"), "idle_time"),
    attack(
        "CT10-quota",
        "more than its share of the CPUs",
        "quota 0.2" if SLOWNESS == 1 else "quota 0.3",  # the clocks of an emulated CPU are coarse
        ("CPU quota",),
        "SEC-LI-03",
        limited(cpu_quota="0.1"),
        needs=("cgroup",),
    ),
]
FEW = limited(pids=16)
ATTACKS += [
    attack("RS01-forks", "a fork bomb", "count-forks 80 processes", PIDS, "SEC-LI-02", FEW),
    attack("RS02-threads", "a bomb of threads", "count-threads 80", PIDS, "SEC-LI-02", FEW),
    attack("RS01-nested", "a vfork in a vfork in a vfork", "count-nested 80", PIDS, "SEC-LI-02", FEW),
    attack("PR11-zombies", "children that nobody waits for", "count-forks 80 zombies", PIDS, "SEC-LI-02", FEW),
]
SMALL, FILES = limited(scratch="8MiB"), limited(scratch_inodes=100)
ATTACKS += [
    attack("RS05-bytes", "bytes of a file", "bytes 24 plain", SIZE, "SEC-LI-04", SMALL),
    attack("RS05-places", "bytes in three places", "bytes 21 places", SIZE, "SEC-LI-04", SMALL),
    attack("RS06-allocated", "space that is only reserved", "bytes 24 allocated", SIZE, "SEC-LI-04", SMALL),
    attack("RS06-mapped", "bytes by way of a mapping", "bytes 24 mapped", SIZE, "SEC-LI-04", SMALL, outcomes=("disk",)),
    attack("RS07-deleted", "files without a name, still open", "bytes 24 deleted", SIZE, "SEC-LI-04", SMALL),
    attack("RS07-nameless", "a file that never had a name", "bytes 24 nameless", SIZE, "SEC-LI-04", SMALL),
    attack("RS06-sparse", "a file of 1 TiB without content", "sparse", ("RLIMIT_FSIZE",), "SEC-LI-04"),
    attack("RS05-files", "empty files", "count-names 300 files", INODES, "SEC-LI-04", FILES),
    attack("RS05-links", "hard links", "count-names 300 links", INODES, "SEC-LI-04", FILES),
    attack("RS05-symlinks", "symbolic links", "count-names 300 symlinks", INODES, "SEC-LI-04", FILES),
    attack("RS05-deep", "directories in directories", "count-names 300 deeper", INODES, "SEC-LI-04", FILES),
]
USER = "SEC-LI-07"
WATCHING = ("inotify limits of the run", "inotify limits of the launcher")
ATTACKS += [
    attack("RS03-descriptors", "descriptors", "count-descriptors 3000", ("RLIMIT_NOFILE",), USER),
    attack("RS03-in-flight", "descriptors in flight", "count-in-flight 3000", ("RLIMIT_NOFILE",), USER),
    attack("RS04-timers", "timers", "count-timers 3000", ("RLIMIT_SIGPENDING",), USER),
    attack("RS04-signals", "signals that wait", "count-pending 3000", ("RLIMIT_SIGPENDING",), USER),
    attack("RS04-instances", "inotify instances", "count-instances 100", WATCHING, USER),
    attack("RS04-watches", "inotify watches", "count-watched 40000", WATCHING, USER),
    attack("RS04-terminals", "terminals", "count-terminals 60", ("terminals of the run",), USER, with_options(tty=(24, 80))),
    attack("RS04-queues", "bytes in POSIX queues", "message-queue", ("RLIMIT_MSGQUEUE", "landlock"), USER),
    attack("CT12-raise", "higher limits", "raise-limits", HOST, USER, needs=("root",)),
    attack("PS07-score", "the OOM killer takes somebody else", "oom-score 0", ("read-only proc", "landlock"), "SEC-RS-01"),
]
OUTPUT = {"limits": {"output": "64KiB"}}
ATTACKS += [
    attack(
        "OU01-stderr",
        "a flood on stderr",
        "flood 2 32768",
        ("output limit",),
        "SEC-LI-05",
        with_options(**OUTPUT),
        outcomes=("output",),
    ),
    attack(
        "OU01-stdout",
        "a flood on stdout",
        "flood 1 32768 quiet",
        ("output limit",),
        "SEC-LI-05",
        with_options(_counted_too_much, **OUTPUT),
    ),
    attack(
        "OU01-terminal",
        "a flood on its terminal",
        "flood 1 32768 quiet",
        ("output limit",),
        "SEC-LI-05",
        with_options(_counted_too_much, tty=(24, 80), **OUTPUT),
    ),
    attack(
        "OU01-kept",
        "what is kept of a flood",
        "flood 1 8192 quiet",
        ("bounded capture",),
        "SEC-LI-05",
        with_options(_kept_too_much, **OUTPUT),
    ),
]
