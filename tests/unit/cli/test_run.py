"""`sandbox run`: options to arguments of the API, results to exit codes and words."""

from __future__ import annotations

import json
import os
import resource
import signal

import pytest

from sandbox.model.errors import CapacityError, CommandNotFound, NotExecutable, UnsupportedHostError
from sandbox.model.result import CollectedFile, Evidence, Exited, Outcome, Signaled
from tests.unit.cli.fakes import WEAKER, make_result


def test_the_command_reaches_the_api_as_it_is(api, invoke):
    code, _, err = invoke("run", "--", "true", "--json", "-v", "")
    assert code == 0
    assert err == ""
    assert api.started["argv"] == ["true", "--json", "-v", ""]
    assert api.started["stdin"] == 0
    assert api.started["tty"] is None
    assert api.made["allow_degraded"] is False
    assert api.closed == ["run", "sandbox"]


def test_options_end_at_the_command_also_without_dashes(api, invoke):
    invoke("run", "--limit", "wall=2s", "true", "--limit", "x")
    assert api.started["argv"] == ["true", "--limit", "x"]
    assert api.made["limits"] == {"wall": "2s"}


def test_every_option_has_its_argument(api, invoke, tmp_path, monkeypatch):
    monkeypatch.setenv("OURS", "here")
    source = tmp_path / "data"
    source.mkdir()
    put = tmp_path / "put"
    put.write_bytes(b"in")
    code, _, err = invoke(
        "run", "--profile", "strict", "--set", "limits.memory=32MiB", "--limit", "wall=1s", "--limit", "pids=4", "--env", "A=b=c",
        "--env", "OURS", "--mount", f"{source}:/data:ro,noexec", "--file", f"{put}=deep/put", "--collect", "out",
        "--out", str(tmp_path / "new"), "--cwd", "/tmp", "--allow-degraded", "--", "prog",
    )  # fmt: skip
    assert (code, err) == (0, "")
    profile = api.made["profile"]
    assert profile.name == "strict"
    assert profile.policy.limits.memory_bytes == 32 << 20
    assert api.made["limits"] == {"wall": "1s", "pids": "4"}
    (mount,) = [item for item in profile.policy.mounts if item.target == "/data"]
    assert (mount.source, mount.writable, mount.executable) == (str(source), False, False)
    assert api.started["env"] == {"A": "b=c", "OURS": "here"}
    assert api.started["files"] == {"deep/put": (b"in", 0o644)}
    assert api.started["collect"] == ("out",)
    assert api.started["cwd"] == "/tmp"
    assert api.made["allow_degraded"] is True


@pytest.mark.parametrize(
    ("outcome", "status", "code"),
    [
        (Outcome.EXITED, Exited(0), 0),
        (Outcome.EXITED, Exited(3), 3),
        (Outcome.EXITED, Exited(255), 255),
        (Outcome.SIGNALED, Signaled(signal.SIGSEGV), 139),
        (Outcome.MEMORY, Signaled(signal.SIGKILL), 137),
        (Outcome.WALL_TIME, Signaled(signal.SIGKILL), 137),
        (Outcome.DISK, Exited(1), 1),
        (Outcome.OUTPUT, Exited(0), 137),
        (Outcome.CANCELED, Signaled(signal.SIGKILL), 130),
    ],
)
def test_exit_codes(api, invoke, outcome, status, code):
    api.result = make_result(outcome=outcome, exit=status)
    assert invoke("run", "--", "x")[0] == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CommandNotFound("no 'x' inside", hint="mount it"), 127),
        (NotExecutable("not executable"), 126),
        (UnsupportedHostError("userns", "nothing runs", "sysctl -w a=1"), 125),
        (CapacityError("full"), 125),
    ],
)
def test_errors_are_one_line_or_one_object(api, invoke, answer, error, code):
    api.error = error
    given, out, err = invoke("run", "--", "x")
    assert (given, out) == (code, "")
    assert err == f"sandbox: {error}\n"
    given, said = answer("run", "--json", "--", "x")
    assert given == code
    assert said["error"]["class"] == type(error).__name__
    assert said["error"]["message"] == error.message
    assert said["error"]["hint"] == error.hint
    assert said["error"]["retryable"] is error.retryable


def test_a_bug_of_ours_is_never_the_payloads_code(api, invoke):
    api.error = ZeroDivisionError("oops")
    code, out, err = invoke("run", "--", "x")
    assert (code, out) == (125, "")
    assert err.splitlines()[-1].startswith("sandbox: internal error: ZeroDivisionError: oops")


