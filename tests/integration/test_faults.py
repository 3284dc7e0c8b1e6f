"""Odd circumstances of the caller and sudden deaths: a right result or a clear error, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import callers, leaks
from tests.support.clock import SLOWNESS, seconds, wait_until
from tests.support.require import require

pytestmark = pytest.mark.vm
PARALLEL = 50
GONE_WITHIN = 1.0 if SLOWNESS == 1 else 5.0


@pytest.fixture
def arguments(probe_program: Path, degraded: bool) -> dict[str, Any]:
    return {"probe": str(probe_program), "degraded": degraded}


def answer(code: str, arguments: dict[str, Any], **options: Any) -> Any:
    """What a caller in these circumstances printed last, as JSON."""
    out = callers.finish(callers.start(code, **options, **arguments), seconds(60))
    return json.loads(out.splitlines()[-1])


RIGHT = """
import sandbox
result = sandbox.run([INSIDE, "echo"], stdin=b"hello", **options())
answer = [result.outcome, result.stdout.decode(), result.stderr.decode()]
"""
SAY = "print(json.dumps(answer))"
EXPECTED = ["exited", "hello", ""]
CIRCUMSTANCES = {
    "SIGCHLD ignored": "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    "every signal blocked": "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))",
    "umask 0777": "os.umask(0o777)",
    "umask 0": "os.umask(0)",
    "a directory that was removed": "import tempfile; d = tempfile.mkdtemp(); os.chdir(d); os.rmdir(d)",
    "nowhere to write": "for n in ('HOME', 'TMPDIR', 'XDG_CACHE_HOME', 'XDG_CONFIG_HOME'): os.environ[n] = '/proc/self/none'",
    "somebody else's home": "import tempfile; d = tempfile.mkdtemp(); os.chmod(d, 0); os.environ.update(HOME=d)",
    "no environment": "os.environ.clear()",
    "low priority": "os.nice(10)",
    "a thread": "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
    "memory not dumpable": "import ctypes; ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)",
    "a subreaper": "import ctypes; ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)",
}


@pytest.mark.parametrize("circumstance", CIRCUMSTANCES)
def test_odd_callers(circumstance: str, arguments: dict[str, Any]) -> None:
    assert answer(CIRCUMSTANCES[circumstance] + RIGHT + SAY, arguments) == EXPECTED


@pytest.mark.parametrize("closed", ["0", "1", "2", "0, 1, 2"])
def test_closed_standard_streams(closed: str, arguments: dict[str, Any], tmp_path: Path) -> None:
    """Our own pipes then get the numbers 0 to 2."""
    path = tmp_path / "answer"
    code = f"for fd in ({closed},): os.close(fd)\n{RIGHT}\nopen({str(path)!r}, 'w').write(json.dumps(answer)); os._exit(0)"
    callers.finish(callers.start(code, **arguments), seconds(60))
    assert json.loads(path.read_text()) == EXPECTED


def test_the_launcher_under_the_debug_allocator(arguments: dict[str, Any], tmp_path: Path) -> None:
    """A buffer that the kernel writes past its end shows at once here, and elsewhere only with some interpreters."""
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\nexec {sys.executable} -X dev "$@"\n')
    wrapper.chmod(0o755)
    code = """
import sandbox
sys.executable = arguments["wrapper"]
with sandbox.Sandbox(**options()) as box:
    answer = [str(box.run([INSIDE, *words.split()], collect=["."], files={"a": b"1"}, **more).exit) for words, more in (
        ("exit 3", {}), ("syscall 165 0 0 0 0 0", {}), ("exit 4", {}), ("abort", {}), ("window", {"tty": (24, 80)}),
        ("exit 5", {}),
    )]
print(json.dumps(answer))
"""
    ends = answer(code, {**arguments, "wrapper": str(wrapper)})
    assert ends == [*(f"Exited(code={code})" for code in (3, 2, 4)), "Signaled(signal=6)", "Exited(code=0)", "Exited(code=5)"]


def test_leaked_descriptors_stay_outside(arguments: dict[str, Any]) -> None:
    code = """
import sandbox
for number in range(20):
    os.set_inheritable(os.open("/etc/passwd", os.O_RDONLY), True)
