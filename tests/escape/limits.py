"""Layers about limits and figures: the control group, the launcher's clocks, rlimits, sizes, what results rest on."""

from __future__ import annotations

import contextlib
import dataclasses
import resource
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sandbox import Exited, Outcome, Signaled
from sandbox.resources.groups import CgroupLimits
from sandbox.runtime import active, session
from tests.escape import layers
from tests.escape.layers import Layer, Patch
from tests.support.require import missing

GROUPS = missing("cgroup") is None
MANY = 1 << 40
_LOOP = "    for index, (resource, (soft, hard)) in enumerate(chosen.items()):\n"
Caller = Callable[[], contextlib.AbstractContextManager[None]]


def without_rlimit(number: int) -> tuple[Patch, ...]:
    """The payload keeps the launcher's, which is the caller's."""
    return (("launcher/payload.py", _LOOP, f"    chosen.pop({number}, None)\n{_LOOP}"),)


def patched(target: object, name: str, wrap: Callable[[Any], Any]) -> Caller:
    """A context in which `wrap(what it was)` stands in for an attribute of the caller's side."""

    @contextlib.contextmanager
    def context() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(target, name, wrap(getattr(target, name)))
            yield

    return context


def _group(**changes: int) -> Caller:
    """The control group with another limit."""

    def wrap(make: Callable[..., CgroupLimits]) -> Callable[..., CgroupLimits]:
        return lambda *given: dataclasses.replace(make(*given), **changes)

    return patched(active, "group_limits", wrap)


def _facts(**changes: Any) -> Caller:
    """Verdicts that leave some facts out."""

    def wrap(judge: Callable[..., Any]) -> Callable[..., Any]:
        return lambda facts: judge(dataclasses.replace(facts, **changes))

    return patched(active, "classify", wrap)


def _guess(judge: Callable[..., Any]) -> Callable[..., Any]:
    """As many runners judge: by how it ended."""
    guesses = {
        Exited(137): Outcome.MEMORY,
        Exited(124): Outcome.WALL_TIME,
        Signaled(9): Outcome.MEMORY,
        Signaled(24): Outcome.CPU_TIME,
        Signaled(25): Outcome.DISK,
        Signaled(31): Outcome.DENIED_SYSCALL,
    }

    def guess(facts: Any) -> Any:
        outcome, status, evidence = judge(facts)
        return guesses.get(status, outcome), status, evidence

    return guess


def _waited(usage: Callable[..., Any]) -> Callable[..., Any]:
    """CPU time of those that somebody has waited for."""

    def figures(ended: Any, counters: Any, output: int) -> Any:
        known = usage(ended, None, output)
        return known if counters is None else dataclasses.replace(usage(ended, counters, output), **_cpu(known))

    return figures


def _cpu(usage: Any) -> dict[str, int]:
    return {"cpu_user_ns": usage.cpu_user_ns, "cpu_system_ns": usage.cpu_system_ns}


def _no_peak(usage: Callable[..., Any]) -> Callable[..., Any]:
    """Memory as it is at the end, when nothing is left."""
    return lambda *given: dataclasses.replace(usage(*given), memory_peak_bytes=0)


def _keeps_all(add: Callable[..., None]) -> Callable[..., None]:
    def keep(self: Any, data: bytes) -> None:
        add(self, data)
        if self.exceeded:
            self._head += self._tail
            self._tail.clear()

    return keep


@contextlib.contextmanager
def _unbounded_capture() -> Iterator[None]:
    capture = session.Capture
    with patched(capture, "add", _keeps_all)(), patched(capture, "kept", lambda _: lambda self: bytes(self._head))():
        yield


_CLOCK = "if self.cpu_ns >= request.cpu_ns:"
_SAMPLED = "if self.request.memory_bytes and resident > self.request.memory_bytes:"
_SIZE = '(b"size", b"%d" % request.scratch_bytes)'
_INODES = '(b"nr_inodes", b"%d" % (request.scratch_inodes + own))'
_USED = "sampled = (run.sampler.user_ns, run.sampler.system_ns) if run.sampler else (0, 0)"

layers.register(
    Layer(name="memory limit", caller=_group(memory_bytes=MANY)),
    Layer(name="memory sampling", patches=(("launcher/runs.py", _SAMPLED, "if False:"),)),
    Layer(name="whole group", patches=(("launcher/runs.py", "self.kill(launch.BY_OOM, count)", "pass"),)),
    Layer(name="process limit", caller=_group(pids=10_000)),
    Layer(name="CPU quota", caller=_group(cpu_quota_millicpus=0)),
    Layer(name="CPU clock", patches=(("launcher/runs.py", _CLOCK, "if False:"),)),
    Layer(name="wall clock", patches=(("launcher/runs.py", "if elapsed >= request.wall_ns:", "if elapsed >= 12_000_000_000:"),)),
    Layer(name="idle clock", patches=(("launcher/runs.py", "if request.idle_ns and idle >= request.idle_ns:", "if False:"),)),
    *(
        Layer(name=f"RLIMIT_{name}", patches=without_rlimit(getattr(resource, f"RLIMIT_{name}")))
        for name in ("CPU", "DATA", "FSIZE", "MEMLOCK", "MSGQUEUE", "NOFILE", "NPROC", "SIGPENDING")
    ),
    Layer(
        name="RLIMIT_STACK",
        patches=(("launcher/payload.py", _LOOP, f"    chosen[{resource.RLIMIT_STACK}] = (-1 & 2**64 - 1,) * 2\n{_LOOP}"),),
    ),
    Layer(name="scratch size", patches=(("launcher/scratch.py", _SIZE, '(b"size", b"1g")'),)),
    Layer(name="scratch inodes", patches=(("launcher/scratch.py", _INODES, '(b"nr_inodes", b"1000000")'),)),
    Layer(name="output limit", caller=patched(session.Session, "_stop_output", lambda _: lambda self, fd: None)),
    Layer(name="bounded capture", caller=_unbounded_capture),
    Layer(name="evidence for outcomes", caller=patched(active, "classify", _guess)),
    Layer(name="output counts", caller=_facts(output_exceeded=False)),
    Layer(name="refused forks count", caller=_facts(pids_hit=False, degraded=False)),
    Layer(name="CPU time counts", caller=_facts(cpu_ns=0)),
    Layer(name="CPU of the group", caller=patched(active, "_usage", _waited)),
    Layer(name="CPU of the tree", patches=(("launcher/loop.py", _USED, "sampled = (0, 0)"),)),
    Layer(name="peak of memory", caller=patched(active, "_usage", _no_peak)),
)
MEMORY = ("memory limit",) if GROUPS else ("memory sampling",)
PRIVATE = MEMORY if GROUPS else (*MEMORY, "RLIMIT_DATA")
PIDS = ("process limit",) if GROUPS else ("RLIMIT_NPROC",)
CPU_OF_ALL = ("CPU of the group",) if GROUPS else ("CPU of the tree",)
