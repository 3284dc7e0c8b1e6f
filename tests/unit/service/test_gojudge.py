"""go-judge's requests and results as pure mappings."""

from __future__ import annotations

import pytest

from sandbox.model.errors import RequestError
from sandbox.model.result import CollectedFile, Exited, Outcome, Signaled
from sandbox.service.dialects import gojudge_maps
from sandbox.service.dialects.stages import Streams
from tests.support.results import result

LIMITS = {"cpu_ns": 10 * 10**9, "wall_ns": 20 * 10**9, "memory_bytes": 512 << 20, "pids": 128, "output_bytes": 1 << 20}
FILES = [{"content": "in"}, {"name": "stdout", "max": 4}, {"name": "stderr", "max": 9}]


def one(**given):
    body = {"cmd": [{"args": ["prog"], "files": FILES, **given}]}
    return gojudge_maps.commands(body, {"ID": b"cached"}.get, LIMITS)[0][0]


def test_a_command():
    made = one(
        args=["/usr/bin/g++", "a.cc"],
        env=["PATH=/bin", "A=b=c"],
        cpuLimit=10**9,
        memoryLimit=1 << 26,
        procLimit=50,
        copyIn={"a.cc": {"content": "int"}, "b": {"fileId": "ID"}},
        copyOut=["stdout", "out", "log?"],
        copyOutCached=["a"],
    )
    ask = made.ask
    assert (ask.argv, ask.stdin, ask.env) == (("/usr/bin/g++", "a.cc"), b"in", {"PATH": "/bin", "A": "b=c"})
    assert ask.files == {"a.cc": b"int", "b": b"cached"}
    assert ask.collect == ("out", "log", "a")
    assert ask.limits == {"cpu_ns": 10**9, "wall_ns": 2 * 10**9, "memory_bytes": 1 << 26, "pids": 50, "output_bytes": 10}
    assert (made.cached, made.optional) == ({"a"}, {"log"})


def test_limits_above_the_servers_are_the_servers():
    assert one(cpuLimit=10**12, clockLimit=10**13, memoryLimit=1 << 50).ask.limits == {
        "cpu_ns": 10 * 10**9,
        "wall_ns": 20 * 10**9,
        "memory_bytes": 512 << 20,
        "output_bytes": 10,
    }


@pytest.mark.parametrize("name", ["a", "./a"])
def test_a_program_that_is_copied_in_is_made_executable(name):
    argv = one(args=[name, "x"], copyIn={"a": {"content": ""}}).ask.argv
    assert argv[:2] == ("/bin/sh", "-c")
    assert argv[3:] == ("./a", "x")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"args": []}, "args must name a program"),
        ({"args": "x"}, "args must be an array of strings"),
        ({"args": ["a\0"]}, "args must be an array of strings"),
        ({"files": [{"src": "/etc/passwd"}]}, "does not under"),
        ({"copyIn": {"x": {"src": "/etc/passwd"}}}, "does not under"),
        ({"copyIn": {"../x": {"content": ""}}}, "escape parent"),
        ({"copyIn": {"x": {"symlink": "/etc"}}}, "symlink"),
        ({"copyIn": {"x": {"fileId": "gone"}}}, "file not exists with id gone"),
        ({"copyIn": {"x": {}}}, "file is not valid for cmd"),
        ({"copyIn": []}, None),
        ({"files": [{"streamIn": True}]}, "file is not valid for cmd"),
        ({"files": [None, {"content": "x"}]}, "file is not valid for cmd"),
        ({"files": [None] * 4}, "only descriptors"),
        ({"cpuSetLimit": "0"}, "cpuSetLimit is not supported"),
        ({"copyOutDir": "/tmp"}, "copyOutDir is not supported"),
        ({"cpuLimit": "1"}, "cpuLimit must be a number"),
        ({"cpuLimit": -1}, "cpuLimit must be a number"),
        ({"memoryLimit": 1.5}, "memoryLimit must be a number"),
        ({"env": ["A"]}, "env must be"),
    ],
)
def test_what_is_refused(given, words):
    if words is None:
        assert one(**given).ask.files == {}
        return
    with pytest.raises(RequestError, match=words):
        one(**given)


@pytest.mark.parametrize("body", [None, [], {}, {"cmd": []}, {"cmd": "x"}, {"cmd": [1]}, {"cmd": [{"args": ["x"]}] * 17}])
def test_bodies_without_commands(body):
    with pytest.raises(RequestError, match="cmd"):
        gojudge_maps.commands(body, {}.get, LIMITS)