directory = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
os.set_inheritable(directory, True)
os.dup2(directory, 900, inheritable=True)
answer = sandbox.run([INSIDE, "fds"], **options()).stdout.decode().splitlines()
print(json.dumps(answer))
"""
    listed = answer(code, arguments)
    assert [line.split(" ")[0] for line in listed] == ["0", "1", "2"]
    assert all(line.split(" ")[1].startswith("pipe:") for line in listed), listed


ERROR = """
import sandbox
from sandbox.model.errors import SandboxError
try:
    sandbox.run([INSIDE, "exit", "0"], **options())
    print(json.dumps({"error": ""}))
except SandboxError as error:
    tell(error)
"""


def test_no_descriptors_left(arguments: dict[str, Any]) -> None:
    """At every number of free descriptors: a result or a clear error, and no traceback of something else.

    The kernel compares what all processes of this user have on its way through sockets with a sender's limit, here a small one.
    So what other tests send counts, a thousand in `test_descriptors_in_flight_are_the_payloads_trouble`, until it is received.
    """
    code = """
import errno, resource, sandbox, time
from sandbox.model.errors import SandboxError
OTHERS = os.strerror(errno.ETOOMANYREFS)
until = time.monotonic() + arguments["patience"]

def run():
    while True:
        try:
            return sandbox.run([INSIDE, "exit", "0"], **options())
        except sandbox.ResourceError as error:
            if OTHERS not in str(error) or time.monotonic() > until:
                raise
        time.sleep(0.05)

sandbox.run([INSIDE, "exit", "0"], **options())
ends = []
hold = []
open_now = len(os.listdir("/proc/self/fd"))
resource.setrlimit(resource.RLIMIT_NOFILE, (open_now + 40, open_now + 40))
try:
    while True:
        hold.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
for free in range(24):
    try:
        result = run()
        ends.append("ok" if result.ok else str(result))
    except SandboxError as error:
        text = str(error)
        ends.append(type(error).__name__ if text and "\\n" not in text and OTHERS not in text else text or "no text")
    os.close(hold.pop())
print(json.dumps([ends, run().ok]))
"""
    ends, last = answer(code, {**arguments, "patience": seconds(40)})
    assert last is True
    assert ends[0] != "ok"
    assert ends[-1] == "ok", ends
    assert set(ends) <= {"ok", "ResourceError", "ScratchError", "CgroupError", "LaunchError"}, ends


def test_no_descriptors_for_the_first_run(arguments: dict[str, Any]) -> None:
    code = """
import resource, sandbox, sandbox.api
made = options()
import sandbox.runtime.engine, subprocess, socket, select
here = len(os.listdir("/proc/self/fd"))
resource.setrlimit(resource.RLIMIT_NOFILE, (here + 3, here + 3))
try:
    sandbox.run([INSIDE, "exit", "0"], **made)
    print(json.dumps({"error": ""}))
except sandbox.SandboxError as error:
    tell(error)
"""
    told = answer(code, arguments)
    assert "SandboxError" in told["bases"]
    assert "\n" not in told["text"]


NO_CALL = """
import pyseccomp
def refuse(number, *calls):
    filter = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    for call in calls:
        filter.add_rule(pyseccomp.ERRNO(number), call)
    filter.load()
import sandbox, sandbox.api
"""


def test_a_host_that_refuses_namespaces_by_a_filter(arguments: dict[str, Any]) -> None:
    """As container managers do it."""
    told = answer(NO_CALL + "refuse(1, 'clone3', 'unshare')\n" + ERROR, arguments)
    assert told["error"] == "UnsupportedHostError", told
    assert "userns" in told["feature"]


def test_a_host_without_processes_left(arguments: dict[str, Any]) -> None:
    told = answer(NO_CALL + "refuse(11, 'fork', 'vfork', 'clone', 'clone3')\n" + ERROR, arguments)
    assert told["error"] in ("LaunchError", "ResourceError"), told
    assert "launcher" in told["text"]


def test_a_host_without_user_namespaces(arguments: dict[str, Any]) -> None:
    """user.max_user_namespaces counts per namespace: a new one can forbid its own children."""
    require("userns")
    forbid = 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"'
    prefix = ("unshare", "--user", "--map-current-user", "--keep-caps", "sh", "-c", forbid, "sh")
    told = answer(ERROR, {**arguments, "degraded": True}, prefix=prefix)
    assert told["error"] == "UnsupportedHostError", told
    assert told["feature"] == "userns"
    assert "max_user_namespaces" in told["text"]


MANY = """
import threading, sandbox
box = sandbox.Sandbox(**options(), max_concurrency=arguments["parallel"])
lock, waiting, ends = threading.Lock(), [arguments["parallel"]], []

