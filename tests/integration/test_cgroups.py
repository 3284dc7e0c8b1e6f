"""Control groups for real: limits bite, counters tell, nothing is left. A small program plays the launcher."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sandbox.launcher.runs import read_cpu_ns
from sandbox.model.errors import CgroupError
from sandbox.resources.cgroups import Base, CgroupLimits, find_base
from tests.support import resting
from tests.support.clock import seconds, wait_until
from tests.support.leaks import descriptors
from tests.support.playing import Launcher

pytestmark = [pytest.mark.vm, pytest.mark.requires("cgroup")]

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
LIMITS = CgroupLimits(memory_bytes=64 * MIB, pids=16)


@pytest.fixture(scope="module")
def base() -> Base:
    return find_base()


@pytest.fixture
def launcher(base: Base) -> Iterator[Launcher]:
    made = Launcher(base)
    yield made
    made.close()
    assert [path for path in made.group.cleanup_spec() if os.path.exists(path)] == []


def own_groups_text() -> str:
    return Path("/proc/self/cgroup").read_text()


def test_memory_and_pids_can_be_limited_here(base: Base):
    assert {"memory", "pids"} <= base.controllers
    assert base.version in (1, 2)
    assert base.description


def test_the_launcher_is_moved_and_the_caller_stays(base: Base):
    before = own_groups_text()
    made = Launcher(base)
    try:
        path = Path(f"/proc/{made.pid}/cgroup").read_text().strip().rpartition("\n")[2]
        if base.version == 2:
            assert path.endswith("/launcher")
            assert path[3:].removesuffix("/launcher") in made.group.cleanup_spec()[0]
        assert own_groups_text() == before
    finally:
        made.close()


def test_the_limits_stand_in_the_group(launcher: Launcher, base: Base):
    lease = launcher.group.lease(LIMITS)
    names = {"memory.max": 64 * MIB, "memory.swap.max": 0, "memory.oom.group": 1, "pids.max": 16}
    if base.version == 1:
        names = {"memory.limit_in_bytes": 64 * MIB, "memory.swappiness": 0, "pids.max": 16}
    found = {name: Path(path, name) for path in lease.paths for name in names if Path(path, name).exists()}
    assert {name: int(path.read_text()) for name, path in found.items()} | {"memory.swap.max": 0} == names | {
        "memory.swap.max": 0
    }
    lease.close()


def test_a_memory_bomb_is_killed_and_counted(launcher: Launcher):
    lease = launcher.group.lease(LIMITS)
    assert launcher.run(lease, "bytearray(200 << 20)") == -signal.SIGKILL
    counters = lease.counters()
    assert counters.oom_kills >= 1
    assert counters.oom_events >= 1
    assert 60 * MIB <= counters.memory_peak_bytes <= 64 * MIB
    if lease.oom_fd is not None:
        assert int.from_bytes(os.read(lease.oom_fd, 8), sys.byteorder) >= 1
    lease.close()


def test_memory_is_one_limit_for_all_processes(launcher: Launcher):
    code = """
import os, signal
reader, writer = os.pipe()
for number in range(8):
    if os.fork() == 0:
        hoard = bytearray(16 << 20)
        os.write(writer, b"x")
        signal.pause()
for number in range(8):
    os.read(reader, 1)
"""
    lease = launcher.group.lease(LIMITS)
    if lease.oom_fd is None:
        assert launcher.run(lease, code) == -signal.SIGKILL, "memory.oom.group takes the innocent parent too"
    else:
        launcher.start(lease, code, wait=False)
        wait_until(lambda: lease.counters().oom_kills, seconds(20), "nothing was killed")
    assert lease.counters().oom_kills >= 1
    lease.close()


def test_a_normal_program_leaves_no_sign_of_a_limit(launcher: Launcher):
    lease = launcher.group.lease(LIMITS)
    assert launcher.run(lease, "raise SystemExit(3)") == 3
    counters = lease.counters()
    assert (counters.oom_kills, counters.pids_max_events, counters.nr_throttled) == (0, 0, 0)
    assert counters.memory_peak_bytes > 0
    lease.close()


def test_a_fork_bomb_meets_its_limit(launcher: Launcher):
    code = """
import os, signal
try:
    for number in range(100):
        if os.fork() == 0:
            signal.pause()
except BlockingIOError:
    raise SystemExit(number)