def told(run, **given):
    return gojudge_maps.result(one(**given), run, Streams(run.stdout, run.stderr, b""))


@pytest.mark.parametrize(
    ("run", "status", "exit_status"),
    [
        (result(), "Accepted", 0),
        (result(end=Exited(3)), "Nonzero Exit Status", 3),
        (result(Outcome.SIGNALED, Signaled(11)), "Signalled", 11),
        (result(Outcome.CPU_TIME, Signaled(9)), "Time Limit Exceeded", 9),
        (result(Outcome.WALL_TIME, Signaled(9)), "Time Limit Exceeded", 9),
        (result(Outcome.MEMORY, Signaled(9)), "Memory Limit Exceeded", 9),
        (result(Outcome.OUTPUT, Signaled(9), stdout=b"12345"), "Output Limit Exceeded", 9),
        (result(Outcome.DENIED_SYSCALL, Signaled(31)), "Dangerous Syscall", 31),
    ],
)
def test_statuses(run, status, exit_status):
    out = told(run)[0]
    assert (out["status"], out["exitStatus"], out["time"], out["runTime"]) == (status, exit_status, 12_000_000, 154_000_000)


def test_outputs_are_entries_of_files_as_long_as_they_may_be():
    out, files, _ = told(result(stdout=b"1234", stderr=b"e"))
    assert (out["status"], files) == ("Accepted", {"stdout": b"1234", "stderr": b"e"})
    out, files, _ = told(result(stdout=b"12345"))
    assert (out["status"], files["stdout"]) == ("Output Limit Exceeded", b"1234")


def test_files_that_are_taken_out():
    found = {"a": CollectedFile(b"12345", 0o755), "b": CollectedFile(b"1", 0o644)}
    out, files, kept = told(result(files=found), copyOut=["b", "gone?"], copyOutCached=["a"])
    assert (out["status"], files["b"], kept) == ("Accepted", b"1", {"a": b"12345"})
    missing = result(files={}, refused_files=(("gone", "missing"),))
    out, _, _ = told(missing, copyOut=["gone?"])
    assert (out["status"], "fileError" in out) == ("Accepted", False)
    out, _, _ = told(missing, copyOut=["gone"])
    assert out["status"] == "File Error"
    assert out["fileError"] == [{"name": "gone", "type": "CopyOutOpen", "message": "missing"}]
    out, files, _ = told(result(files=found), copyOut=["a"], copyOutMax=2)
    assert (out["status"], out["fileError"][0]["type"], "a" in files) == ("File Error", "CopyOutSizeExceeded", False)
    out, files, _ = told(result(files=found), copyOut=["a"], copyOutMax=2, copyOutTruncate=True)
    assert (out["status"], files["a"]) == ("Accepted", b"12")


PIPE = {"in": {"index": 0, "fd": 1}, "out": {"index": 1, "fd": 0}}
PAIR = [{"args": ["a"], "files": [{"content": ""}, None]}, {"args": ["b"], "files": [None, {"name": "stdout", "max": 9}]}]


def test_pipes():
    _, pipes = gojudge_maps.commands(
        {"cmd": PAIR, "pipeMapping": [{**PIPE, "proxy": True, "name": "log", "max": 3}]}, {}.get, LIMITS
    )
    assert (pipes[0].source, pipes[0].descriptor, pipes[0].target) == (0, 1, 1)
    assert pipes[0].copy == gojudge_maps.Collector("log", 3)


@pytest.mark.parametrize(
    "mapping",
    [
        {**PIPE, "out": {"index": 0, "fd": 0}},
        {**PIPE, "out": {"index": 5, "fd": 0}},
        {**PIPE, "out": {"index": 1, "fd": 3}},
        {**PIPE, "in": {"index": 0, "fd": 0}},
        {**PIPE, "in": {"index": 0, "fd": 2}},
        {**PIPE, "in": 5},
        {},
        5,
    ],
)
def test_pipes_that_cannot_be(mapping):
    with pytest.raises(RequestError, match="pipeMapping"):
        gojudge_maps.commands({"cmd": PAIR, "pipeMapping": [mapping]}, {}.get, LIMITS)


def test_a_descriptor_has_one_pipe():
    with pytest.raises(RequestError, match="twice"):
        gojudge_maps.commands({"cmd": PAIR, "pipeMapping": [PIPE, PIPE]}, {}.get, LIMITS)
