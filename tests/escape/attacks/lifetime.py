"""What wants to outlive its run, its caller or its launcher (threat model LC01 to LC05, LC11, PR11, XR02)."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox import Exited
from sandbox.resources import cgroups, janitor
from sandbox.resources.groups import Lease
from tests.escape import callers, layers, pids
from tests.escape.layers import Layer
from tests.escape.model import Attack, Scene
from tests.escape.pids import LAUNCHERS, OWN
from tests.support.require import missing

assert pids  # its layers are used below

RUN, CALLER = ("SEC-LT-01",), ("SEC-LT-02",)
GROUP = () if missing("cgroup") else ("control group kill",)
KNOWN = () if missing("cgroup") else ("groups of the dead are known",)
WATCHES = ("the caller's pidfd", "the keeper's watch", "end of the control socket", "end of the lane", *KNOWN)
_PDEATHSIG = "        process.prctl(process.PR_SET_PDEATHSIG, _signal.SIGKILL)\n"
_CALLER_GONE = "            elif kind == _CALLER:\n                self.alive = False\n"
_CONTROL_GONE = "        if packet is None:\n            self.alive = False\n            return\n"
_LANE_GONE = "            self._forget(run.lane.fileno())\n            run.kill(launch.BY_LANE)\n"


@contextlib.contextmanager
def _no_kill() -> Iterator[None]:
    """The group of a run stays as it is, until that of the launcher is removed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Lease, "close", Lease.forget)
        yield


@contextlib.contextmanager
def _of_somebody_alive() -> Iterator[None]:
    """Groups are named after the process that started the caller: no other caller takes them for a dead one's."""
    pid = os.getppid()
    owner = dataclasses.replace(janitor._self(), pid=pid, start=janitor.start_time(pid))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(janitor, "_self", lambda: owner)
        yield


@contextlib.contextmanager
def _no_sweep() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cgroups, "sweep", lambda directories: ())
        yield


layers.register(
    Layer(name="control group kill", caller=_no_kill),
    Layer(name="groups of the dead are known", caller=_of_somebody_alive),
    Layer(name="sweep of groups", caller=_no_sweep),
    Layer(
        name="init dies with the launcher",
        patches=(
            (
                "launcher/init.py",
                _PDEATHSIG + '        if self.status.recv(8) != b"go":\n',
                '        if self.status.recv(8) != b"go":\n',
            ),
            ("launcher/init.py", _PDEATHSIG + "        at(steps.INIT_NAMESPACES)\n", "        at(steps.INIT_NAMESPACES)\n"),
        ),
    ),
    Layer(
        name="the launcher dies with its keeper",
        patches=(
            ("launcher/keeper.py", "        process.prctl(process.PR_SET_PDEATHSIG, _signal.SIGKILL)\n", ""),
            (
                "launcher/template.py",
                "    process.prctl(process.PR_SET_PDEATHSIG, _signal.SIGKILL)  # a change of credentials clears it\n",
                "",
            ),
            ("launcher/warmup.py", "        process.prctl(process.PR_SET_PDEATHSIG, _signal.SIGKILL)\n", ""),
        ),
    ),
    Layer(
        name="the caller's pidfd",
        patches=(("launcher/loop.py", _CALLER_GONE, "            elif kind == _CALLER:\n                self._forget(fd)\n"),),
    ),
    Layer(
        name="end of the control socket",
        patches=(
            (
                "launcher/loop.py",
                _CONTROL_GONE,
                "        if packet is None:\n            self._forget(self.control.fileno())\n            return\n",
            ),
        ),
    ),
    Layer(
        name="the keeper's watch",
        patches=(("launcher/keeper.py", "        namespaces.send_signal(launcher, _signal.SIGKILL)\n", "        pass\n"),),
    ),
    Layer(name="end of the lane", patches=(("launcher/loop.py", _LANE_GONE, "            self._forget(run.lane.fileno())\n"),)),
    Layer(
        name="processes, not threads",
        patches=(
            (
                "launcher/keeper.py",
                "    _occupy_standard_streams()\n    process",
                "    process.prctl(process.PR_SET_PDEATHSIG, 9)\n    _occupy_standard_streams()\n    process",
            ),
        ),
    ),
    Layer(
        name="the main process only",
        patches=(("launcher/init.py", "if pid == child and not os.WIFSTOPPED(status):", "if not os.WIFSTOPPED(status):"),),
    ),
    Layer(
        name="read-only root",
        patches=(
            (
                "launcher/template.py",
                'root, b"", _HARD | mounts.ATTR_RDONLY, recursive=False',
                'root, b"", _HARD, recursive=False',
            ),
        ),
    ),
    Layer(
        name="last parenthesis",
        patches=(("launcher/sampling.py", 'stat_line[stat_line.rindex(b")")', 'stat_line[stat_line.index(b")")'),),
    ),
)


