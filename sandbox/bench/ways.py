"""Ways to run a program, each with the same two calls: ours with and without parked sandboxes, bubblewrap, a plain process."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sandbox.api import Sandbox
from sandbox.model.errors import ResourceError
from sandbox.model.plan import BIND

if TYPE_CHECKING:
    from sandbox.model.plan import Plan
    from sandbox.model.result import RunResult
    from sandbox.policy.profile import Profile


class Way(ABC):
    """One way to run a program to its end and take what it says.

    Attributes:
        name: as it stands in tables.
    """

    name: str

    @abstractmethod
    def launch(self, argv: Sequence[str], stdin: bytes = b"") -> bytes:
        """Run it; from any thread. Returns its stdout. Raises ResourceError when it did not end with 0."""

    def close(self) -> None:  # noqa: B027 - most ways hold nothing
        """Give everything back."""


class Ours(Way):
    """A warm Sandbox.

    Attributes:
        box: the Sandbox.
        first_ms: from nothing to the result of the first run: profile, plan, launcher, run.
        timings: of every run since `clear`, as the results have them.
    """

    def __init__(self, profile: str | Profile, argv: Sequence[str], *, parked: bool, allow_degraded: bool = False) -> None:
        self.name = "parked" if parked else "unparked"
        self.timings: list[dict[str, int]] = []
        start = time.perf_counter()
        self.box = Sandbox(profile, allow_degraded=allow_degraded, parked=None if parked else 0)
        try:
            self.launch(argv)
        except BaseException:
            self.box.close()
            raise
        self.first_ms = (time.perf_counter() - start) * 1e3
        self.clear()

    def launch(self, argv: Sequence[str], stdin: bytes = b"") -> bytes:
        """See `Way.launch`."""
        result: RunResult = self.box.run(argv, stdin=stdin)
        if not result.ok:
            raise ResourceError(
                f"{argv[0]} did not end well in a sandbox: {result.outcome}, {result.exit}",
                hint="take a profile that it works with (sandbox bench --profile …)",
            )
        self.timings.append(result.timings.to_dict())
        return result.stdout

    def clear(self) -> None:
        """Forget what was timed, and count hits from here."""
        self.timings.clear()
        self._before = self.box.stats()

    def hits(self) -> float:
        """The share of runs since `clear` that were given a parked sandbox."""
        now = self.box.stats()
        hits, misses = (now[key] - self._before[key] for key in ("hits", "misses"))
        return hits / (hits + misses) if hits + misses else 0.0

    def close(self) -> None:
        """End the launcher."""
        self.box.close()


class Command(Way):
    """The program as a child of the caller, without any sandbox; classes below put a command in front of it."""

    name = "subprocess"

    def launch(self, argv: Sequence[str], stdin: bytes = b"") -> bytes:
        """See `Way.launch`."""
        return self.call(argv, stdin)

    def call(self, words: Sequence[str], stdin: bytes, fds: tuple[int, ...] = ()) -> bytes:
        """Run these words, which are given these descriptors. Returns and raises as `launch`."""
        done = subprocess.run(words, input=stdin, capture_output=True, pass_fds=fds, check=False)
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()[-300:]
            raise ResourceError(f"{self.name}: the program ended with {done.returncode}: {said}")
        return done.stdout


class Bubblewrap(Command):
    """bwrap with what a plan gives: the same read-only places, private /tmp and /work, all namespaces, the same filter.

    It has no control group, no Landlock, no id of its own and no notify filter, and no result but an exit code.
    """

    name = "bubblewrap"

    def __init__(self, plan: Plan) -> None:
        arguments = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--hostname", "sandbox"]
        arguments += ["--setenv", "PATH", "/usr/local/bin:/usr/bin:/bin"]
        for source, target in shown_places(plan):
            arguments += ["--ro-bind-try", source, target]
        for link in ("bin", "lib", "lib64", "sbin"):
            if os.path.islink(f"/{link}"):
                arguments += ["--symlink", os.readlink(f"/{link}"), f"/{link}"]
        self._words = [*arguments, "--tmpfs", "/tmp", "--tmpfs", "/work", "--proc", "/proc", "--dev", "/dev", "--chdir", "/work"]
        self._filter = os.memfd_create("filter", os.MFD_CLOEXEC)
        os.write(self._filter, plan.filters.main)

    def launch(self, argv: Sequence[str], stdin: bytes = b"") -> bytes:
        """See `Way.launch`."""
        # Opened anew: each reader begins at the start, whatever other threads have read.
        filter_fd = os.open(f"/proc/self/fd/{self._filter}", os.O_RDONLY)
        try:
            return self.call([*self._words, "--seccomp", str(filter_fd), "--", *argv], stdin, (filter_fd,))
        finally:
            os.close(filter_fd)

    def close(self) -> None:
        """Close the filter."""
        os.close(self._filter)


def shown_places(plan: Plan) -> list[tuple[str, str]]:
    """(source, target) of the host's places that a plan shows, without devices, /proc and /sys."""
    return [
        (os.fsdecode(step.source), os.fsdecode(step.target))
        for step in plan.template
        if step.kind == BIND and not step.target.startswith((b"/dev", b"/proc", b"/sys"))
    ]


def plan_of(ours: Ours) -> Plan:
    """The plan that a Sandbox runs."""
    return ours.box._engine.plan


def tried(make: type[Bubblewrap], plan: Plan, argv: Sequence[str]) -> tuple[Way | None, str]:
    """A way that works here, or the reason why there is none."""
    if shutil.which("bwrap") is None:
        return None, "not installed"
    way = make(plan)
    try:
        way.launch(argv)
    except ResourceError as error:
        way.close()
        return None, f"does not run here: {error}"
    return way, ""
