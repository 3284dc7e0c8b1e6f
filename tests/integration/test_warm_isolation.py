"""Nothing of a launcher, of an earlier run or of the host is in the memory of a warm run, or within its reach."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import Mount, Sandbox

pytestmark = [pytest.mark.vm, pytest.mark.requires("system python")]


@pytest.fixture(scope="module")
def warm(degraded: bool) -> Iterator[Sandbox]:
    with Sandbox("python-warm", allow_degraded=degraded) as box:
        yield box


SCAN = (Path(__file__).parents[1] / "escape" / "payloads" / "warm.py").read_text()


def found(box: Sandbox, hidden: bytes, code: str = SCAN) -> bool:
    """Whether a run has in its memory what `hidden` is backwards: it must not have it by being told."""
    result = box.run(["python3", "-c", code, "memory"], stdin=hidden)
    assert result.stdout.startswith((b"ESCAPED", b"CONTAINED")), (result.stdout, result.stderr)
    return result.stdout.startswith(b"ESCAPED")


HOLD = """
import os, sys
sys.stdin.read(), open("secret").read(), os.environ
open("out", "w").write(sys.argv[1])
print(sys.argv[1])
"""


@pytest.mark.claim("SEC-WM-01")
def test_nothing_of_an_earlier_run_is_in_the_memory_of_a_later_one(warm: Sandbox) -> None:
    token = os.urandom(12).hex()
    for _ in range(6):
        result = warm.run(
            ["python3", "-c", HOLD, token, token * 500],
            stdin=token.encode() * 300,
            env={"SECRET": token},
            files={"secret": token.encode() * 300, f"d{token}/f": b""},
            collect=["out"],
        )
        assert result.text() == f"{token}\n", result.stderr
    hidden = token[::-1].encode()
    assert not any(found(warm, hidden) for _ in range(4))
    own = SCAN.replace("import sys\n", f"import sys\nown = {token!r}\n", 1)
    assert found(warm, hidden, own), "the scan finds nothing at all"


REACH = """
import gc, os, sys
frame, names = sys._getframe(), []
while frame is not None:
    names.append(frame.f_code.co_name)
    for space in (frame.f_globals, frame.f_locals):
        for value in list(space.values()):
            kind = type(value).__module__ + "." + type(value).__qualname__
            if any(word in kind for word in ("Plan", "Launcher", "Init", "Run", "socket", "LaunchRequest")):
                print("reachable:", kind)
    frame = frame.f_back
gc.unfreeze()
known = ("sandbox.launcher.warm.Program", "sandbox.model.plan.Warm")  # its own, and a constant
kinds = {type(thing).__module__ + "." + type(thing).__qualname__ for thing in gc.get_objects()}
print(sorted(kind for kind in kinds if kind.startswith("sandbox") and kind not in known))
print(sorted(os.listdir("/proc/self/fd"))[:3], len(os.listdir("/proc/self/fd")))
print([kind for kind in kinds if kind in ("_socket.socket", "select.epoll")])
"""


@pytest.mark.claim("SEC-WM-02")
def test_no_object_of_the_launcher_can_be_reached(warm: Sandbox) -> None:
    result = warm.run(["python3", "-c", REACH])
    assert result.text() == "[]\n['0', '1', '2'] 4\n[]\n", result.stderr


@pytest.mark.claim("SEC-WM-02")
def test_paths_of_the_host_are_not_in_its_memory(tmp_path: Path, degraded: bool) -> None:
    place = tmp_path / "a-name-of-the-host"
    place.mkdir()
    with Sandbox("python-warm", mounts=[Mount(str(place), "/data")], allow_degraded=degraded) as box:
        assert not found(box, b"a-name-of-the-host"[::-1])