@contextlib.contextmanager
def _looked_for(directory: Path, limits: dict[str, str] | None = None) -> Iterator[Scene]:
    """When the run is over, nothing with its word on the command line is left on the host."""
    token = secrets.token_hex(8)

    def check(result: Any) -> str:
        left = callers.survivors(token)
        return f"{len(left)} processes are left" if left else ""

    try:
        yield Scene(arguments=[token], options={"limits": limits} if limits else {}, check=check)
    finally:
        callers.end(callers.marked(token))


@contextlib.contextmanager
def _code_7(directory: Path) -> Iterator[Scene]:
    def check(result: Any) -> str:
        return f"an orphan's end is taken for the program's: {result.exit}" if result.exit == Exited(42) else ""

    yield Scene(check=check)


@contextlib.contextmanager
def _counted(directory: Path) -> Iterator[Scene]:
    """One second of CPU time is allowed."""
    yield Scene(options={"limits": {"cpu": "1s", "wall": "8s"}})


def attack(name: str, title: str, command: str, held_by: tuple[str, ...], claims: tuple[str, ...], **more: Any) -> Attack:
    return Attack(id=name, title=title, command=command, layers=held_by, claims=claims, bwrap=False, **more)


def left(name: str, title: str, command: str, **more: Any) -> Attack:
    return attack(name, title, f"probe {command}", (OWN, *GROUP), RUN, **{"scene": _looked_for, **more})


_SHORT = functools.partial(_looked_for, limits={"wall": "300ms"})
ATTACKS = [
    left("LC01-daemon", "a daemon without signals holds stdout", "leave daemon"),
    left("LC02-hopper", "a process that is another every 30 ms", "leave hopper"),
    left("LC03-stopped", "a process that is stopped", "leave stopped"),
    left("LC03-subreaper", "orphans that go to a process of its own", "leave subreaper"),
    left("LC03-clock", "a program without signals at the end of its time", "outlive alone", scene=_SHORT),
    left("LC03-headless", "a program whose first thread has ended", "headless", scene=_SHORT),
    left("LC11-vfork", "a parent that waits for its vfork", "leave vfork"),
    attack(
        "LC04-caller",
        "its caller is killed",
        "caller killed caller alone",
        WATCHES,
        CALLER,
    ),
    attack(
        "LC04-caller-hopping",
        "its caller is killed while processes come and go",
        "caller killed caller hopping",
        WATCHES,
        CALLER,
    ),
    attack(
        "LC04-launcher",
        "its launcher is killed, its caller stands still",
        "caller killed launcher alone",
        (LAUNCHERS, "init dies with the launcher"),
        CALLER,
    ),
    attack(
        "LC04-launcher-hopping",
        "its launcher is killed while processes come and go",
        "caller killed launcher hopping",
        (LAUNCHERS, "init dies with the launcher"),
        CALLER,
    ),
    attack(
        "LC04-keeper",
        "its keeper is killed, its caller stands still",
        "caller killed keeper alone",
        ("the launcher dies with its keeper",),
        CALLER,
    ),
    attack(
        "LC06-groups",
        "groups of a caller and a keeper that were killed",
        "caller groups",
        ("sweep of groups",),
        CALLER,
        needs=("cgroup",),
    ),
    attack(
        "LC05-thread",
        "the thread that started it ends: it must go on",
        "caller thread",
        ("processes, not threads",),
        ("SEC-RS-04", *CALLER),
    ),
    attack(
        "PR11-orphan",
        "an orphan ends first",
        "probe orphan",
        ("the main process only",),
        ("SEC-RS-01", "SEC-PR-02"),
        scene=_code_7,
    ),
    attack(
        "PR11-disguised",
        "a name that looks like figures hides CPU time",
        "probe disguised",
        ("last parenthesis",),
        ("SEC-LI-03", "SEC-RS-03"),
        scene=_counted,
        outcomes=("cpu_time",),
        needs=("no control groups",),
    ),
    attack(
        "XR02-root",
        "a file in the root that all runs share",
        "probe leave-file /left /etc/left /dev/left /opt/left",
        ("read-only root", "landlock", "own host id"),
        ("SEC-LT-03", "SEC-FS-06"),
        needs=("newuidmap",),
    ),
]
