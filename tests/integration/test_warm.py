"""Warm runs: the same programs executed and forked, and nothing that tells them apart; nothing of one run in another."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox import LaunchError, Mount, Outcome, Profile, RunResult, Sandbox
from tests.support.clock import limit, seconds, wait_until
from tests.support.pythons import ARGUMENTS, FILES, INPUT, PACKAGE, SCRIPTS
from tests.support.require import require

pytestmark = [pytest.mark.vm, pytest.mark.requires("system python")]

PYTHON = "/usr/bin/python3"
MARK = "import sys; print('cold' if open('/proc/self/cmdline').read().split(chr(0))[:-1] == sys.orig_argv else 'warm')"


@pytest.fixture(scope="module")
def cold(degraded: bool) -> Iterator[Sandbox]:
    with Sandbox("python", allow_degraded=degraded) as box:
        yield box


@pytest.fixture(scope="module")
def warm(degraded: bool) -> Iterator[Sandbox]:
    with Sandbox("python-warm", allow_degraded=degraded) as box:
        yield box


def made(text: str, **options: Any) -> Sandbox:
    return Sandbox(Profile.parse(text), **options)


ADDRESS = re.compile(rb"0x[0-9a-f]{8,}|started [0-9]+")


def seen(result: RunResult) -> dict[str, Any]:
    """What a caller can tell of a run, but for measurements."""
    return {
        "outcome": result.outcome,
        "exit": result.exit,
        "stdout": ADDRESS.sub(b"address", result.stdout),
        "stderr": ADDRESS.sub(b"address", result.stderr),
        "truncated": result.truncated,
        "files": {name: (file.data, file.mode) for name, file in result.files.items()},
        "refused": result.refused_files,
        "denied": sorted((item.key, item.value) for item in result.evidence if item.source == "seccomp"),
    }


@pytest.mark.parametrize("way", ["script", "code"])
@pytest.mark.parametrize("name", SCRIPTS)
def test_the_same_as_executed(name: str, way: str, cold: Sandbox, warm: Sandbox) -> None:
    source = SCRIPTS[name].encode("utf-8" if name != "latin" else "latin-1", "surrogateescape")
    if way == "script":
        argv = [PYTHON, "script.py", "a", "-b"]
    else:
        if b"\0" in source or name in ("not utf-8", "latin"):
            return  # no argument can say it
        argv = ["python3", "-c", source.decode(), "a", "-b"]
    options: dict[str, Any] = {"files": {**FILES, "script.py": source}, "stdin": INPUT, "collect": ["."]}
    assert seen(warm.run(argv, **options)) == seen(cold.run(argv, **options))


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments(name: str, cold: Sandbox, warm: Sandbox) -> None:
    argv = ["python3", *ARGUMENTS[name]]
    options: dict[str, Any] = {"files": PACKAGE, "stdin": b"print('from stdin')\n"}
    assert seen(warm.run(argv, **options)) == seen(cold.run(argv, **options))


@pytest.mark.parametrize(
    "argv", [["python3", "-c", MARK], [PYTHON, "-c", MARK], ["python3", "-uB", "m.py"], ["python3", "-m", "m"]]
)
def test_what_runs_warm(argv: list[str], warm: Sandbox) -> None:
    assert warm.run(argv, files={"m.py": MARK.encode()}).text() == "warm\n"


@pytest.mark.parametrize(
    "argv",
    [
        ["python3", "-I", "-c", MARK],
        ["/bin/python3", "-c", MARK],
        ["env", "python3", "-c", MARK],
        ["sh", "-c", f'python3 -c "{MARK}"'],
    ],
)
def test_what_is_executed(argv: list[str], warm: Sandbox) -> None:
    result = warm.run(argv)
    assert result.text() == "cold\n", result.stderr


def test_a_caller_can_take_it_away(degraded: bool) -> None:
    with Sandbox(Profile.load("python-warm").tightened({"warm.interpreter": ""}), allow_degraded=degraded) as box:
        assert box.run(["python3", "-c", MARK]).text() == "cold\n"


LIMITS: dict[str, tuple[str, dict[str, Any]]] = {
    "cpu": ("while True: pass", {"cpu": limit(0.3)}),
    "wall": ("import time; time.sleep(60)", {"wall": limit(0.3)}),
    "memory": ("x = bytearray(200 << 20)\nfor i in range(0, len(x), 4096): x[i] = 1", {"memory": "64MiB"}),
    "output": ("while True: print('x' * 1000)", {"output": "64KiB"}),
    "file size": ("f = open('f', 'wb', 0)\nfor _ in range(100): f.write(b'x' * 4096)", {"file_size": "64KiB"}),
    "scratch": ("f = open('f', 'wb', 0)\nfor _ in range(1000): f.write(b'x' * 4096)", {"scratch": "1MiB"}),
    "open files": ("import os\nfor _ in range(100): os.dup(0)", {"open_files": 32}),
    "stack": ("import threading; threading.stack_size(1 << 20); print(1)", {"stack": "1MiB"}),
}


@pytest.mark.parametrize("name", LIMITS)
def test_limits(name: str, cold: Sandbox, warm: Sandbox) -> None:
    if name == "memory":
        require("cgroup")
    code, limits = LIMITS[name]
    outcomes = [box.run(["python3", "-c", code], limits=limits) for box in (warm, cold)]
    assert outcomes[0].outcome == outcomes[1].outcome
    assert outcomes[0].exit == outcomes[1].exit
    assert outcomes[0].stderr == outcomes[1].stderr


def test_the_limit_of_processes(warm: Sandbox) -> None:
    code = "import os, time\nfor _ in range(30):\n    if os.fork() == 0: time.sleep(60)\n"
    result = warm.run(["python3", "-c", code], limits={"pids": 5})
    assert result.outcome in (Outcome.PIDS, Outcome.EXITED)
    assert b"BlockingIOError" in result.stderr


def test_a_terminal(cold: Sandbox, warm: Sandbox) -> None:
    code = (
        "import sys, os; print(sys.stdin.isatty(), sys.stdout.line_buffering, os.get_terminal_size(), os.ttyname(0));"
        "sys.stdout.write('part'); print(input('? ')); print(os.tcgetpgrp(0) == os.getpgrp()); 1 / 0"
    )
    results = [box.run(["python3", "-c", code], tty=(30, 90), stdin=b"typed\n") for box in (warm, cold)]
    assert results[0].exit == results[1].exit
    texts = [result.stdout.replace(b"typed\r\n", b"") for result in results]  # when it is echoed is a matter of speed
    assert texts[0] == texts[1]
    assert [result.stdout.count(b"typed\r\n") for result in results] == [2, 2]


def test_own_environment_and_directory(cold: Sandbox, warm: Sandbox) -> None:
    code = "import os, ctypes; print(os.environ, os.getcwd()); os.system('env | sort')"
    for env in (
        {"A": "1", "HOME": "/tmp"},
        {"LANG": "C"},
        {"TZ": "Asia/Tokyo"},
        {"LC_ALL": "POSIX"},
        {"PYTHONIOENCODING": "latin-1"},
    ):
        argv = ["python3", "-c", code + "; import time, sys; print(time.tzname, sys.stdout.encoding, sys.stdout.errors)"]
        options: dict[str, Any] = {"env": env, "cwd": "/tmp"}
        assert seen(warm.run(argv, **options)) == seen(cold.run(argv, **options)), env


def test_random_numbers_differ(warm: Sandbox) -> None:
    code = "import random, uuid, os, tempfile; print(random.random(), uuid.uuid4(), tempfile.mktemp())"
    drawn = [part for _ in range(6) for part in warm.run(["python3", "-c", code]).text().split()]
    assert len(set(drawn)) == len(drawn)


def test_modules_that_are_loaded(cold: Sandbox, degraded: bool) -> None:
    text = 'extends = "python-warm"\n[warm]\npreload = ["json", "decimal", "random", "logging", "threading"]\n'
    with made(text, allow_degraded=degraded) as box:
        code = "import sys; print([name in sys.modules for name in ('json', 'decimal', 'fractions')])"
        code += "; import random; print(random.random())"
        results = [box.run(["python3", "-c", code]).text().split("\n") for _ in range(4)]
        assert {result[0] for result in results} == {"[True, True, False]"}
        assert len({result[1] for result in results}) == 4
        for name in ("traceback", "logging", "thread", "thread fails", "pool", "processes", "exit in the middle"):
            argv = ["python3", "-c", SCRIPTS[name]]
            assert seen(box.run(argv)) == seen(cold.run(argv)), name


def test_a_virtual_environment(tmp_path: Path, degraded: bool) -> None:
    place = tmp_path / "venv"
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", str(place)], check=True)
    (module,) = place.glob("lib/python3*/site-packages")
    (module / "only_here.py").write_text("VALUE = 'of the venv'\n")
    for path in [*tmp_path.parents, tmp_path]:
        if path.stat().st_uid == os.getuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)
    code = f"import sys, only_here; print(only_here.VALUE, sys.prefix, sys.executable, sys.path); {MARK}"
    texts = []
    for interpreter in ("", "/opt/venv/bin/python"):
        loaded = 'preload = ["only_here"]' if interpreter else ""
        text = f'extends = "python"\n[warm]\ninterpreter = "{interpreter}"\n{loaded}\n'
        text += f'[[mounts]]\nsource = "{place}"\ntarget = "/opt/venv"\nwhy = "x"\n'
        with made(text, allow_degraded=degraded) as box:
            for name in ("python", "python3"):
                result = box.run([f"/opt/venv/bin/{name}", "-c", code])
                texts.append(result.text())
                assert result.ok, result.stderr
    assert [text.split()[-1] for text in texts] == ["cold", "cold", "warm", "warm"]
    assert [text.rsplit("\n", 2)[0] for text in texts[:2]] == [text.rsplit("\n", 2)[0] for text in texts[2:]]


@pytest.mark.parametrize(
    ("module", "source", "words"),
    [
        ("nothere", None, "nothere"),
        ("broken", "1 / 0", "raised"),
        ("threads", "import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()", "thread"),
        ("opens", "held = open('/etc/passwd')", "leaves a file open"),
        ("leaves", "import sys; sys.exit(0)", "leaves"),
    ],
)
def test_a_module_that_cannot_be_loaded(module: str, source: str | None, words: str, tmp_path: Path, degraded: bool) -> None:
    tmp_path.chmod(0o755)
    for path in tmp_path.parents[:3]:
        if path.stat().st_uid == os.getuid() and path != Path("/tmp"):
            path.chmod(0o755)
    if source is not None:
        (tmp_path / f"{module}.py").write_text(source)
    text = (
        f'extends = "python-warm"\n[warm]\npreload = ["json", "{module}"]\n[environment.set]\nPYTHONPATH = "/mod"\n'
        '[why]\n"environment.set" = "x"\n'
    )
    with made(text, mounts=[Mount(str(tmp_path), "/mod")], allow_degraded=degraded) as box, pytest.raises(LaunchError) as caught:
        box.run(["python3", "-c", "pass"])
    assert f"'{module}'" in str(caught.value)
    assert words in str(caught.value)


def test_places_that_runs_can_write_are_refused(tmp_path: Path, degraded: bool) -> None:
    text = 'extends = "python-warm"\n[environment.set]\nPYTHONPATH = "/mod"\n[why]\n"environment.set" = "x"\n'
    box = made(text, mounts=[Mount(str(tmp_path), "/mod", writable=True)], allow_degraded=degraded)
    with box, pytest.raises(LaunchError, match="writ"):
        box.run(["python3", "-c", "pass"])


@pytest.mark.parametrize("path", ["/usr/bin/nothere", "/usr/bin/true"])
def test_an_interpreter_that_is_none(path: str, degraded: bool) -> None:
    box = made(f'extends = "python"\n[warm]\ninterpreter = "{path}"\n', allow_degraded=degraded)
    with box, pytest.raises(LaunchError, match=path):
        box.run(["python3", "-c", "pass"])


def test_parked_sandboxes_are_warm(degraded: bool) -> None:
    with Sandbox("python-warm", allow_degraded=degraded) as box:
        for _ in range(3):
            assert box.run(["python3", "-c", MARK]).text() == "warm\n"
        wait_until(lambda: box.stats()["parked"] >= 1, seconds(10), "one is parked")
        hits = box.stats()["hits"]
        assert box.run(["python3", "-c", MARK]).text() == "warm\n"
        assert box.stats()["hits"] == hits + 1
