"""What callers get wrong: each mistake has its own error with a remedy, nothing hangs, nothing is left behind."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sandbox
from sandbox import (
    CommandNotFound,
    Exited,
    Mount,
    NotExecutable,
    Outcome,
    PolicyError,
    ProfileError,
    RequestError,
    Sandbox,
    SandboxError,
)
from tests.support.clock import SLOWNESS
from tests.support.programs import INSIDE

pytestmark = pytest.mark.vm

MIB = 1 << 20
BAD = [
    ("no words", {"argv": []}, RequestError, "empty"),
    ("an empty word", {"argv": [""]}, RequestError, "empty"),
    ("a string", {"argv": "ls -l"}, RequestError, "list of words"),
    ("a number", {"argv": ["ls", 3]}, RequestError, r"argv\[1\]"),
    ("NUL in argv", {"argv": ["ls", "a\0b"]}, RequestError, r"argv\[1\] contains a NUL"),
    ("10 MB in one word", {"argv": ["ls", "x" * 10_000_000]}, RequestError, r"argv\[1\] has 10000000 bytes"),
    ("10 MB in many words", {"argv": ["ls", *["x" * 100_000] * 100]}, RequestError, "together"),
    ("a missing command", {"argv": ["no-such-command"]}, CommandNotFound, "no-such-command"),
    ("a missing path", {"argv": ["/no/such"]}, CommandNotFound, "/no/such"),
    ("a directory", {"argv": ["/usr"]}, NotExecutable, "/usr"),
    ("a file that is no program", {"argv": ["/work/data"], "files": {"data": b"text"}}, NotExecutable, "/work/data"),
    ("a wrong format", {"argv": ["/work/data"], "files": {"data": (b"\x7fELF", 0o755)}}, NotExecutable, "/work/data"),
    ("a missing interpreter", {"argv": ["/work/s"], "files": {"s": (b"#!/no/such\n", 0o755)}}, CommandNotFound, "interpreter"),
    ("NUL in env", {"argv": ["true"], "env": {"A": "b\0"}}, RequestError, "env"),
    ("'=' in a name of env", {"argv": ["true"], "env": {"A=B": "c"}}, RequestError, "env"),
    ("a loader variable", {"argv": ["true"], "env": {"LD_PRELOAD": "/x"}}, RequestError, "LD_PRELOAD"),
    ("a relative cwd", {"argv": ["true"], "cwd": "work"}, RequestError, "cwd"),
    ("a missing cwd", {"argv": ["true"], "cwd": "/no/such"}, RequestError, "/no/such"),
    ("a cwd that is a file", {"argv": ["true"], "cwd": INSIDE}, RequestError, INSIDE),
    ("input outside", {"argv": ["true"], "files": {"../x": b""}}, RequestError, r"\.\./x"),
    ("absolute input", {"argv": ["true"], "files": {"/etc/x": b""}}, RequestError, "/etc/x"),
    ("input that is text", {"argv": ["true"], "files": {"x": "text"}}, RequestError, "bytes"),
    ("input below input", {"argv": ["true"], "files": {"x": b"", "x/y": b""}}, RequestError, "below"),
    (
        "too much input",
        {"argv": ["true"], "files": {"x": bytes(8 * MIB)}, "limits": {"scratch": "1MiB"}},
        RequestError,
        "scratch",
    ),
    ("collection outside", {"argv": ["true"], "collect": ["../x"]}, RequestError, "collect"),
    ("text as stdin", {"argv": ["true"], "stdin": "text"}, RequestError, "stdin"),
    ("a number of rows", {"argv": ["true"], "tty": (0, 80)}, RequestError, "tty"),
    ("a wider limit", {"argv": ["true"], "limits": {"memory": "900GiB"}}, PolicyError, "memory"),
    ("an unknown limit", {"argv": ["true"], "limits": {"memroy": "1MiB"}}, SandboxError, "memory"),
    ("a bad unit", {"argv": ["true"], "limits": {"memory": "1 parsec"}}, SandboxError, "parsec"),
    ("a negative limit", {"argv": ["true"], "limits": {"pids": -1}}, SandboxError, "pids"),
]


@pytest.mark.claim("SEC-IO-02", "SEC-PO-03")
@pytest.mark.parametrize(("arguments", "error", "text"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_arguments(box: Sandbox, arguments: dict[str, Any], error: type[SandboxError], text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        box.run(**arguments)
    assert "\n" not in str(caught.value)
    assert box.stats()["busy"] == 0


@pytest.mark.usefixtures("no_leaks")
def test_refusals_leave_nothing(probe_mounts: Any, degraded: bool) -> None:
    with Sandbox("native", mounts=probe_mounts, allow_degraded=degraded) as box:
        for _, arguments, error, _ in BAD:
            with pytest.raises(error):
                box.run(**arguments)
        assert box.run([INSIDE, "exit", "0"]).ok


def mount(source: str) -> tuple[Mount, ...]:
    return (Mount(source=source, target="/opt/data", writable=False, executable=False, requirement="required", why="test"),)


@pytest.mark.usefixtures("no_leaks")
def test_a_missing_mount_source(degraded: bool) -> None:
    with pytest.raises(SandboxError, match="/no/such/source") as caught:
        sandbox.run(["true"], mounts=mount("/no/such/source"), allow_degraded=degraded)
    assert caught.value.hint or "exist" in str(caught.value)


def test_a_mount_source_that_vanishes(degraded: bool, tmp_path: Path) -> None:
    """It was there when the profile was planned and is gone when the launcher starts."""
    source = tmp_path / "data"
    source.mkdir()
    os.chmod(tmp_path, 0o755)
    with Sandbox("default", mounts=mount(str(source)), allow_degraded=degraded) as box:
        source.rmdir()
        with pytest.raises(SandboxError, match=str(source)):
            box.run(["true"])


def test_unknown_profiles(degraded: bool, tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="pyhton"):
        sandbox.run(["true"], profile="pyhton", allow_degraded=degraded)
    broken = tmp_path / "broken.toml"
    broken.write_text("extends = \n")
    with pytest.raises(ProfileError, match=r"broken\.toml:1"):
        sandbox.run(["true"], profile=str(broken), allow_degraded=degraded)


class Source:
    """Yields pieces, counts them, and would go on for `total` bytes."""

    def __init__(self, total: int) -> None:
        self.left = total
        self.given = 0

    def __iter__(self) -> Iterator[bytes]:
        piece = bytes(MIB)
        while self.left > 0:
            self.left -= len(piece)
            self.given += len(piece)
            yield piece


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_a_gigabyte_of_stdin_that_nobody_reads(box: Sandbox) -> None:
    source = Source(1 << 30)
    before = peak_bytes()
    result = box.run([INSIDE, "exit", "0"], stdin=source)
    assert result.ok
    assert source.given <= 4 * MIB
    assert peak_bytes() - before < 32 * MIB


def test_a_gigabyte_of_stdin_that_nobody_reads_ends_by_the_clock(box: Sandbox) -> None:
    result = box.run([INSIDE, "sleep", "60"], stdin=Source(1 << 30), limits={"wall": "500ms"})
    assert result.outcome is Outcome.WALL_TIME


def test_a_large_stdin_is_passed_whole(box: Sandbox) -> None:
    total = (1 << 30) if SLOWNESS == 1 else 64 * MIB
    before = peak_bytes()
    result = box.run([INSIDE, "count"], stdin=Source(total))
    assert result.ok, result
    assert int(result.stdout) == total
    assert peak_bytes() - before < 32 * MIB


def test_stdin_from_a_file(box: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_bytes(b"line\n" * 50_000)
    with path.open("rb") as file:
        assert box.run([INSIDE, "count"], stdin=file).stdout == b"250000\n"
    with path.open("rb") as file:  # the payload gets a pipe, never the host's file
        listed = box.run([INSIDE, "fds"], stdin=file).stdout.decode()
    assert str(path) not in listed
    assert listed.startswith("0 pipe:")


def test_stdin_closed_or_empty(box: Sandbox) -> None:
    assert box.run([INSIDE, "count"]).stdout == b"0\n"
    assert box.run([INSIDE, "count"], stdin=b"").stdout == b"0\n"
    reader, writer = os.pipe()
    os.close(writer)
    with open(reader, "rb") as file:
        assert box.run([INSIDE, "count"], stdin=file).stdout == b"0\n"


def test_an_error_of_the_callers_source_is_the_callers(box: Sandbox) -> None:
    def source() -> Iterator[bytes]:
        yield b"x"
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        box.run([INSIDE, "count"], stdin=source())
    assert box.run([INSIDE, "exit", "4"]).exit == Exited(4)