def here(_):
    with lock:
        waiting[0] -= 1
        if waiting[0] == 0:
            print(json.dumps({"keeper": box._engine.launchers.living()[0].pid}), flush=True)

def serve():
    try:
        ends.append(str(box.run(["/bin/sh", "-c", "echo here; sleep 60 & sleep 60"], on_stdout=here).outcome))
    except Exception as error:
        ends.append(type(error).__name__)

threads = [threading.Thread(target=serve) for _ in range(arguments["parallel"])]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
again = box.run([INSIDE, "exit", "0"]).ok
box.close()
print(json.dumps([sorted(set(ends)), len(ends), again]), flush=True)
"""


@pytest.mark.claim("SEC-LT-02")
@pytest.mark.heavy
@pytest.mark.timeout(600)
@pytest.mark.parametrize("victim", ["caller", "keeper", "launcher"])
def test_sudden_death(victim: str, arguments: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """kill -9 while 50 runs are in flight: no process, no control group, no mount and no file is left."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = leaks.mounts()
    process = callers.start(MANY, **arguments, parallel=PARALLEL)
    try:
        line = process.stdout.readline() if process.stdout else ""
        assert line, process.communicate()
        keeper = json.loads(line)["keeper"]
        wait_until(lambda: len(leaks.descendants(process.pid)) > 3 * PARALLEL, seconds(10), "every program has started")
        below = leaks.descendants(process.pid)
        launchers = [pid for pid in leaks.descendants(keeper) if parent_of(pid) == keeper]
        groups = {path for path in leaks.groups_of(below) if path not in leaks.groups_of({process.pid})}
        target = {"caller": process.pid, "keeper": keeper, "launcher": launchers[0]}[victim]
        os.kill(target, signal.SIGKILL)
        took = wait_until(lambda: not leaks.alive(below), GONE_WITHIN, "every process is gone")
        took += wait_until(
            lambda: not [path for path in groups if os.path.isdir(path)], GONE_WITHIN, f"groups are gone: {groups}"
        )
        assert took <= GONE_WITHIN
        if victim == "caller":
            process.wait()
        else:
            out = callers.finish(process, seconds(60))
            assert json.loads(out.splitlines()[-1]) == [["LauncherDied"], PARALLEL, True]
    finally:
        process.kill()
        process.communicate()
    assert leaks.mounts() == before
    assert os.listdir(tmp_path) == []


def parent_of(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            data = file.read()
    except OSError:
        return -1
    return int(data[data.rindex(b")") + 2 :].split()[1])


def test_the_end_of_the_callers_thread_ends_nothing(arguments: dict[str, Any]) -> None:
    """PDEATHSIG is tied to a thread; a worker that started the launcher may end while others use it."""
    code = """
import threading, sandbox
results = []
box = sandbox.Sandbox(**options())
def serve():
    results.append(box.run([INSIDE, "exit", "0"]).ok)
for _ in range(3):
    thread = threading.Thread(target=serve)
    thread.start()
    thread.join()
pid = box._engine.launchers.living()[0].pid
serve()
print(json.dumps([results, pid == box._engine.launchers.living()[0].pid]))
"""
    assert answer(code, arguments) == [[True] * 4, True]


def test_an_interpreter_that_exits_closes_everything(arguments: dict[str, Any]) -> None:
    code = (
        RIGHT + "print(json.dumps([p for p in sandbox.runtime.registry.shared._engines.values()][0].launchers.living()[0].pid))"
    )
    keeper = answer(code, arguments)
    wait_until(lambda: not leaks.alive({keeper}), GONE_WITHIN, "the launcher ends with its caller")


def test_caller_is_stopped_and_goes_on(arguments: dict[str, Any]) -> None:
    """SIGSTOP in mid-run: the clock of the run goes on without the caller, the result is right afterwards."""
    code = """
import sandbox
result = sandbox.run(["/bin/sh", "-c", "echo here; exec sleep 60"], limits={"wall": "1s"},
                     on_stdout=lambda _: print("here", flush=True), **options())
print(json.dumps(str(result.outcome)))
"""
    process = callers.start(code, **arguments)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        os.kill(process.pid, signal.SIGSTOP)
        inside = leaks.descendants(process.pid)
        wait_until(lambda: len(leaks.alive(inside)) <= 2, seconds(10), "the launcher ends the run by itself")
        os.kill(process.pid, signal.SIGCONT)
        assert json.loads(callers.finish(process, seconds(30)).splitlines()[-1]) == "wall_time"
    finally:
        process.kill()
        process.communicate()
