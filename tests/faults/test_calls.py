"""Every single call of init and of its child, refused once: nothing that fails is passed over in silence.

An outer filter refuses every use of a call and never gets beyond the first; here the n-th call fails, whichever it is, for
n = 1 and on, until there are no more.
"""

from __future__ import annotations

import errno
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sandbox import LaunchError, Mount, Profile, RequestError, Sandbox
from sandbox.runtime import keeper as keeper_module
from tests.faults import broken
from tests.support.programs import INSIDE

ROOT = Path(__file__).resolve().parents[2]
AT_ONCE = 4
LEAST = 120  # calls: fewer would mean that they are not counted
# The functions of `os` that init and child confine themselves with; those that only tidy up are not among them.
WRAPPED = tuple(
    ("chdir chmod dup2 fork getcwdb mkdir open pread pwrite setgroups setresgid setresuid setsid stat umask write").split()
)
HOOK = """

FAULT = [0, 0]  # calls that are left until one fails, and how


def _fault(name: str) -> None:
    if FAULT[0] > 0:
        FAULT[0] -= 1
        if FAULT[0] == 0:
            raise OSError(FAULT[1], "refused: " + name)


def _wrapped(name: str):
    function = getattr(os, name)

    def wrapper(*arguments, **named):
        _fault(name)
        return function(*arguments, **named)

    return wrapper


def faulty(name: str):
    called = getattr(_libc, name)

    def wrapper(*arguments):
        _fault(name)
        return called(*arguments)

    return wrapper


for _name in {wrapped!r}:
    setattr(os, _name, _wrapped(_name))
"""
IMPORT = "from sandbox.kernel import filters, mounts, namespaces, process, terminal\n"
WAIT = "        while True:\n            pid, status = os.waitpid(-1, 0)\n"
SPAWNED = "        child, self.file_limit, began = payload.spawn(self.plan, order, self.work_fd, self.progress)\n"
START = "        unwound = False\n"
SET = "        libc.FAULT[:] = [int(word) for word in self.plan.hostname.decode()[1:].split('-')]\n"


@pytest.fixture
def counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A launcher whose inits take number and kind of the fault from their host name."""
    shutil.copytree(ROOT / "sandbox", tmp_path / "sandbox", ignore=shutil.ignore_patterns("__pycache__"))
    rooms = tmp_path / "sandbox"
    libc, init = rooms / "kernel" / "libc.py", rooms / "launcher" / "init.py"
    for argument, call in (("name", "_syscall("), ("function", "getattr(_libc, function)")):
        broken.patch(libc, f"    result: int = {call}", f"    _fault({argument})\n    result: int = {call}")
    broken.patch(rooms / "kernel" / "spawn.py", "    libc.function(", "    libc.faulty(")
    libc.write_text(libc.read_text() + HOOK.replace("{wrapped!r}", repr(WRAPPED)))
    broken.patch(init, IMPORT, f"from sandbox.kernel import libc\n{IMPORT}")
    broken.patch(init, START, START + SET)
    broken.patch(init, SPAWNED, SPAWNED + "        libc.FAULT[0] = 0\n")
    broken.patch(init, WAIT, "        libc.FAULT[0] = 0\n" + WAIT)  # the program runs: what fails now is the report
    for folder, _, _ in os.walk(tmp_path):
        os.chmod(folder, 0o755)
    monkeypatch.setattr(keeper_module, "_MAIN", str(rooms / "launcher" / "__main__.py"))


def outcome(turn: int, number: int, mounts: tuple[Mount, ...], *, terminal: bool, degraded: bool) -> str:
    """ "whole" for a run that nothing happened to, else the step that is blamed; anything else is a failure of this test."""
    said: list[bytes] = []
    identity = {"hostname": f"n{turn}-{number}"}
    profile = Profile.from_dict({"extends": "default", "identity": identity, "network": {"mode": "loopback"}})
    step = ""
    with Sandbox(profile, mounts=mounts, allow_degraded=degraded, parked=0) as box:
        try:
            tty = (24, 80) if terminal else None
            result = box.run([INSIDE, "args", "ran"], files={"in": b"x"}, on_stdout=said.append, tty=tty)
        except LaunchError as error:
            step = error.step
        except RequestError as error:  # the working directory: the caller may have named one that is not there
            step = "cwd" if "working directory" in str(error) else ""
        else:
            assert result.ok, result
            step = "whole"
    assert bool(said) == (step == "whole"), f"call {turn} was refused: {step}, {said}"
    assert step
    return step


@pytest.mark.claim("SEC-LI-06", "SEC-RS-02")
@pytest.mark.parametrize("terminal", [False, True], ids=["init starts the program", "a child becomes the program"])
@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
@pytest.mark.usefixtures("counting")
def test_every_call_matters(number: int, terminal: bool, probe_mounts: tuple[Mount, ...], degraded: bool) -> None:
    steps: list[str] = []
    batch = 2 * AT_ONCE
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while steps[-batch:] != ["whole"] * batch:
            turns = range(len(steps) + 1, len(steps) + batch + 1)
            steps += pool.map(lambda turn: outcome(turn, number, probe_mounts, terminal=terminal, degraded=degraded), turns)
    while steps[-1] == "whole":
        del steps[-1]
    # A call more or less in one run moves the numbers: what is really passed over is so again.
    again = [turn for turn, step in enumerate(steps, 1) if step == "whole" for _ in range(2)]
    anew = [outcome(turn, number, probe_mounts, terminal=terminal, degraded=degraded) for turn in again]
    assert "whole" not in anew, (again, steps)
    assert len(steps) > LEAST, steps
    assert len(set(steps)) > 15, set(steps)
