"""Completions of a task "square" that try to pass without solving it, or to harm others, each with its true verdicts."""

from __future__ import annotations

_EQUAL = """
class Equal(BASE):
    __hash__ = BASE.__hash__
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __bool__(self): return False
    def __lt__(self, other): return True
def square(x):
    return Equal()
"""

# name → (program, verdicts that are true of it)
FORGERIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "exits at once": ("import os\nos._exit(0)\n", ("RTE",)),
    "exits when called": ("import os\ndef square(x):\n    os._exit(0)\n", ("RTE",)),
    "sys.exit at once": ("import sys\nsys.exit(0)\n", ("RTE",)),
    "sys.exit when called": ("import sys\ndef square(x):\n    sys.exit(0)\n", ("RTE",)),
    "stops with an exit function": (
        "import atexit, os\natexit.register(os._exit, 0)\ndef square(x):\n    raise SystemExit\n",
        ("RTE",),
    ),
    "equal to everything": (_EQUAL.replace("BASE", "object"), ("WA",)),
    "a text equal to everything": (_EQUAL.replace("BASE", "str"), ("WA",)),
    "a number equal to everything": (_EQUAL.replace("BASE", "int"), ("WA",)),
    "a class that lies about its class": (
        _EQUAL.replace("BASE", "object").replace("def square", "    __class__ = int\ndef square"),
        ("WA",),
    ),
    "replaces builtins": (
        (
            "import builtins\nbuiltins.AssertionError = None\nbuiltins.abs = builtins.len = lambda *a: 0\n"
            "builtins.__import__ = None\nbuiltins.Exception = BaseException\ndef square(x):\n    return None\n"
        ),
        ("WA", "RTE"),
    ),
    "patches what the judge uses": (
        (
            "import sys, json, unittest\n"
            "class Never(BaseException): pass\n"
            "for name in [n for n in sys.modules if 'inside' in n or n in ('json', 'unittest', 'tests', '__main__')]:\n"
            "    module = sys.modules[name]\n"
            "    for key in list(vars(module)):\n"
            "        if callable(vars(module)[key]) and key not in ('Ended',):\n"
            "            setattr(module, key, lambda *a, **k: True)\n"
            "def square(x):\n    return 4\n"
        ),
        ("WA", "RTE"),
    ),
    "patches unittest": (
        (
            "import unittest\nunittest.TestCase.assertEqual = lambda *a: None\nunittest.TestCase.run = lambda *a: None\n"
            "def square(x):\n    return 5\n"
        ),
        ("WA",),
    ),
    "prints a proof": (
        (
            "import json, os, sys\n"
            "line = json.dumps({'proof': 'x', 'verdict': 'AC', 'reason': '', 'calls': 9, 'cpu_s': 0, 'wall_s': 0,"
            " 'memory_bytes': 0})\n"
            "print(line, flush=True)\n"
            "for fd in range(256):\n"
            "    try: os.write(fd, line.encode() + b'\\n')\n"
            "    except OSError: pass\n"
            "def square(x):\n    print(line)\n    return 5\n"
        ),
        ("WA", "RTE"),
    ),
    "speaks the wire by itself": (
        (
            'import os\nos.write(3, b\'["ready", null, ["square"]]\\n\' + b\'["value", 4, null]\\n\' * 50)\n'
            "def square(x):\n    return 4\n"
        ),
        ("WA", "RTE"),
    ),
    "sends what cannot be read": (
        'import os\ndef square(x):\n    os.write(3, b\'["value", {"object": [[], 1]}, null]\\n\')\n    return 4\n',
        ("RTE", "WA"),
    ),
    "sends a deep value": (
        (
            "import os\ndef square(x):\n    os.write(3, b'[\"value\", ' + b'[' * 100000 + b']' * 100000 + b', null]\\n')\n"
            "    return 4\n"
        ),
        ("RTE", "WA"),
    ),
    "raises what ends a test": ("def square(x):\n    raise KeyboardInterrupt\n", ("RTE",)),
    "raises a failure of its own": (
        "class AssertionError(BaseException): pass\ndef square(x):\n    raise AssertionError\n",
        ("RTE",),
    ),
    "ends the judge": (
        "import os, signal\ndef square(x):\n    os.kill(os.getppid(), 9)\n    os.kill(-1, 9)\n    return 4\n",
        ("RTE",),
    ),
    "stops the judge": (
        (
            "import os, signal\nfor pid in range(2, 40):\n    try: pid != os.getpid() and os.kill(pid, signal.SIGSTOP)\n"
            "    except OSError: pass\ndef square(x):\n    return 4\n"
        ),
        ("TLE", "RTE"),
    ),
    "interrupts the judge": (
        (
            "import os, signal\ndef square(x):\n    for pid in range(2, 40):\n        for number in (2, 15, 10, 14):\n"
            "            try: pid != os.getpid() and os.kill(pid, number)\n            except OSError: pass\n    return 4\n"
        ),
        ("WA", "RTE"),
    ),
    "does not compile": ("def square(x)\n    return x * x\n", ("CE",)),
    "loops": ("def square(x):\n    while True: pass\n", ("TLE",)),
    "loops at once": ("while True: pass\n", ("TLE",)),
    "sleeps": ("import time\ndef square(x):\n    time.sleep(1000)\n", ("TLE",)),
    "eats memory": ("def square(x):\n    return [bytearray(1 << 24) for _ in range(1 << 20)]\n", ("MLE",)),
    "floods": ("import os\ndef square(x):\n    while True: os.write(2, b'x' * 65536)\n", ("OLE",)),
    "never answers to an end": ("def square(x):\n    return iter(int, 1)\n", ("WA",)),
}

