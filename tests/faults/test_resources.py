"""Every call on control groups that can fail is made to fail once; and what runs out: descriptors, memory, space."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox import CgroupError, LauncherDied, LaunchError, Outcome, RequestError, ResourceError, Sandbox, SandboxError
from sandbox.resources import cgroupfs, version1, version2
from tests.support import leaks, resting
from tests.support.clock import seconds, wait_until
from tests.support.programs import INSIDE
from tests.support.require import require

CALLS = ("open", "write", "mkdir", "chmod", "pread", "read")
MOST = 200


class Faulty:
    """`os`, but the `turn`-th of CALLS fails with `number`."""

    def __init__(self, turn: int, number: int) -> None:
        self.left = turn
        self.number = number
        self.fired = ""

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in CALLS:
            return real

        def call(*arguments: Any, **named: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                self.fired = f"{name}{arguments[:1]}"
                raise OSError(self.number, os.strerror(self.number))
            return real(*arguments, **named)

        return call


@pytest.fixture
def no_traces() -> Iterator[None]:
    resting.settle()
    before = leaks.Traces.take()
    yield
    leaks.assert_clean(before, within=seconds(5))


@pytest.mark.vm
@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOSPC, errno.EMFILE, errno.ENODEV], ids=errno.errorcode.get)
@pytest.mark.usefixtures("no_traces")
def test_every_call_on_a_control_group(number: int, probe_mounts: Any, degraded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    require("cgroup")
    assert not degraded
    errors = 0
    with Sandbox("native", mounts=probe_mounts, parked=0) as box:
        box.run([INSIDE, "exit", "0"])
        for turn in range(1, MOST):
            wait_until(
                lambda: box._engine.launchers.living()[0].parking.at_rest, seconds(5), "the group of the last run is removed"
            )
            faulty = Faulty(turn, number)
            said: list[bytes] = []
            with monkeypatch.context() as patch:
                for module in (cgroupfs, version1, version2):
                    patch.setattr(module, "os", faulty)
                try:
                    result = box.run([INSIDE, "args", "ran"], on_stdout=said.append)
                    error = None
                except SandboxError as caught:
                    error = caught
            if not faulty.fired:
                break
            if error is None:
                assert result.outcome is Outcome.EXITED, (
                    faulty.fired,
                    result,
                )  # an optional file, or one that was removed anyway
            else:
                errors += 1
                assert isinstance(error, ResourceError | LauncherDied), (faulty.fired, error)
                assert os.strerror(number) in str(error) or isinstance(error, CgroupError), (faulty.fired, error)
        else:
            pytest.fail("it never came to an end")
        assert errors > 5
        assert box.run([INSIDE, "exit", "0"]).ok
        assert box.stats()["busy"] == 0


@pytest.mark.usefixtures("no_traces")
def test_a_scratch_space_that_is_too_small_for_the_input(probe_mounts: Any, degraded: bool) -> None:
    """The sizes fit, the pages do not: tmpfs says so while the files are written."""
    with Sandbox("native", mounts=probe_mounts, allow_degraded=degraded, limits={"scratch": "64KiB"}) as box:
        files = {f"{number}": b"x" * 100 for number in range(40)}
        with pytest.raises(LaunchError) as caught:
            box.run([INSIDE, "args", "ran"], files=files)
        assert (caught.value.step, caught.value.errno) == ("init_files", errno.ENOSPC)
        with pytest.raises(RequestError, match="do not fit"):
            box.run([INSIDE, "args", "ran"], files={"a": bytes(65537)})


@pytest.mark.vm
@pytest.mark.usefixtures("no_traces")
def test_memory_that_is_too_small_to_start_anything(probe_mounts: Any, degraded: bool) -> None:
    require("cgroup")
    with Sandbox("native", mounts=probe_mounts, allow_degraded=degraded) as box:
        result = box.run([INSIDE, "args", "ran"], limits={"memory": "64KiB"})
        assert result.outcome is Outcome.MEMORY
        assert result.stdout == b""
        assert box.run([INSIDE, "exit", "0"]).ok


@pytest.mark.usefixtures("no_traces")
def test_a_launcher_without_descriptors_fails_that_run_only(probe_mounts: Any, degraded: bool) -> None:
    with Sandbox("native", mounts=probe_mounts, allow_degraded=degraded) as box:
        box.run([INSIDE, "exit", "0"])
        keeper = box._engine.launchers.living()[0]
        assert keeper is not None
        with open(f"/proc/{keeper.pid}/task/{keeper.pid}/children") as file:
            launcher = int(file.read().split()[0])
        before = resource.prlimit(launcher, resource.RLIMIT_NOFILE)
        counts: list[int] = []

        def settled() -> bool:  # what the first run had is closed
            counts.append(len(os.listdir(f"/proc/{launcher}/fd")))
            return len(counts) > 5 and len(set(counts[-5:])) == 1

        wait_until(settled, seconds(5))
        few = counts[-1] + 3
        resource.prlimit(launcher, resource.RLIMIT_NOFILE, (few, before[1]))
        with pytest.raises(SandboxError) as caught:
            box.run([INSIDE, "args", "ran"])
        assert caught.value.blame in ("host", "launcher")
        resource.prlimit(launcher, resource.RLIMIT_NOFILE, before)
        assert box.run([INSIDE, "exit", "0"]).ok
        with open(f"/proc/{keeper.pid}/task/{keeper.pid}/children") as file:
            assert int(file.read().split()[0]) == launcher
