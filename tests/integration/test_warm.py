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


FACTS = """
import os, signal, sys, threading, gc, atexit, builtins
print(__name__, sorted(globals()), type(__loader__).__name__, __spec__, globals().get("__file__"), globals().get("__cached__", 1))
print(sys.argv, sys.orig_argv, sys.path, sys.executable, sys.prefix, sys.flags)
print({name: os.environ[name] for name in sorted(os.environ)}, os.getenv("HOME"), sorted(os.posix.environ if hasattr(os, "posix") else []))
for name in ("stdin", "stdout", "stderr"):
    stream, own = getattr(sys, name), getattr(sys, f"__{name}__")
    print(name, stream is own, stream.encoding, stream.errors, stream.line_buffering, stream.write_through, stream.mode, stream.name)
    print(stream.newlines, type(stream.buffer).__name__, stream.isatty(), stream.fileno())
print([(number.name, str(signal.getsignal(number))) for number in signal.valid_signals() if hasattr(number, "name")
       and signal.getsignal(number) != signal.SIG_DFL])
print(open("/proc/self/status").read().split("SigQ")[1].split("CapInh")[0].partition("SigPnd")[2])
print(sorted(os.listdir("/proc/self/fd"))[:3], os.getcwd(), oct(os.umask(0)), os.getpid(), os.getppid(), os.getsid(0))
print(gc.isenabled(), gc.get_threshold(), threading.active_count(), threading.current_thread(), sys.getrecursionlimit())
print(open("/proc/self/comm").read(), [name for name in sys.modules if "sandbox" in name], sys.dont_write_bytecode)
print(sys.stdin.read(), open("/proc/self/oom_score_adj").read(), sys.excepthook is sys.__excepthook__)
print(open("/proc/self/limits").read().replace("unlimited", "-"), os.access("/proc/self/mem", os.W_OK))
import ctypes; print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""

SCRIPTS: dict[str, str] = {
    "facts": FACTS,
    "nothing": "",
    "traceback": "def f():\n    1 / 0\nf()\n",
    "chained": "try:\n    {}['a']\nexcept KeyError as e:\n    raise ValueError('b') from e\n",
    "group": "raise ExceptionGroup('g', [ValueError(1), TypeError('x')])\n",
    "syntax": "print(1)\nif x\n",
    "indentation": "  x = 1\n",
    "null": "print(1)\n\0\n",
    "latin": "# coding: latin-1\nprint(ascii('\xe9'))\n",
    "not utf-8": "print('\udce9')\n",
    "exit none": "import sys; sys.exit()",
    "exit int": "import sys; sys.exit(42)",
    "exit large": "import sys; sys.exit(258)",
    "exit huge": "import sys; sys.exit(1 << 70)",
    "exit negative": "import sys; sys.exit(-3)",
    "exit text": "import sys; sys.exit('no such thing')",
    "exit tuple": "raise SystemExit(1, 2)",
    "exit in the middle": "import sys, atexit; atexit.register(print, 'bye'); print('a', end=''); sys.exit(3)",
    "os exit": "import os; print('lost', end=''); os._exit(9)",
    "interrupted": "raise KeyboardInterrupt",
    "interrupt sent": "import os, signal; os.kill(os.getpid(), signal.SIGINT)\nfor _ in range(1000000): pass",
    "killed": "import os; os.kill(os.getpid(), 9)",
    "terminated": "import os; os.kill(os.getpid(), 15)",
    "pipe": "import os\nr, w = os.pipe(); os.close(r)\nos.write(w, b'x')\n",
    "abort": "import os; os.abort()",
    "segfault": "import ctypes; ctypes.string_at(0)",
    "atexit": "import atexit; atexit.register(print, 'one'); atexit.register(print, 'two'); print('main')",
    "atexit fails": "import atexit; atexit.register(lambda: 1 / 0); print('main')",
    "excepthook": "import sys; sys.excepthook = lambda *a: print('hook', a[0].__name__); 1 / 0",
    "excepthook fails": "import sys\ndef hook(*a): raise ValueError('in hook')\nsys.excepthook = hook\n1 / 0\n",
    "excepthook exits": "import sys; sys.excepthook = lambda *a: sys.exit(7); 1 / 0",
    "finalizers": "import os\nclass A:\n    def __del__(self): print('gone', os.getpid())\na = A(); b = [A()]; b.append(b)\n",
    "open file": "f = open('left.txt', 'w'); f.write('written at the end')\n",
    "thread": "import threading, time\ndef f():\n    time.sleep(.05); print('thread')\nthreading.Thread(target=f).start(); print('main')",
    "daemon": "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start(); print('main')",
    "thread fails": "import threading\nt = threading.Thread(target=lambda: 1 / 0, name='t'); t.start(); t.join()",
    "pool": "from concurrent.futures import ThreadPoolExecutor as P\nwith P(4) as p: print(list(p.map(abs, [-1, 2])))",
    "processes": "import multiprocessing as m\nif __name__ == '__main__':\n    with m.Pool(2) as p: print(p.map(abs, [-1, 2]))",
    "spawn": "import multiprocessing as m\nif __name__ == '__main__':\n    c = m.get_context('spawn')\n"
    "    p = c.Process(target=print, args=('child',)); p.start(); p.join(); print(p.exitcode)",
    "fork": "import os, sys\npid = os.fork()\nif pid == 0:\n    print('child'); sys.exit(5)\nprint(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))",
    "subprocess": "import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', 'import sys, os; print(sys.argv, sys.path, "
    "os.environ)', 'x'], capture_output=True, text=True))",
    "shell": "import os; print(os.system('exit 3'), os.popen('echo $HOME').read())",
    "stdin": "import sys\nfor line in sys.stdin: print(repr(line))\nprint(repr(sys.stdin.read()))",
    "input": "print(input('name? ')); print(input())\ninput()\n",
    "unbuffered": "import sys, os\nsys.stdout.write('a'); os.write(1, b'b'); print('c', file=sys.stderr, end=''); os.write(2, b'd')",
    "closed stdout": "import os, sys\nos.close(1); print('x')\n",
    "full stdout": "import os, sys\nos.dup2(os.open('/dev/full', os.O_WRONLY), 1); print('x')\n",
    "no stdout": "import sys; sys.stdout = None; print('x'); sys.stderr.write('y')",
    "large output": "print('x' * 3000000)",
    "text": "print('\xe4\u20ac\U0001f600', ascii('\xe4'))",
    "relative import": "import other; print(other.__file__, other.__name__)",
    "import fails": "import nothere\n",
    "import raises": "import broken\n",
    "main again": "import __main__, sys; print(__main__ is sys.modules['__main__'], __main__.__dict__ is globals())",
    "pickle": "import pickle\nclass A: pass\nprint(pickle.loads(pickle.dumps(A())).__class__ is A)",
    "dataclass": "from dataclasses import dataclass\n@dataclass\nclass A:\n    x: int\nprint(A(1))",
    "unraisable": "class A:\n    def __del__(self): 1 / 0\nA()\n",
    "warning": "import warnings; warnings.warn('careful')\nimport sys; warnings.warn('deeper', stacklevel=1)",
    "logging": "import logging; logging.warning('a'); logging.getLogger('x').error('b %s', 1)",
    "asyncio": "import asyncio\nasync def f():\n    await asyncio.sleep(0); return 1\nprint(asyncio.run(f()))",
    "annotations": "x: int = 1\nprint(__annotations__)",
    "denied": "import ctypes; print(ctypes.CDLL(None, use_errno=True).mount(0, 0, 0, 0, 0), ctypes.get_errno())",
    "no network": "import socket\ntry: socket.create_connection(('127.0.0.1', 1))\nexcept OSError as e: print(e)",
    "files": "import pathlib; pathlib.Path('d').mkdir(); pathlib.Path('d/f').write_text('x'); print(sorted(map(str, pathlib.Path('/').iterdir())))",
    "recursion": "def f(): f()\ntry: f()\nexcept RecursionError as e: print(e)",
    "signal": "import signal, os\nsignal.signal(signal.SIGUSR1, lambda *a: print('got')); os.kill(os.getpid(), signal.SIGUSR1); print('on')",
    "alarm": "import signal, time; signal.alarm(1); time.sleep(10)",
    "time": "import time; print(time.tzname, time.strftime('%Z'))",
    "locale": "import locale; print(locale.getlocale(), locale.getpreferredencoding(), locale.setlocale(locale.LC_ALL))",
    "tempfile": "import tempfile; print(tempfile.gettempdir())",
    "ctypes printf": "import ctypes; ctypes.CDLL(None).printf(b'from C\\n')",
}
FILES = {"other.py": b"", "broken.py": b"def f():\n    raise OSError(2, 'no')\nf()\n"}
INPUT = "one\ntwo\r\nthree".encode()


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


ARGUMENTS: dict[str, list[str]] = {
    "a module": ["-m", "package.part", "x"],
    "a package": ["-m", "package"],
    "no such module": ["-m", "nothere"],
    "a module of the library": ["-m", "json.tool", "data.json"],
    "no such script": ["nothere.py", "x"],
    "a script below": ["package/part.py", "x"],
    "a script with a dot": ["./package/part.py", "x"],
    "a link to a script": ["link/part.py"],
    "a directory": ["tree", "x"],
    "a directory without a main": ["package/empty"],
    "unreadable": ["secret.py"],
    "unbuffered": ["-u", "facts.py"],
    "no bytecode": ["-B", "-s", "package/part.py"],
    "clustered": ["-uB", "-c", "print(1)"],
    "safe path": ["-P", "package/part.py"],
    "isolated": ["-I", "package/part.py"],
    "optimized": ["-O", "-c", "assert False"],
    "version": ["-V"],
    "unknown switch": ["-Q"],
    "code without an argument": ["-c"],
    "attached code": ["-cprint(1)"],
    "stdin": ["-"],
    "nothing": [],
}
PACKAGE = {
    "package/__init__.py": b"print('init', __name__)\n",
    "package/__main__.py": b"import sys; print('main', sys.argv, sys.path[0], __package__, __spec__.name)\n1 / 0\n",
    "package/part.py": b"import sys; print(__name__, __file__, sys.argv, sys.path[0], __package__, __spec__ and __spec__.name)\n",
    "package/empty/x": b"",
    "tree/__main__.py": b"import sys; print(__file__, sys.argv, sys.path[0])\n{}[1]\n",
    "data.json": b'{"a": 1}',
    "secret.py": (b"print(1)", 0o200),
    "facts.py": b"import sys; print(sys.stdout.write_through, sys.stdout.line_buffering, sys.stderr.line_buffering)\n",
}


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
    result = warm.run(["python3", "-c", code], limits={"pids": 5, "wall": limit(10)})
    assert result.outcome in (Outcome.PIDS, Outcome.EXITED)
    assert b"BlockingIOError" in result.stderr


def test_a_terminal(cold: Sandbox, warm: Sandbox) -> None:
    code = (
        "import sys, os; print(sys.stdin.isatty(), sys.stdout.line_buffering, os.get_terminal_size(), os.ttyname(0));"
        "sys.stdout.write('part'); print(input('? ')); print(os.tcgetpgrp(0) == os.getpgrp()); 1 / 0"
    )
    results = [box.run(["python3", "-c", code], tty=(30, 90), stdin=b"typed\n") for box in (warm, cold)]
    assert results[0].exit == results[1].exit
    assert results[0].stdout == results[1].stdout
    assert b"typed" in results[0].stdout


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


def test_modules_that_are_loaded(degraded: bool) -> None:
    text = 'extends = "python-warm"\n[warm]\npreload = ["json", "decimal", "random"]\n'
    with made(text, allow_degraded=degraded) as box:
        code = "import sys; print([name in sys.modules for name in ('json', 'decimal', 'fractions')]); import random; print(random.random())"
        results = [box.run(["python3", "-c", code]).text().split("\n") for _ in range(4)]
        assert {result[0] for result in results} == {"[True, True, False]"}
        assert len({result[1] for result in results}) == 4


def test_numpy(degraded: bool) -> None:
    require("numpy of the system")
    code = "import numpy, random; a = numpy.ones((200, 200)); print((a @ a).sum(), numpy.random.rand(), random.random())"
    with made('extends = "python-warm"\n[warm]\npreload = ["numpy"]\n', allow_degraded=degraded) as box:
        drawn = set()
        for _ in range(4):
            result = box.run(["python3", "-c", code])
            total, *numbers = result.text().split()
            assert total == "8000000.0", result.stderr
            drawn.update(numbers)
        assert len(drawn) == 8, "two runs drew the same numbers"
        assert box.run(["python3", "-c", "import numpy; numpy.nothing"]).exit != 0


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
    with made(text, mounts=[Mount(str(tmp_path), "/mod", writable=True)], allow_degraded=degraded) as box:
        with pytest.raises(LaunchError, match="writ"):
            box.run(["python3", "-c", "pass"])


@pytest.mark.parametrize("path", ["/usr/bin/nothere", "/usr/bin/true"])
def test_an_interpreter_that_is_none(path: str, degraded: bool) -> None:
    with made(f'extends = "python"\n[warm]\ninterpreter = "{path}"\n', allow_degraded=degraded) as box:
        with pytest.raises(LaunchError, match=path):
            box.run(["python3", "-c", "pass"])


SCAN = """
import sys
hidden = sys.stdin.read().strip().encode()  # backwards: this run itself must not have it in its memory
start = hidden[:-5:-1]
found = scanned = 0
with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
    for line in maps.readlines():
        first, _, last = line.split()[0].partition("-")
        if "r" not in line.split()[1] or "[v" in line:
            continue
        at, end = int(first, 16), int(last, 16)
        memory.seek(at)
        try:
            data = memory.read(end - at)
        except OSError:
            continue
        scanned += len(data)
        place = data.find(start)
        while place >= 0:
            found += data[place : place + len(hidden)][::-1] == hidden
            place = data.find(start, place + 1)
        del data
