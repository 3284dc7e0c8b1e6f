"""Every step of a launch, and at each an error, a sudden death, a process that stops: the program never runs unconfined,
nobody waits for ever, nothing is left, and the error names the step or the process."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox import LaunchError, Mount, Profile, Sandbox, SandboxError
from sandbox.model import steps
from sandbox.runtime import active
from sandbox.runtime import keeper as keeper_module
from sandbox.runtime import launcher as launcher_module
from tests.faults import broken
from tests.support import leaks, resting
from tests.support.clock import seconds, wait_until
from tests.support.programs import INSIDE
from tests.support.require import require

STEPS = [*broken.announced(), *broken.PLACES]
# Init starts the program itself where it can. With a terminal a child does, which has steps of its own and others as well.
CHILDS = [steps.CHILD_SESSION, steps.CHILD_STDIO]
EITHER = [
    steps.INIT_FORK,
    steps.INIT_FILES,
    steps.INIT_CWD,
    steps.CHILD_RLIMITS,
    steps.CHILD_DESCRIPTORS,
    steps.CHILD_FILTER,
    steps.CHILD_EXEC,
]
WAYS = [(step, step in (*CHILDS, steps.INIT_TTY)) for step in STEPS] + [(step, True) for step in EITHER]
EACH = pytest.mark.parametrize(
    ("step", "terminal"), WAYS, ids=[steps.name_of(step) + "-terminal" * terminal for step, terminal in WAYS]
)
OVERLAY = {steps.INIT_OVERLAY}
LOOPBACK = {steps.INIT_LOOPBACK}


def profile_for(step: int, tmp_path: Path) -> Profile:
    """A profile in which the step happens."""
    data: dict[str, Any] = {"extends": "default", "identity": {}}
    if step in LOOPBACK:
        data = {**data, "network": {"mode": "loopback"}}
    if step in OVERLAY:
        root = tmp_path / "root"
        (root / "usr").mkdir(parents=True, exist_ok=True)
        data = {**data, "rootfs": {"kind": "directory", "source": str(root), "writable": True}}
    return Profile.from_dict(data)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    return tmp_path


class Attempt:
    """One run in a thread of its own: what it said and how it ended."""

    def __init__(self, entry: Path, step: int, place: Path, mounts: tuple[Mount, ...], *, terminal: bool, degraded: bool) -> None:
        self.said: list[bytes] = []
        self.error: BaseException | None = None
        self.result: Any = None
        self._arguments = (entry, step, place, mounts, terminal, degraded)
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        entry, step, place, mounts, terminal, degraded = self._arguments
        before, keeper_module._MAIN = keeper_module._MAIN, str(entry)
        try:
            with Sandbox(profile_for(step, place), mounts=mounts, allow_degraded=degraded) as box:
                options: dict[str, Any] = {"files": {"in": b"x"}, "collect": ["."], "on_stdout": self.said.append}
                if terminal:
                    options["tty"] = (24, 80)
                self.result = box.run([INSIDE, "args", "ran"], **options)
        except BaseException as error:
            self.error = error
        finally:
            keeper_module._MAIN = before

    def join(self) -> None:
        self.thread.join(seconds(30))
        assert not self.thread.is_alive(), "the caller waits for ever"


@pytest.fixture
def no_traces() -> Iterator[None]:
    resting.settle()
    before = leaks.Traces.take()
    yield
    leaks.assert_clean(before, within=seconds(5))


def happens(step: int) -> None:
    if step == steps.INIT_LANDLOCK:
        require("landlock")


@pytest.mark.claim("SEC-RS-02")
@EACH
@pytest.mark.usefixtures("no_traces")
def test_an_error(step: int, terminal: bool, place: Path, probe_mounts: tuple[Mount, ...], degraded: bool) -> None:
    happens(step)
    if step == steps.INIT_CGROUP:
        require("cgroup1")
    attempt = Attempt(broken.launcher(step, broken.ERROR, place), step, place, probe_mounts, terminal=terminal, degraded=degraded)
    attempt.join()
    assert attempt.result is None, attempt.result
    assert isinstance(attempt.error, SandboxError), attempt.error
    if isinstance(attempt.error, LaunchError):
        assert (attempt.error.step, attempt.error.errno) == (steps.name_of(step), broken.NUMBER)
    assert b"ran" not in b"".join(attempt.said) or step == steps.COLLECT


@pytest.mark.claim("SEC-RS-02", "SEC-RS-04")
@pytest.mark.parametrize("name", ["KILL", "STOP"])
@EACH
@pytest.mark.usefixtures("no_traces")
def test_a_process_that_dies_or_stops(
    step: int,
    terminal: bool,
    name: str,
    place: Path,
    probe_mounts: tuple[Mount, ...],
    degraded: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    happens(step)
    if step == steps.INIT_CGROUP:
        require("cgroup1")
    for patience in (1, 4, 12):  # on a busy host the deadlines may come before the step
        monkeypatch.setattr(launcher_module, "START_SECONDS", seconds(1.5 * patience))
        monkeypatch.setattr(active, "ANSWER_SECONDS", seconds(2 * patience) - 20)  # after the profile's 20 s of wall time
        entry = broken.launcher(step, broken.HANG, place, setup_s=patience)
        attempt = Attempt(entry, step, place, probe_mounts, terminal=terminal, degraded=degraded)
        struck = strike(attempt, step, getattr(signal, f"SIG{name}"))
        attempt.join()
        if struck:
            break
    assert struck, (attempt.error, attempt.result)
    assert attempt.result is None, attempt.result
    assert isinstance(attempt.error, SandboxError), attempt.error
    assert str(attempt.error)
    assert b"ran" not in b"".join(attempt.said) or step == steps.COLLECT


def strike(attempt: Attempt, step: int, number: int) -> bool:
    """Send the process that hangs this signal. False when a deadline was first."""
    found: list[int] = []

    def stuck() -> bool:
        pid = broken.hung(leaks.descendants(os.getpid()))
        if pid:
            found.append(pid)
        return bool(pid) or not attempt.thread.is_alive()

    wait_until(stuck, seconds(30), f"a process hangs at {steps.name_of(step)}")
    try:
        os.kill(found[-1], number)
    except (IndexError, ProcessLookupError):
        return False
    return True


def test_an_init_that_would_die_with_its_payload_when_memory_is_short_ends_the_run(
    place: Path, probe_mounts: tuple[Mount, ...], degraded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is for init to tell what became of the others. The program runs by then, and is killed."""
    entry = broken.launcher(steps.INIT_CAPABILITIES, "pass", place)
    lowered = "        self.progress.at(steps.INIT_SESSION)\n        os.pwrite("
    broken.patch(entry.parent / "init.py", lowered, lowered.replace("os.pwrite(", f"{broken.ERROR}\n        os.pwrite("))
    monkeypatch.setattr(keeper_module, "_MAIN", str(entry))
    with Sandbox("default", mounts=probe_mounts, allow_degraded=degraded) as box, pytest.raises(LaunchError) as caught:
        box.run([INSIDE, "sleep"])
    assert (caught.value.step, caught.value.errno) == ("init_session", broken.NUMBER)


