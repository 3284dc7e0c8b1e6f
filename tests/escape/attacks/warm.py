"""What a run of a warm interpreter finds in the memory that it shares with its launcher (docs/decisions/0012)."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.escape import layers
from tests.escape.attacks import inheritance
from tests.escape.layers import Layer
from tests.escape.model import Attack, BrokenTrial, Scene

assert inheritance  # its layers are used below

_ORDER = "        self.present, self.streams = present & launch.FD_STREAMS, streams\n"
_NOTED = '        globals().setdefault("_SEEN", []).append([os.pread(fd, 1 << 20, 0) for fd in streams[3:]])\n'
_CUT = 'plan.replace(name="", ids=ids, template=()).encode()'

layers.register(
    Layer(name="unread program", patches=(("launcher/runs.py", _ORDER, _ORDER + _NOTED),)),
    Layer(name="plan without the host", patches=(("launcher/warmup.py", _CUT, "plan.encode()"),)),
)


def _backwards(text: str) -> bytes:
    return text[::-1].encode()


@contextlib.contextmanager
def _earlier(directory: Path) -> Iterator[Scene]:
    """Runs before it have been given a secret, in every way but as standard input."""
    token = secrets.token_hex(12)

    @contextlib.contextmanager
    def before(box: Any) -> Iterator[None]:
        for _ in range(3):
            files = {f"d-{token}": token.encode() * 200}
            words = ["python3", "-c", "import sys, os; sys.argv, os.environ", token]
            if not (told := box.run(words, env={"SECRET": token}, files=files)).ok:
                raise BrokenTrial(f"an earlier run has failed: {told.exit} {told.stderr[-100:]!r}")
        yield

    yield Scene(options={"stdin": _backwards(token)}, beside=before)


@contextlib.contextmanager
def _place(directory: Path) -> Iterator[Scene]:
    """Directories of the host with names that nobody can guess are mounted under others.

    Many: what the interpreter has freed it uses again, and a single name may be gone by chance.
    """
    token = secrets.token_hex(12)
    mounts = [(directory / f"{token}-{number}", f"/data/{number}", False) for number in range(24)]
    for place, _, _ in mounts:
        place.mkdir()
    yield Scene(
        options={"stdin": _backwards(token)}, mounts=[(str(place), target, writable) for place, target, writable in mounts]
    )


def attack(name: str, title: str, command: str, claim: str, layer: str, scene: Any = None) -> Attack:
    return Attack(
        id=name,
        title=title,
        command=f"python warm {command}",
        claims=(claim,),
        layers=(layer,),
        scene=scene,
        profiles=("python-warm",),
        bwrap=False,
    )


ATTACKS = [
    attack("WM01-memory", "what an earlier run was given, in memory", "memory", "SEC-WM-01", "unread program", _earlier),
    attack("WM02-host", "a path of the host, in memory", "memory", "SEC-WM-02", "plan without the host", _place),
    # What is not closed before the program starts would only be closed by exec.
    attack("WM02-descriptors", "descriptors of the launcher", "descriptors", "SEC-WM-02", "descriptors: payload"),
]