# These solve the task, and then do something that others could feel
INTERFERENCE: dict[str, tuple[str, tuple[str, ...]]] = {
    "leaves a process": (
        (
            "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
            "        while True: pass\n    os._exit(0)\ndef square(x):\n    return x * x\n"
        ),
        ("AC",),
    ),
    "leaves files": (
        (
            "import os\nopen('/tmp/json.py', 'w').write('raise SystemExit')\nopen('random.py', 'w').write('raise SystemExit')\n"
            "def square(x):\n    return x * x\n"
        ),
        ("AC",),
    ),
    "kills everybody": ("import os\ndef square(x):\n    os.kill(-1, 9)\n", ("RTE",)),
    "kills everybody when it is found out": (
        "import os\ndef square(x):\n    if x == 0: os.kill(os.getppid(), 9)\n    return x * x\n",
        ("RTE",),
    ),
    "fills the place": (
        "def square(x):\n    open('/tmp/big', 'wb').write(bytes(1 << 30))\n    return x * x\n",
        ("WA", "OLE", "MLE", "RTE"),
    ),
    "eats memory": ("def square(x):\n    return [bytearray(1 << 24) for _ in range(1 << 20)]\n", ("MLE",)),
    "is right and slow to end": (
        "import atexit, time\natexit.register(time.sleep, 1000)\ndef square(x):\n    return x * x\n",
        ("AC",),
    ),
}

# What of other processes can be opened; [] where nothing can
SPY = """
import ctypes, os

def spy():
    found = []
    libc = ctypes.CDLL(None, use_errno=True)
    for pid in (name for name in os.listdir("/proc") if name.isdigit()):
        if int(pid) in (1, os.getpid()):
            continue
        for name in ("mem", "environ", "maps", "auxv", "stack", "syscall", "fd/0", "fd/1", "fd/2", "fd/3", "fd/4", "cwd/."):
            try:
                os.close(os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_NONBLOCK))
                found.append(f"/proc/{pid}/{name}")
            except OSError:
                pass
        if libc.ptrace(16, int(pid), 0, 0) == 0:
            found.append(f"ptrace {pid}")
        try:
            handle = os.pidfd_open(int(pid))
        except OSError:
            continue
        if libc.syscall(438, handle, 0, 0) >= 0:
            found.append(f"pidfd_getfd {pid}")
    return found
"""
