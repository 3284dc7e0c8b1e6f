"""Python programs that show what an interpreter is like, and what becomes of it: compared between executed and warm runs."""

# ruff: noqa: E501 - a program is a line here

from __future__ import annotations

FACTS = """
import os, signal, sys, threading, gc, atexit, builtins
print(__name__, sorted(globals()), type(__loader__).__name__, __spec__, globals().get("__file__"), globals().get("__cached__", 1))
print(sys.argv, sys.orig_argv, sys.path, sys.executable, sys.prefix, sys.flags)
print({name: os.environ[name] for name in sorted(os.environ)}, os.getenv("HOME"))
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
    "large output": "print('x' * 900000)",
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
INPUT = b"one\ntwo\r\nthree"

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