@pytest.mark.parametrize(
    "words",
    [
        ("run",),
        ("run", "--"),
        ("run", "--nonsense", "--", "x"),
        ("run", "--limit", "wall", "--", "x"),
        ("run", "--set", "=1", "--", "x"),
        ("run", "--env", "NO_SUCH_VARIABLE_HERE", "--", "x"),
        ("run", "--file", "/no/such", "--", "x"),
        ("run", "--file", "/dev/null", "--", "x"),
        ("run", "--stdin", "/no/such", "--", "x"),
        ("run", "--mount", "/no/such", "--", "x"),
        ("run", "--mount", "/usr:relative", "--", "x"),
        ("run", "--mount", "/usr:/a:rw,ro", "--", "x"),
        ("run", "--mount", "/usr:/a:/b:ro", "--", "x"),
        ("run", "--mount", "", "--", "x"),
        ("run", "--collect", "a", "--", "x"),
        ("run", "--out", "/tmp/new", "--", "x"),
        ("run", "--collect", "a", "--out", "/tmp", "--", "x"),
        ("run", "--collect", "a", "--out", "/no/such/new", "--", "x"),
        ("run", "-t", "--stdin", "/dev/null", "--", "x"),
        ("run", "--profile", "no-such-profile", "--", "x"),
        ("run", "--set", "limits.memory=64TiB", "--", "x"),
        ("nonsense",),
        ("profile", "nonsense"),
        ("completion", "tcsh"),
    ],
)  # fmt: skip
def test_wrong_words_are_refused_with_125_and_a_line(api, invoke, words):
    code, out, err = invoke(*words)
    assert (code, out) == (125, "")
    assert err.startswith("sandbox: ")
    assert err.count("\n") == 1
    assert not api.started


def test_output_is_passed_on_byte_for_byte(api, capfdbinary):
    from sandbox.cli.main import call

    api.output = {"on_stdout": [bytes(range(256)), b"x" * 300_000], "on_stderr": [b"\xff\n"]}
    assert call(["run", "--", "x"]) == 0
    out, err = capfdbinary.readouterr()
    assert out == bytes(range(256)) + b"x" * 300_000
    assert err == b"\xff\n"


def test_json_keeps_the_output_inside(api, answer):
    api.output = {"on_stdout": [b"hello\n"]}
    api.result = make_result(files={"a/b": CollectedFile(b"\0", 0o644)})
    code, said = answer("run", "--json", "--collect", "a", "--", "x")
    assert code == 0
    assert api.started["on_stdout"] is None
    assert said == json.loads(json.dumps(api.result.to_dict()))


def test_weaker_controls_are_said_in_one_line_even_when_quiet(api, invoke):
    api.result = make_result(degraded=WEAKER)
    for words in (("run", "--", "x"), ("run", "-q", "--", "x"), ("run", "--json", "--", "x")):
        _, _, err = invoke(*words)
        assert err == "sandbox: warning: weaker controls on this host: memory (late); pids (per namespace)\n"


def test_what_we_say_begins_on_a_line_of_its_own(api, invoke):
    api.result = make_result(outcome=Outcome.OUTPUT, exit=Signaled(9))
    api.output = {"on_stderr": [b"no end"]}
    assert invoke("run", "--", "x")[2].splitlines()[0] == "no end"
    assert invoke("run", "-q", "--", "x")[2] == "no end"
    api.output = {"on_stderr": [b"end\n"]}
    assert invoke("run", "--", "x")[2].startswith("end\nsandbox: ended: output")


def test_a_limit_is_named_unless_quiet(api, invoke):
    api.result = make_result(
        outcome=Outcome.MEMORY,
        exit=Signaled(9),
        evidence=(Evidence("memory.events", "oom_kill", 1),),
        refused_files=(("l", "symlink"),),
    )
    assert invoke("run", "--", "x")[2] == "sandbox: not collected: l: symlink\nsandbox: ended: memory: memory.events oom_kill=1\n"
    assert invoke("run", "-q", "--", "x") == (137, "", "")


