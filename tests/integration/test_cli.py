"""The command as its user has it: real processes, real sandboxes, a real terminal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.clock import limit, seconds
from tests.support.command import COMMAND, Cli
from tests.support.leaks import alive, descendants
from tests.support.require import requires

pytestmark = pytest.mark.vm
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def cli(tmp_path: Path, degraded: bool) -> Cli:
    return Cli(tmp_path, degraded=degraded)


def test_a_script_of_the_callers_directory_runs(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "untrusted.py").write_text("import sys; print('hello', open(sys.argv[1]).read()); sys.exit(7)")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "in.txt").write_text("data")
    told = b"sandbox: copied in: data/in.txt (--no-copy keeps them out)\n"
    assert cli("run", "--", "python3", "untrusted.py", "data/in.txt") == (7, b"hello data\n", told)
    code, out, _ = cli("run", "--no-copy", "--", "python3", "untrusted.py", "data/in.txt")
    assert (code, out) == (2, b"")


def test_a_file_elsewhere_is_no_input_by_its_name_alone(cli: Cli, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    secret = tmp_path / "secret"
    secret.write_text("print('secret')")
    (inner / "link").symlink_to("../secret")
    (inner / ".hidden").write_text("secret")
    cli.directory = inner
    for word in (str(secret), "../secret", "link", ".hidden"):
        code, out, err = cli("run", "--", "cat", word)
        assert (code, out) == (1, b"")
        assert err.startswith(b"cat: ")
    assert cli("run", "--", "python3", "../secret") == (0, b"secret\n", b"")
    code, out, _ = cli("run", "--file", "../secret=there", "--", "cat", "there")
    assert (code, out) == (0, b"print('secret')")


def test_a_directory_goes_in(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "package" / "inner").mkdir(parents=True)
    (tmp_path / "package" / "__main__.py").write_text("from inner import word; print(word.TEXT)")
    (tmp_path / "package" / "inner" / "word.py").write_text("TEXT = 'hello'")
    (tmp_path / "package" / "link").symlink_to("/etc/passwd")
    told = b"sandbox: not copied in: package/link: a symbolic link\n"
    assert cli("run", "--file", "package", "--", "python3", "package") == (0, b"hello\n", told)


def test_a_program_of_the_callers_directory_runs(cli: Cli, tmp_path: Path) -> None:
    for name in ("relative", "absolute"):
        (tmp_path / name).write_text('#!/bin/sh\necho "$0 $PWD"\n')
        (tmp_path / name).chmod(0o755)
    assert cli("run", "--", "./relative") == (0, b"./relative /work\n", b"")
    assert cli("run", "--", str(tmp_path / "absolute")) == (0, b"/work/absolute /work\n", b"")
    (tmp_path / "relative").chmod(0o644)
    code, _, err = cli("run", "--", "./relative")
    assert code == 126
    assert err.startswith(b"sandbox: ")


def test_input_and_output_are_bytes(cli: Cli) -> None:
    data = bytes(range(256)) * 2000
    assert cli("run", "--", "cat", stdin=data) == (0, data, b"")
    code, out, err = cli("run", "--", "sh", "-c", "printf '\\377out'; printf '\\376err' >&2")
    assert (code, out) == (0, b"\xffout")
    assert err == (b"\xfeerr\n" if cli.degraded else b"\xfeerr")  # the warning begins on a line of its own


def test_stdin_from_a_file_or_nothing(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"from file")
    assert cli("run", "--stdin", "in", "--", "cat", stdin=b"ours")[1] == b"from file"
    assert cli("run", "--stdin", "/dev/null", "--", "cat", stdin=b"ours")[1] == b""
    with (tmp_path / "in").open("rb") as file:
        process = cli.start("run", "--", "cat", stdin=file)
        assert process.communicate(timeout=seconds(60))[0] == b"from file"


def test_closed_standard_streams(cli: Cli) -> None:
    for closing in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        words = " ".join(cli.words("run", "--", "cat"))
        done = subprocess.run(["/bin/sh", "-c", f"{words} {closing}"], env=cli.environment, timeout=60, check=False)
        assert done.returncode == 0, closing


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 125"], 125),
        (["sh", "-c", "kill -SEGV $$"], 139),
        (["sh", "-c", "kill -KILL $$"], 137),
        (["no-such-program"], 127),
        (["/no/such/program"], 127),
        (["/usr"], 126),
        (["/etc/ld.so.cache"], 126),
    ],
)
def test_exit_codes(cli: Cli, words: list[str], code: int) -> None:
    given, out, err = cli("run", "--", *words)
    assert (given, out) == (code, b"")
    said_by_us = code in (126, 127)
    assert err.startswith(b"sandbox: ") == said_by_us
    assert err.count(b"\n") == int(said_by_us)


def test_a_limit_is_137_and_is_named(cli: Cli) -> None:
    started = time.monotonic()
    code, _, err = cli("run", "--limit", f"wall={limit(0.3)}", "--", "sleep", "50")
    assert code == 137
    assert err.startswith(b"sandbox: ended: wall_time: deadline wall_ns=")
    assert time.monotonic() - started < seconds(15)


def test_json_has_everything_and_matches_the_schema(cli: Cli) -> None:
    code, out, _ = cli(
        "run", "--json", "--collect", ".", "--", "sh", "-c", "printf '\\377'; echo e >&2; echo f > f; ln -s f l; exit 4"
    )
    said = json.loads(out)
    assert code == 4
    assert said["exit"] == {"code": 4}
    assert said["stdout_base64"] == "/w=="
    assert said["stderr"] == "e\n"
    assert said["files"] == {"f": "Zgo="}
    assert said["refused_files"] == [{"name": "l", "reason": "not a regular file"}]
    _matches_schema(said)


@requires("jsonschema")
@pytest.mark.parametrize(
    "words",
    [
        ["true"],
        ["sh", "-c", "kill -40 $$"],
        ["--limit", "output=1KiB", "--", "sh", "-c", "while :; do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; done"],
        ["--limit", f"wall={limit(0.2)}", "--", "sleep", "9"],
    ],
)
def test_results_match_the_schema(cli: Cli, words: list[str]) -> None:
    _, out, _ = cli("run", "--json", *words)
    _matches_schema(json.loads(out))


def _matches_schema(said: dict[str, Any]) -> None:
    import jsonschema

    schema = json.loads((ROOT / "docs" / "result.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(said, schema, cls=jsonschema.Draft202012Validator)


def test_errors_as_json(cli: Cli) -> None:
    code, out, err = cli("run", "--json", "--", "no-such-program")
    said = json.loads(out)["error"]
    assert (code, err) == (127, b"")
    assert said["class"] == "CommandNotFound"
    assert said["hint"]
    assert said["retryable"] is False
    _matches_schema(json.loads(out))


@pytest.mark.claim("SEC-IO-03")
def test_collected_files_and_mounts(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "a").write_text("A")
    tmp_path.chmod(0o755)
    script = (
        "cat /data/a; (echo x > /data/new) 2>/dev/null || echo read-only;"
        " mkdir d; echo made > d/out; chmod 755 d/out; ln -s /etc/passwd link"
    )
    words = [
        "run",
        "--mount",
        "shared:/data:ro,noexec",
        "--collect",
        "d",
        "--collect",
        "link",
        "--out",
        "out",
        "--",
        "sh",
        "-c",
        script,
    ]
    code, out, err = cli(*words)
    assert (code, out) == (0, b"Aread-only\n")
    assert err == b"sandbox: not collected: link: not a regular file\n"
    assert (tmp_path / "out" / "d" / "out").read_text() == "made\n"
    assert os.listdir(tmp_path / "out") == ["d"]
    assert cli(*words)[0] == 125  # the directory is there now


def test_settings_only_tighten(cli: Cli) -> None:
    assert cli("run", "--set", "limits.memory=64MiB", "--set", "network.mode=none", "--", "true")[0] == 0
    for words in (["--set", "limits.memory=64TiB"], ["--limit", "wall=20h"], ["--set", "no.such=1"], ["--limit", "nonsense=1"]):
        code, _, err = cli("run", *words, "--", "true")
        assert code == 125
        assert err.startswith(b"sandbox: ")
        assert err.count(b"\n") == 1


def test_the_report(cli: Cli) -> None:
    code, out, err = cli("run", "-v", "--", "echo", "hi")
    assert (code, out) == (0, b"hi\n")
    lines = err.decode().splitlines()
    assert lines[:2] == ["outcome: exited", "exit: code 0"]
    for name in ("evidence", "cpu", "wall", "memory peak", "enforced", "plan"):
        assert any(line.startswith(name + ": ") for line in lines), name
    assert any(line.startswith("degraded: ") for line in lines) == cli.degraded


def test_the_warning_of_weaker_controls_is_one_line(cli: Cli) -> None:
    done = subprocess.run(
        [*COMMAND, "run", "--allow-degraded", "--", "true"], env=cli.environment, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0
    assert done.stderr.count(b"\n") == int(cli.degraded)


def test_a_reader_that_stops_ends_the_run(cli: Cli) -> None:
    with cli.start("run", "--limit", "wall=15s", "--", "yes") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(4) == b"y\ny\n"
        process.stdout.close()
        assert process.wait(seconds(15)) == 141
        assert b"Traceback" not in process.stderr.read()


def ready(process: subprocess.Popen[bytes]) -> None:
    """Wait until the payload has said so."""
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_cancel(cli: Cli, number: int, code: int) -> None:
    process = cli.start("run", "--", "sh", "-c", "trap '' INT TERM HUP; echo ready; while :; do sleep 1; done")
    ready(process)
    below = descendants(process.pid)
    assert below
    process.send_signal(number)
    _, err = process.communicate(timeout=seconds(10))
    assert process.returncode == code
    assert b"Traceback" not in err
    assert not alive(below)


def test_a_canceled_run_still_has_its_json(cli: Cli) -> None:
    process = cli.start("run", "--json", "--limit", "wall=15s", "--", "sh", "-c", "echo ready >&2; sleep 50")
    deadline = time.monotonic() + seconds(10)
    while not any(_name(pid) == "sleep" for pid in descendants(process.pid)):
        assert time.monotonic() < deadline
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=seconds(10))
    assert process.returncode == 130
    assert json.loads(out)["outcome"] == "canceled"


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def test_help_is_quick_and_names_everything(cli: Cli) -> None:
    code, out, err = cli("--help")
    assert (code, err) == (0, b"")
    for word in (b"run", b"profile", b"doctor", b"completion", b"Examples"):
        assert word in out
    assert cli("--version")[1].startswith(b"sandbox ")
    script = """
import sys
from sandbox.cli.main import call
call(["--version"])
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], env=cli.environment, capture_output=True, text=True, check=True)
    assert not {"pydantic", "rich", "anyio", "asyncio", "pyseccomp", "sandbox.api"} & set(done.stdout.split())


@pytest.mark.parametrize("words", [["run", "--", "echo"], ["run", "--json", "--", "true"], ["profile", "list"], ["--help"]])
def test_a_full_disk_behind_stdout(cli: Cli, words: list[str]) -> None:
    with open("/dev/full", "wb", buffering=0) as full:
        process = cli.start(*words, stdout=full)
        _, err = process.communicate(timeout=seconds(60))
    assert process.returncode == 125
    assert err.splitlines()[-1] == b"sandbox: standard output cannot be written: No space left on device"
    assert b"Traceback" not in err
