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

WARM = ("python-warm",)
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


ATTACKS = [
    Attack(
        id="WM01-memory",
        title="arguments, variables and files of an earlier run, in memory",
        command="python warm memory",
        claims=("SEC-WM-01",),
        layers=("unread program",),
        scene=_earlier,
        profiles=WARM,
        bwrap=False,
    ),
    Attack(
        id="WM02-host",
        title="a path of the host, in memory",
        command="python warm memory",
        claims=("SEC-WM-02",),
        layers=("plan without the host",),
        scene=_place,
        profiles=WARM,
        bwrap=False,
    ),
    Attack(
        id="WM02-descriptors",
        title="descriptors of the launcher",
        command="python warm descriptors",
        claims=("SEC-WM-02",),
        layers=("descriptors: payload",),  # what is not closed then would only be closed by exec
        profiles=WARM,
        bwrap=False,
    ),
]
