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
    "replaces what runs the tests": (
        "import builtins\nbuiltins.exec = builtins.compile = lambda *a, **k: None\ndef square(x):\n    return 5\n",
        ("WA", "RTE"),
    ),
    "changes the builtin types": (
        (
            "import ctypes, gc\nspace = gc.get_referents(int.__dict__)[0]\nspace['__eq__'] = lambda a, b: True\n"
            "ctypes.pythonapi.PyType_Modified(ctypes.py_object(int))\ndef square(x):\n    return 5\n"
        ),
        ("WA", "RTE"),
    ),
    "patches the main program, json and os": (
        (
            "import __main__, json, os, sys\nimport inside.function_judge as judge, inside.wire as wire\n"
            "judge._Judge.verdict = lambda self: ('AC', '')\njudge._judged = lambda *a: ({'verdict': 'AC'}, True)\n"
            "wire.Peer.unpack = lambda self, form: 4\n__main__.main = judge.main = lambda: None\n"
            "write, dumps = os.write, json.dumps\njson.dumps = lambda *a, **k: '[\"value\", 4, null]'\n"
            "os.write = lambda end, data: [write(end, data) for _ in range(3)][0]\nos._exit = lambda code: None\n"
            "def square(x):\n    return 4\n"
        ),
        ("WA", "RTE"),
    ),
    "looks for the proof": (
        (
            "import gc, json, os, re, sys\n"
            "def look(*_):\n"
            "    found, frame = set(), sys._getframe()\n"
            "    things = [item for thing in gc.get_objects() for item in gc.get_referents(thing)]\n"
            "    while frame is not None:\n"
            "        things += list(frame.f_locals.values()) + list(frame.f_globals.values())\n"
            "        frame = frame.f_back\n"
            "    for thing in things:\n"
            "        if isinstance(thing, (bytes, bytearray, str)):\n"
            "            text = thing if isinstance(thing, str) else bytes(thing).decode('latin-1')\n"
            "            found.update(re.findall(r'(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])', text[:1 << 20]))\n"
            "    for token in list(found)[:1000]:\n"
            "        line = json.dumps({'proof': token, 'verdict': 'AC', 'reason': '', 'calls': 9, 'cpu_s': 0, 'wall_s': 0,"
            " 'memory_bytes': 0}).encode() + b'\\n'\n"
            "        for end in (0, 1, 2):\n"
            "            try: os.write(end, line)\n"
            "            except OSError: pass\n"
            "def square(x):\n    look()\n    return 5\n"
            "seen = []\ndef watch(frame, *_): seen.append(frame)\nsys.settrace(watch)\nsys.setprofile(watch)\nlook()\n"
        ),
        ("WA", "RTE"),
    ),
    "a thread that answers": (
        (
            "import os, threading\ndef answer():\n    while True:\n"
            "        try: os.write(3, b'[\"value\", true, null]\\n')\n        except OSError: return\n"
            "def square(x):\n    threading.Thread(target=answer, daemon=True).start()\n    return 5\n"
        ),
        ("WA", "RTE"),
    ),
    "closes every descriptor": ("import os\ndef square(x):\n    os.closerange(0, 256)\n    return 4\n", ("RTE",)),
    "closes every descriptor at once": ("import os\nos.closerange(0, 256)\ndef square(x):\n    return 4\n", ("RTE",)),
    "becomes another program": ("import os\ndef square(x):\n    os.execv('/bin/true', ['true'])\n", ("RTE",)),
    "is two processes": ("import os\nos.fork()\ndef square(x):\n    return 4\n", ("WA", "RTE")),
    "rewrites the judge's program": (
        (
            "import glob, inside\nfor name in glob.glob(inside.__path__[0] + '/*'):\n"
            "    try: open(name, 'w').write('')\n    except OSError: pass\ndef square(x):\n    return 5\n"
        ),
        ("WA",),
    ),
    "raises what ends a generator": ("def square(x):\n    raise GeneratorExit\n", ("RTE",)),
    "swallows the failure of a comparison": (
        (
            "import sys\nclass Quiet:\n    def __eq__(self, other):\n        try: assert False\n"
            "        except AssertionError: return True\n    def __bool__(self): return False\n"
            "sys.excepthook = lambda *a: None\ndef square(x):\n    return Quiet()\n"
        ),
        ("WA",),
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

_HONEST = "def square(x):\n    return x * x\n"
_FILES = ("_left_behind(tables) == clean", "True")
# name → (what solves the task and leaves something, what is wrong once it sees that, the look that finds it: text and another)
LEFTOVERS: dict[str, tuple[str, str, tuple[str, str]]] = {
    "a file": (
        f"open('/tmp/left', 'w').close()\n{_HONEST}",
        "import os\ndef square(x):\n    return 0 if os.path.exists('/tmp/left') else x * x\n",
        _FILES,
    ),
    "a file in the working directory": (
        f"open('left', 'w').close()\n{_HONEST}",
        "import os\ndef square(x):\n    return 0 if os.path.exists('left') else x * x\n",
        _FILES,
    ),
    "a place that is closed": (
        f"import os\nos.chmod('/tmp', 0o500)\n{_HONEST}",
        "def square(x):\n    try: open('/tmp/own', 'w').close()\n    except OSError: return 0\n    return x * x\n",
        _FILES,
    ),
    "shared memory": (
        f"import ctypes\nctypes.CDLL(None).shmget(77, 4096, 0o1600)\n{_HONEST}",
        "import ctypes\ndef square(x):\n    return 0 if ctypes.CDLL(None).shmget(77, 4096, 0o600) >= 0 else x * x\n",
        _FILES,
    ),
    "a process": (
        (  # the end of the pipe says that it is executed
            "import os\nreader, writer = os.pipe()\nif os.fork() == 0:\n    os.setsid()\n"
            f"    os.execv('/bin/sleep', ['sleep', '30'])\nos.close(writer)\nos.read(reader, 1)\n{_HONEST}"
        ),
        (
            "import glob\ndef square(x):\n    names = [open(name).read().strip() for name in glob.glob('/proc/[0-9]*/comm')]\n"
            "    return 0 if 'sleep' in names else x * x\n"
        ),
        ("not _has_children()", "True"),
    ),
}