"""
    lease = launcher.group.lease(LIMITS)
    started = launcher.run(lease, code)
    counters = lease.counters()
    assert started == 15, "itself and 15 children"
    assert counters.pids_max_events >= 1
    assert counters.pids_peak in (0, 16), "0 where the kernel keeps no peak"
    lease.close()


def test_cpu_time_of_dead_grandchildren_is_counted(launcher: Launcher):
    code = """
import os, time
if os.fork() == 0:
    if os.fork() == 0:
        while time.process_time() < 0.3:
            pass
        os._exit(0)
    os._exit(os.wait()[1])
os.wait()
"""
    lease = launcher.group.lease(LIMITS)
    assert read_cpu_ns(lease.cpu_fd) == 0
    assert launcher.run(lease, code) == 0
    counters = lease.counters()
    used = counters.cpu_user_ns + counters.cpu_system_ns
    assert used >= 0.29e9
    assert abs(read_cpu_ns(lease.cpu_fd) - used) <= 2000, "microseconds on v2"
    lease.close()


def test_bandwidth_is_throttled(launcher: Launcher, base: Base):
    if "cpu" not in base.controllers:
        with pytest.raises(CgroupError, match="cpu controller"):
            launcher.group.lease(CgroupLimits(memory_bytes=64 * MIB, pids=4, cpu_quota_millicpus=100))
        return
    # A twentieth of a CPU: more than a busy host leaves would never be reached there.
    lease = launcher.group.lease(CgroupLimits(memory_bytes=64 * MIB, pids=4, cpu_quota_millicpus=50))
    assert launcher.run(lease, "import time\nwhile time.process_time() < 0.1: pass") == 0
    counters = lease.counters()
    assert counters.nr_throttled >= 1
    assert counters.throttled_ns > 0.1e9
    lease.close()


def test_a_cpu_set_holds_or_is_refused(launcher: Launcher, base: Base):
    first = min(os.sched_getaffinity(0))
    wanted = CgroupLimits(memory_bytes=64 * MIB, pids=4, cpus=(first,))
    if "cpuset" not in base.controllers:
        with pytest.raises(CgroupError, match="cpuset controller"):
            launcher.group.lease(wanted)
        return
    lease = launcher.group.lease(wanted)
    assert launcher.run(lease, f"import os; raise SystemExit(os.sched_getaffinity(0) != {{{first}}})") == 0
    lease.close()


def test_a_limit_that_cannot_hold_leaves_nothing(launcher: Launcher, base: Base):
    resting.settle()
    before = descriptors()
    with pytest.raises(CgroupError):
        launcher.group.lease(CgroupLimits(memory_bytes=64 * MIB, pids=4, cpus=(4095,)))
    for path in launcher.group.cleanup_spec():
        assert [name for name in os.listdir(path) if name.startswith("run-")] == []
    assert descriptors() == before


def test_disk_bandwidth_is_written_where_there_is_a_disk(launcher: Launcher, base: Base):
    wanted = CgroupLimits(memory_bytes=64 * MIB, pids=4, io_bytes_per_second=MIB)
    if not {"io", "blkio"} & base.controllers:
        with pytest.raises(CgroupError, match="controller"):
            launcher.group.lease(wanted)
        return
    lease = launcher.group.lease(wanted)
    text = "".join(
        path.read_text()
        for place in lease.paths
        for path in Path(place).glob("*")
        if path.name.endswith(("io.max", "bps_device"))
    )
    assert str(MIB) in text
    lease.close()


def test_close_kills_what_is_still_there(launcher: Launcher):
    lease = launcher.group.lease(LIMITS)
    paths = lease.paths
    code = "import os, signal\nfor n in range(5):\n    if os.fork() == 0: break\nsignal.pause()"
    launcher.start(lease, code, wait=False)
    wait_until(lambda: len(Path(paths[0], "cgroup.procs").read_text().split()) >= 6, seconds(20))
    lease.close()
    assert [path for path in paths if os.path.exists(path)] == []


def test_a_killed_group_is_of_no_use_and_the_next_one_is(launcher: Launcher):
    first = launcher.group.lease(LIMITS)
    launcher.start(first, "import signal; signal.pause()", wait=False)
    first.kill()
    first.close()
    for _ in range(3):
        lease = launcher.group.lease(LIMITS)
        assert launcher.run(lease, "raise SystemExit(7)") == 7
        lease.close()


def test_close_of_the_group_ends_the_launcher_too_on_v2(base: Base):
    made = Launcher(base)
    lease = made.group.lease(LIMITS)
    made.start(lease, "import signal; signal.pause()", wait=False)
    if base.version == 1:
        lease.kill()
    made.group.close()
    made.group.close()
    assert [path for path in made.group.cleanup_spec() if os.path.exists(path)] == []
    with pytest.raises(CgroupError):
        made.group.lease(LIMITS)
    made.close()
    lease.close()


def test_many_threads_lease_at_once(launcher: Launcher):
    resting.settle()
    before = descriptors()

    def one(number: int) -> int:
        lease = launcher.group.lease(LIMITS)
        try:
            return launcher.run(lease, f"raise SystemExit({number % 50})") if number % 10 == 0 else lease.counters().oom_kills
        finally:
            lease.close()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(80))) == [number % 50 if number % 10 == 0 else 0 for number in range(80)]
    assert descriptors() == before


def test_a_forked_child_only_closes_its_copies(launcher: Launcher):
    lease = launcher.group.lease(LIMITS)
    pid = os.fork()
    if pid == 0:
        try:
            lease.close()
            launcher.group.close()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert all(os.path.exists(path) for path in lease.paths)
    assert launcher.run(lease, "raise SystemExit(5)") == 5
    lease.close()


STALE = f"""
import os, subprocess, sys
sys.path.insert(0, {str(ROOT)!r})
from sandbox.resources.cgroups import CgroupLimits, find_base
base = find_base()
if base.command_prefix:
    sys.exit("scope")
child = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import signal; signal.pause()"])
group = base.open_group(child.pid)
group.lease(CgroupLimits(memory_bytes=1 << 24, pids=4))
print(child.pid, *group.cleanup_spec(), sep="\\n", flush=True)
sys.stdin.read()
"""


def test_groups_of_a_killed_caller_are_swept_by_the_next(base: Base):
    caller = subprocess.Popen(
        [sys.executable, "-c", STALE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with caller:
        if base.command_prefix:
            assert caller.communicate(timeout=seconds(30))[1].strip() == "scope", "systemd removes scopes by itself"
            return
        lines = [caller.stdout.readline().strip() for _ in range(1 + len(base.directories()))]
        child, paths = int(lines[0]), lines[1:]
        assert all(os.path.exists(path) for path in paths)
        find_base()
        assert all(os.path.exists(path) for path in paths), "its owner lives"
        caller.kill()
        caller.wait()
        find_base()
        assert [path for path in paths if os.path.exists(path)] == []
        try:
            os.kill(child, signal.SIGKILL)
        except ProcessLookupError:
            assert base.version == 2, "v2 kills the launcher with the group"


def test_a_scope_goes_with_its_launcher(base: Base):
    if not base.command_prefix:
        assert base.directories()
        return
    made = Launcher(base)
    scope = os.path.dirname(made.group.cleanup_spec()[0])
    assert scope.endswith(".scope")
    made.close()
    wait_until(lambda: not os.path.exists(scope), seconds(10), "systemd keeps the scope")


RACE = f"""
import os, subprocess, sys
sys.path.insert(0, {str(ROOT)!r})
from sandbox.resources.cgroups import CgroupLimits, find_base
print("ready", flush=True)
sys.stdin.readline()
base = find_base()
command = [*base.command_prefix, sys.executable, "-I", "-S", "-c", "print(flush=True); import sys; sys.stdin.read()"]
child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.read(1)
group = base.open_group(child.pid)
for number in range(5):
    lease = group.lease(CgroupLimits(memory_bytes=1 << 24, pids=4))
    assert lease.counters().pids_max_events == 0
    lease.close()
child.stdin.close()
child.wait()
group.close()
print(*(path for path in group.cleanup_spec() if os.path.exists(path)), "done", flush=True)
"""


def test_several_callers_find_their_place_at_once():
    callers = [
        subprocess.Popen([sys.executable, "-c", RACE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    for caller in callers:
        assert caller.stdout.readline() == "ready\n"
    for caller in callers:
        caller.stdin.write("go\n")
        caller.stdin.flush()
    assert [caller.communicate(timeout=seconds(30))[0] for caller in callers] == ["done\n"] * 4
    assert [caller.returncode for caller in callers] == [0] * 4


@pytest.mark.parametrize("value", ["relative/path", "/nowhere/at/all", "/proc"])
def test_an_unusable_given_group_is_an_error_of_its_own(monkeypatch: pytest.MonkeyPatch, value: str):
    monkeypatch.setenv("SANDBOX_CGROUP", value)
    with pytest.raises(CgroupError, match="SANDBOX_CGROUP"):
        find_base()
