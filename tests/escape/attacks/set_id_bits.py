"""Set-user-id and set-group-id files, made in every way, in private places and in a writable mount (threat model NR17)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.escape.model import Attack, Scene

PLACE = "/opt/scene"
WAYS = {
    "chmod": "chmod",
    "chmod-wide": "chmod with high bits",
    "fchmod": "fchmod",
    "fchmod-wide": "fchmod with high bits",
    "fchmodat": "fchmodat",
    "fchmodat2": "fchmodat2",
    "open": "open",
    "openat": "openat",
    "openat-wide": "openat with high bits",
    "openat2": "openat2, its mode behind a pointer",
    "creat": "creat",
    "mknod": "mknod",
    "mknodat": "mknodat",
    "mknodat-fifo": "mknodat, as a fifo",
    "memfd": "fchmod, in memory only",
    "tmpfile": "O_TMPFILE and a link",
    "open-tmpfile": "open with O_TMPFILE and a link",
}


@contextlib.contextmanager
def writable(directory: Path) -> Iterator[Scene]:
    """A directory of the host that the caller lets the payload write into."""
    place = directory / "shared"
    place.mkdir()
    place.chmod(0o777)

    def check(result: Any) -> str:
        found = {entry.name: os.lstat(entry).st_mode for entry in place.iterdir()}
        bad = {name: oct(mode) for name, mode in found.items() if mode & 0o6000}
        return f"files of the host: {bad}" if bad else ""

    yield Scene(arguments=[PLACE, str(place)], mounts=[(str(place), PLACE, True)], check=check)


def attack(way: str, bits: str, name: str, title: str, **more: Any) -> Attack:
    command = f"probe set-id {way} {bits}"
    return Attack(id=name, title=title, claims=("SEC-FS-04",), command=command, layers=("filter",), **more)


ATTACKS = [
    *(attack(way, "4000", f"NR17-uid-{way}", f"a set-uid file by {title}") for way, title in WAYS.items()),
    *(attack(way, "2000", f"NR17-gid-{way}", f"a set-gid file by {title}") for way, title in WAYS.items()),
    *(
        attack(way, "6000", f"NR17-host-{way}", f"a set-uid file of the host by {WAYS[way]}", scene=writable)
        for way in ("fchmod", "openat", "mknodat")
    ),
]