def test_rights_that_were_not_given_up_are_noticed(
    place: Path, probe_mounts: tuple[Mount, ...], degraded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An init that keeps its capabilities: what the launcher reads back from the kernel ends the launch."""
    entry = broken.launcher(steps.INIT_CAPABILITIES, "pass", place)
    broken.patch(entry.parent / "init.py", "        process.drop_capabilities(plan.capabilities)\n", "")
    monkeypatch.setattr(keeper_module, "_MAIN", str(entry))
    with Sandbox("default", mounts=probe_mounts, allow_degraded=degraded) as box, pytest.raises(LaunchError) as caught:
        box.run([INSIDE, "args", "ran"])
    assert caught.value.step == "init_verify"


@pytest.mark.parametrize("terminal", [False, True], ids=["main", "notifying"])
def test_a_filter_that_was_not_loaded_is_noticed(
    terminal: bool, place: Path, probe_mounts: tuple[Mount, ...], degraded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither of the two filters stands for the other one: the launcher counts them."""
    entry = broken.launcher(steps.INIT_CAPABILITIES, "pass", place)
    if terminal:
        broken.patch(entry.parent / "init.py", "self.listener = filters.load_filter(plan.filters.notify, listener=True)", "pass")
    else:
        broken.patch(entry.parent / "payload.py", "    filters.load_filter(plan.filters.main)\n", "")
    monkeypatch.setattr(keeper_module, "_MAIN", str(entry))
    with Sandbox("default", mounts=probe_mounts, allow_degraded=degraded) as box, pytest.raises(LaunchError) as caught:
        box.run([INSIDE, "args", "ran"], **({"tty": (24, 80)} if terminal else {}))
    assert caught.value.step == "init_verify"
