"""Terminals: the payload's own, the host's by their paths, nodes of consoles (threat model TE, SF14)."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import select
import stat
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.cli import errors, report, text
from sandbox.kernel import mounts
from tests.escape import layers, rights
from tests.escape.attacks.set_id_bits import PLACE
from tests.escape.layers import HOST, Layer, _without_attribute
from tests.escape.model import Attack, Scene

TT = ("SEC-TT-01",)
FILTER = ("filter",)
DEVICE = ("nodev", *(["landlock"] if rights.LANDLOCK >= 5 else []))
CONSOLE, USERFAULTFD = "/dev/tty63", "/dev/userfaultfd"
Making = Callable[[Path], contextlib.AbstractContextManager[Scene]]


@contextlib.contextmanager
def _own(directory: Path) -> Iterator[Scene]:
    yield Scene(options={"tty": (24, 80)})


@contextlib.contextmanager
def _hosts(directory: Path) -> Iterator[Scene]:
    """A terminal of the host that everybody may open; whatever it shows, or is changed in it, is an escape."""
    master, slave = pty.openpty()
    try:
        path = os.ttyname(slave)
        os.chmod(path, 0o666)
        before = termios.tcgetattr(slave), termios.tcgetwinsize(slave)

        def check(result: Any) -> str:
            if select.select([master], [], [], 0)[0]:
                return f"the terminal shows {os.read(master, 64)!r}"
            return "" if _state(slave) in {None, repr(before)} else "the terminal has other modes"

        yield Scene(arguments=[HOST + path, path, "/dev/tty"], check=check)
    finally:
        os.close(slave)
        os.close(master)


def _state(slave: int) -> str | None:
    """None when it was hung up, which is what happens to a terminal whose session has ended."""
    with contextlib.suppress(termios.error, OSError):
        return repr((termios.tcgetattr(slave), termios.tcgetwinsize(slave)))
    return None


def _node(like: str) -> Making:
    """A mounted directory of the host with a node in it that everybody may use."""

    @contextlib.contextmanager
    def scene(directory: Path) -> Iterator[Scene]:
        number = os.stat(like).st_rdev if os.path.exists(like) else os.makedev(4, 63)
        place = directory / "nodes"
        place.mkdir()
        place.chmod(0o755)
        os.mknod(place / "node", stat.S_IFCHR | 0o600, number)
        os.chmod(place / "node", 0o666)
        yield Scene(arguments=[f"{PLACE}/node", str(place / "node")], mounts=[(str(place), PLACE, False)])

    return scene


@contextlib.contextmanager
def _wide(directory: Path) -> Iterator[Scene]:
    with _node(CONSOLE)(directory) as scene:
        scene.options = {"env": {"WIDE": "1"}}
        yield scene


@contextlib.contextmanager
def _told(directory: Path) -> Iterator[Scene]:
    """The command tells about a file that cannot be collected, whose name steers terminals."""

    def check(result: Any) -> str:
        with contextlib.redirect_stderr(io.StringIO()) as said:
            report.full(result, ())
        lines = [errors.one_line(line) for line in report.notes(result, warnings_only=False)]
        shown = said.getvalue() + "".join(lines) + json.dumps(result.to_dict())
        if "attack" not in shown:
            return "the file is not told of"
        return f"the command prints {shown!r}"[:200] if "\x1b" in shown else ""

    yield Scene(options={"collect": ["."]}, check=check)


@contextlib.contextmanager
def _as_it_is() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "printable", lambda name: name)
        yield


layers.register(
    Layer(name="nodev", plan=_without_attribute(mounts.ATTR_NODEV)),
    Layer(name="printable names", caller=_as_it_is),
)


def attack(
    name: str, title: str, command: str, held_by: tuple[str, ...], scene: Making, claims: tuple[str, ...] = TT, **more: Any
) -> Attack:
    return Attack(id=name, title=title, claims=claims, command=f"probe {command}", layers=held_by, scene=scene, **more)


OWN = [
    attack("TE01-own", "TIOCSTI types into its own terminal", "type n", FILTER, _own, bwrap=False),
    attack("TE01-own-wide", "TIOCSTI with high bits", "type w", FILTER, _own, (*TT, "SEC-SY-04"), bwrap=False),
    attack("TE05-own", "TIOCSCTTY takes its own terminal again", f"ioctl {termios.TIOCSCTTY:#x}", FILTER, _own, bwrap=False),
    attack(
        "TE05-own-wide",
        "TIOCSCTTY with high bits",
        f"ioctl {1 << 40 | termios.TIOCSCTTY:#x}",
        FILTER,
        _own,
        (*TT, "SEC-SY-04"),
        bwrap=False,
    ),
    attack("TE06-discipline", "another line discipline for its own terminal", "discipline", FILTER, _own, bwrap=False),
    attack(
        "TE02-own-console",
        "TIOCCONS: its terminal gets what the console is told",
        "ioctl 0x541d",
        ("filter", "capability sets", "user namespaces"),
        _own,
        needs=("root",),
        bwrap=False,
    ),
]
HOSTS = [
    attack("TE01-host", "a command typed into a terminal of the host", "take", ("mounts", "nodev", "landlock", "filter"), _hosts),
    attack("TE03-modes", "modes and size of a terminal of the host", "modes", ("mounts", "nodev", "landlock"), _hosts),
    attack("TE03-write", "text on a terminal of the host", "write", ("mounts", "nodev", "landlock"), _hosts),
]
TOLD = [
    attack("TE04-names", "a name that steers the terminal", "name", ("printable names",), _told, (*TT, "SEC-RS-03"), bwrap=False),
]
NODES = [
    attack(
        "TE02-console", "TIOCLINUX on a console", "console", (*DEVICE, "filter"), _node(CONSOLE), needs=("root", "device files")
    ),
    attack(
        "TE02-console-wide",
        "TIOCLINUX with high bits",
        "console",
        (*DEVICE, "filter"),
        _wide,
        (*TT, "SEC-SY-04"),
        needs=("root", "device files"),
    ),
    attack(
        "SF14-device",
        "page faults of itself, by a device",
        "device",
        DEVICE,
        _node(USERFAULTFD),
        ("SEC-FS-04", "SEC-SY-03"),
        needs=("root", "device files", "userfaultfd device"),
    ),
]
ATTACKS = [*OWN, *HOSTS, *TOLD, *NODES]
