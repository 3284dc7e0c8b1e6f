"""What a warm interpreter can run, and the package that it needs to be a launcher. See `docs/protocol.md`."""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Sequence

from sandbox.model import launch, steps
from sandbox.model.errors import LaunchError
from sandbox.model.plan import Plan
from sandbox.model.policy import Policy

# Python and the C library look at these when they start: with a value of its own the run needs a start of its own.
_AT_START = frozenset((b"LANG", b"LANGUAGE", b"LOCPATH", b"TZ", b"TZDIR", b"GLIBC_TUNABLES", b"OPENSSL_CONF"))
_AT_START_KINDS = (b"PYTHON", b"LD_", b"LC_", b"MALLOC_")
_SWITCHES = {ord("u"): launch.PY_UNBUFFERED, ord("B"): launch.PY_NO_BYTECODE, ord("P"): launch.PY_SAFE_PATH, ord("s"): 0}
_ENDS = {ord("c"): launch.PY_CODE, ord("m"): launch.PY_MODULE}
STEPS = (
    steps.WARM_EXEC,
    steps.WARM_INTERPRETER,
    steps.WARM_PLACES,
    steps.WARM_PRELOAD,
    steps.WARM_THREADS,
    steps.WARM_DESCRIPTORS,
)
_ROOMS = ("model", "kernel", "launcher")
_OURS = os.path.dirname(os.path.dirname(os.path.abspath(launch.__file__)))


def form(policy: Policy, words: Sequence[bytes], environment: Sequence[bytes]) -> tuple[int, ...]:
    """The field `warm` of `Program`: () when these words need an interpreter of their own, or none.

    Whether argv[0] really means the warm interpreter is known inside only, where the candidates are tried in order.
    """
    interpreter = os.fsencode(policy.warm.interpreter)
    if not interpreter or not _may_mean(words[0], interpreter) or not _same_start(policy, environment):
        return ()
    switches = 0
    for place, word in enumerate(words[1:], 1):
        if not word.startswith(b"-"):
            return (launch.PY_SCRIPT, place, switches) if word and not word.endswith(b".pyc") else ()
        for at, letter in enumerate(word[1:], 1):
            if letter in _ENDS:
                alone = at + 1 == len(word) and place + 1 < len(words)  # an argument in the same word is rare
                return (_ENDS[letter], place + 1, switches) if alone and _is_text(words[place + 1]) else ()
            if letter not in _SWITCHES:
                return ()
            switches |= _SWITCHES[letter]
        if word == b"-":  # a script on stdin
            return ()
    return ()


def _may_mean(word: bytes, interpreter: bytes) -> bool:
    place, name = os.path.split(word)
    usual = name.startswith(b"python") and not name[6:].strip(b"0123456789.")
    return (not place or place == os.path.dirname(interpreter)) and (usual or name == os.path.basename(interpreter))


def _same_start(policy: Policy, environment: Sequence[bytes]) -> bool:
    """Whether what is looked at when Python starts is as the profile says."""
    own = {os.fsencode(f"{name}={value}") for name, value in policy.environment.values}
    return {entry for entry in environment if _matters(entry)} == {entry for entry in own if _matters(entry)}


def _matters(entry: bytes) -> bool:
    name = entry.partition(b"=")[0]
    return name in _AT_START or name.startswith(_AT_START_KINDS)


def _is_text(word: bytes) -> bool:
    try:
        word.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def start_error(plan: Plan, step: int, index: int, number: int) -> LaunchError:
    """The exception for an interpreter that did not come up, in words."""
    interpreter = os.fsdecode(plan.warm.interpreter)
    name = plan.warm.preload[index] if index < len(plan.warm.preload) else ""
    why = os.strerror(number) if number else "it ended, or raised an exception"
    what = {
        steps.WARM_EXEC: f"the warm interpreter {interpreter!r} cannot be executed inside the sandbox: {why}",
        steps.WARM_INTERPRETER: f"{interpreter!r} does not come up as a warm interpreter inside the sandbox: {why}",
        steps.WARM_PLACES: f"the warm interpreter {interpreter!r} would load modules from a place that runs can write",
        steps.WARM_PRELOAD: f"the module {name!r} cannot be loaded: its import raised {_raised(number)}",
        steps.WARM_THREADS: f"the module {name!r} cannot be loaded: its import starts a thread, which no fork would have",
        steps.WARM_DESCRIPTORS: f"the module {name!r} cannot be loaded: its import leaves a file open, which no run may share",
    }[step]
    hint = {
        steps.WARM_EXEC: "warm.interpreter is a path inside; mount it with everything that it needs",
        steps.WARM_INTERPRETER: "it must be a CPython 3.11 or newer that starts under this profile",
        steps.WARM_PLACES: "mount what is on sys.path read-only, or take it off PYTHONPATH",
        steps.WARM_THREADS: "leave it out of warm.preload",
        steps.WARM_DESCRIPTORS: "leave it out of warm.preload",
    }.get(step, f'run `python3 -c "import {name}"` with `--set warm.interpreter=` under this profile to see the traceback')
    return LaunchError(what, step=steps.name_of(step), index=index, errno=number, path=name or interpreter, hint=hint)


def _raised(number: int) -> str:
    known = {errno.ENOENT: "ModuleNotFoundError, of this module or one that it needs", errno.ECANCELED: "SystemExit"}
    return known.get(number) or (f"an OSError ({os.strerror(number)})" if number else "an exception")


@functools.cache
def package(root: str = _OURS) -> bytes:
    """An archive of what a launcher is made of, for an interpreter that sees no file of the host.

    With bytecode, which an interpreter of our own version takes without looking further; every other one compiles the sources.
    """
    import io
    import zipfile

    from sandbox.model import bytecode  # only here: it loads what a short command does without

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", strict_timestamps=False) as archive:
        archive.writestr("sandbox/__init__.py", "")
        for room in _ROOMS:
            for name in sorted(name for name in os.listdir(f"{root}/{room}") if name.endswith(".py")):
                archive.write(f"{root}/{room}/{name}", f"sandbox/{room}/{name}")
                archive.writestr(f"sandbox/{room}/{name}c", bytecode.of(f"{root}/{room}/{name}", f"sandbox/{room}/{name}"))
    return out.getvalue()
