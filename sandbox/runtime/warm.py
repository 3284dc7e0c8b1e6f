"""What a warm interpreter can run, and the package that it needs to be a launcher. See `docs/protocol.md`."""

from __future__ import annotations

import functools
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path

from sandbox.model import launch
from sandbox.model.policy import Policy

_NAME = re.compile(rb"python[0-9.]*")
# Python and the C library look at these when they start: with a value of its own the run needs a start of its own.
_AT_START = re.compile(rb"PYTHON.*|LD_.*|LC_.*|LANG|LANGUAGE|LOCPATH|TZ|TZDIR|MALLOC_.*|GLIBC_TUNABLES|OPENSSL_CONF")
_SWITCHES = {ord("u"): launch.UNBUFFERED, ord("B"): launch.NO_BYTECODE, ord("P"): launch.SAFE_PATH, ord("s"): 0}
_ENDS = {ord("c"): launch.WARM_CODE, ord("m"): launch.WARM_MODULE}
_ROOMS = ("model", "kernel", "launcher")


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
            return (launch.WARM_SCRIPT, place, switches) if word and not word.endswith(b".pyc") else ()
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
    return (not place or place == os.path.dirname(interpreter)) and (
        bool(_NAME.fullmatch(name)) or name == os.path.basename(interpreter)
    )


def _same_start(policy: Policy, environment: Sequence[bytes]) -> bool:
    """Whether what is looked at when Python starts is as the profile says."""
    own = {os.fsencode(f"{name}={value}") for name, value in policy.environment.values}
    return {entry for entry in environment if _matters(entry)} == {entry for entry in own if _matters(entry)}


def _matters(entry: bytes) -> bool:
    return bool(_AT_START.fullmatch(entry.partition(b"=")[0]))


def _is_text(word: bytes) -> bool:
    try:
        word.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


@functools.cache
def package() -> bytes:
    """An archive of what a launcher is made of, for an interpreter that sees no file of the host."""
    import zipfile

    root = Path(launch.__file__).parents[1]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("sandbox/__init__.py", "")
        for file in sorted(file for room in _ROOMS for file in (root / room).glob("*.py")):
            archive.writestr(f"sandbox/{file.parent.name}/{file.name}", file.read_bytes())
    return out.getvalue()