def test_what_goes_in_unasked_is_announced(api, invoke, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("script.py", "a", "b\x1b"):
        (tmp_path / name).write_bytes(b"x")
    words = ("python3", "script.py", "a", "b\x1b", "a", "other")
    said = "sandbox: copied in: a, b\\x1b (--no-copy keeps them out)\n"
    for options, err in (((), said), (("--json",), said), (("-q",), ""), (("--no-copy",), "")):
        assert invoke("run", *options, "--", *words)[2] == err
    assert set(api.started["files"]) == set()
    _, _, err = invoke("run", "-v", "--", *words)
    assert "(--no-copy keeps them out)" not in err
    assert "copied in: script.py\n  a\n  b\\x1b\n" in err
    assert set(api.started["files"]) == {"script.py", "a", "b\x1b"}
    assert invoke("run", "--", "python3", "script.py")[2] == ""


def test_what_a_directory_leaves_out_is_told(api, invoke, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "f").write_bytes(b"x")
    (tmp_path / "t" / "l").symlink_to("f")
    assert invoke("run", "--file", "t=in", "--", "x") == (0, "", "sandbox: not copied in: t/l: a symbolic link\n")
    assert api.started["files"] == {"in/f": (b"x", 0o644)}
    assert invoke("run", "-q", "--file", "t", "--", "x") == (0, "", "")


def test_the_report_has_every_part(api, invoke, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "script").write_bytes(b"x")
    api.result = make_result(degraded=WEAKER, files={"o": CollectedFile(b"12", 0o644)}, refused_files=(("bad\x1b[31m", "fifo"),))
    _, out, err = invoke("run", "-v", "--json", "--collect", "o", "--", "cat", "script")
    assert json.loads(out)
    for line in ("outcome: exited", "exit: code 0", "evidence: waitid code=0", "cpu: 1.5 ms user, 0 system",
                 "memory peak: 3.0 MiB", "copied in: script", "collected: o (2 B)",
                 "  seccomp: main_sha256=abababababababab, instructions=100",
                 "enforced: namespaces: user", "  cgroup: none", "degraded: memory: sampling; late",
                 "not collected: bad\\x1b[31m: fifo"):  # fmt: skip
        assert line in err.splitlines(), line
    assert "\x1b" not in err


def test_collected_files_are_written_below_a_new_directory(api, invoke, tmp_path):
    out = tmp_path / "out"
    api.result = make_result(
        files={"a": CollectedFile(b"1", 0o600), "d/e/f": CollectedFile(b"2", 0o4755), "d/g": CollectedFile(b"3", 0)}
    )
    assert invoke("run", "--collect", ".", "--out", str(out), "--", "x")[0] == 0
    found = {
        str(path.relative_to(out)): (path.read_bytes(), path.stat().st_mode & 0o7777) for path in out.rglob("*") if path.is_file()
    }
    assert found == {"a": (b"1", 0o600), "d/e/f": (b"2", 0o700), "d/g": (b"3", 0o600)}
    assert out.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["big", "d/e/big"])
def test_a_full_disk_leaves_no_half_file(api, invoke, tmp_path, name):
    out = tmp_path / "out"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(_):
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))

    api.during = fill
    big = CollectedFile(b"x" * 300_000, 0o644)
    for files, left in (({name: big}, []), ({"a": CollectedFile(b"whole", 0o644), name: big}, ["a"])):
        api.result = make_result(files=files)
        try:
            code, _, err = invoke("run", "--collect", ".", "--out", str(out), "--", "x")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert (code, err) == (125, f"sandbox: --out: {name!r} cannot be written: File too large\n")
        assert (sorted(os.listdir(out)) if out.exists() else []) == left
        assert out.exists() == bool(left)


def test_an_empty_collection_leaves_no_directory(api, invoke, tmp_path):
    assert invoke("run", "--collect", "a", "--out", str(tmp_path / "new"), "--", "x")[0] == 0
    api.error = CommandNotFound("none")
    assert invoke("run", "--collect", "a", "--out", str(tmp_path / "new"), "--", "x")[0] == 127
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "a//b", "./a", ""])
def test_names_that_point_elsewhere_are_not_written(api, invoke, tmp_path, name):
    api.result = make_result(files={name: CollectedFile(b"", 0o644)})
    code, _, err = invoke("run", "--collect", ".", "--out", str(tmp_path / "out"), "--", "x")
    assert code == 125
    assert "cannot be written" in err
    assert not list(tmp_path.iterdir())


def test_a_link_put_into_the_directory_is_not_followed(api, invoke, tmp_path):
    def plant(_):
        os.symlink(tmp_path, tmp_path / "out" / "d")
        os.symlink(tmp_path / "victim", tmp_path / "out" / "f")

    for name in ("d/x", "f"):
        api.result = make_result(files={name: CollectedFile(b"", 0o644)})
        api.during = plant
        code, _, _ = invoke("run", "--collect", ".", "--out", str(tmp_path / "out"), "--", "x")
        assert code == 125
        for link in ("d", "f"):
            os.unlink(tmp_path / "out" / link)
        os.rmdir(tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_cancels_the_run(api, invoke, number, code):
    import threading

    canceled = threading.Event()
    before = signal.getsignal(number)

    def during(run):
        run.cancel = canceled.set
        os.kill(os.getpid(), number)
        assert canceled.wait(10)

    api.during = during
    api.result = make_result(outcome=Outcome.CANCELED, exit=Signaled(9))
    assert invoke("run", "--", "x") == (code, "", "")
    assert signal.getsignal(number) is before


def test_a_reader_that_goes_away_ends_the_run(api, monkeypatch):
    from sandbox.cli.main import call

    reader, write_end = os.pipe()
    os.close(reader)
    saved = os.dup(1)
    os.dup2(write_end, 1)
    try:
        api.output = {"on_stdout": [b"x"]}
        assert call(["run", "--", "x"]) == 141
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        os.close(write_end)
    assert api.closed == ["run", "sandbox"]