print(found, scanned > 1 << 20)
"""
HOLD = "import sys, os; sys.stdin.read(); open('secret').read(); sys.argv; os.environ; open('out', 'w').write(sys.argv[1]); print(sys.argv[1])"


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
    for _ in range(4):
        assert warm.run(["python3", "-c", SCAN], stdin=hidden).text() == "0 True\n"
    scan = SCAN.replace("import sys\n", f"import sys\nown = {token!r}\n", 1)
    assert warm.run(["python3", "-c", scan], stdin=hidden).text() != "0 True\n", "the scan finds nothing at all"


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


def test_no_object_of_the_launcher_can_be_reached(warm: Sandbox) -> None:
    result = warm.run(["python3", "-c", REACH])
    assert result.text() == "[]\n['0', '1', '2'] 4\n[]\n", result.stderr


def test_paths_of_the_host_are_not_in_its_memory(tmp_path: Path, degraded: bool) -> None:
    place = tmp_path / "a-name-of-the-host"
    place.mkdir()
    with Sandbox("python-warm", mounts=[Mount(str(place), "/data")], allow_degraded=degraded) as box:
        assert box.run(["python3", "-c", SCAN], stdin=b"a-name-of-the-host"[::-1]).text() == "0 True\n"


def test_parked_sandboxes_are_warm(degraded: bool) -> None:
    with Sandbox("python-warm", allow_degraded=degraded) as box:
        for _ in range(3):
            assert box.run(["python3", "-c", MARK]).text() == "warm\n"
        wait_until(lambda: box.stats()["parked"] >= 1, seconds(10), "one is parked")
        hits = box.stats()["hits"]
        assert box.run(["python3", "-c", MARK]).text() == "warm\n"
        assert box.stats()["hits"] == hits + 1
