"""Sources of mounts, and roots, that lead elsewhere or change after the plan was made (threat model NR12, NR21)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sandbox.model.policy import Mount
from sandbox.policy import rootfs
from tests.escape import layers
from tests.escape.attacks.file_transfer import Making, patched
from tests.escape.attacks.set_id_bits import PLACE
from tests.escape.layers import Layer
from tests.escape.model import Attack, Scene

CLAIMS = ("SEC-FS-08", "SEC-FS-01")
SOURCES = ("sources: no links", "sources: beneath")
_TEMPLATE = "launcher/template.py"
_LINK_MESSAGE = "symbolic links"
_entries_of = rootfs._entries_of


def _followed(source: str, policy: Any, links: list[tuple[str, str]]) -> list[Mount]:
    """Links of a root directory become mounts of what they point to on the host."""
    entries = _entries_of(source, policy, links)
    entries += [Mount(source + target, target, why="an attack") for target, _ in links]
    links.clear()
    return entries


layers.register(
    Layer(
        name="sources: no links",
        patches=((_TEMPLATE, "_NO_LINKS = files.RESOLVE_NO_SYMLINKS | files.RESOLVE_NO_MAGICLINKS\n", "_NO_LINKS = 0\n"),),
    ),
    Layer(
        name="sources: beneath",
        patches=((_TEMPLATE, "resolve=_NO_LINKS | files.RESOLVE_BENEATH)", "resolve=_NO_LINKS)"),),
    ),
    Layer(name="links of a root stay links", caller=patched(rootfs, "_entries_of", _followed)),
)


def _hidden(directory: Path) -> Path:
    """A directory of the host with a token in it, which no profile names."""
    secret = directory / "secret"
    secret.mkdir()
    secret.chmod(0o755)
    (secret / "token").write_text("token-of-the-host")
    (secret / "token").chmod(0o644)
    return secret


def _swapped(path: Path, target: Path) -> Callable[[], None]:
    def change() -> None:
        path.rename(path.with_name("before"))
        path.symlink_to(target)

    return change


@contextlib.contextmanager
def _source(directory: Path) -> Iterator[Scene]:
    secret, place = _hidden(directory), directory / "place"
    place.mkdir()
    place.chmod(0o755)
    yield Scene(
        arguments=[f"{PLACE}/token"],
        mounts=[(str(place), PLACE, False)],
        planned=_swapped(place, secret),
        refusals=(_LINK_MESSAGE,),
    )


def _root(directory: Path) -> Path:
    root = directory / "root"
    (root / "data").mkdir(parents=True)
    for path in (root, root / "data"):
        path.chmod(0o755)
    return root


def _root_of(root: Path) -> dict[str, Any]:
    return {
        "rootfs": {"kind": "directory", "source": str(root)},
        "why": {"rootfs.kind": "an attack", "rootfs.source": "an attack"},
    }


@contextlib.contextmanager
def _entry(directory: Path) -> Iterator[Scene]:
    secret, root = _hidden(directory), _root(directory)
    planned = _swapped(root / "data", secret)
    yield Scene(arguments=["/data/token"], profile=_root_of(root), planned=planned, refusals=(_LINK_MESSAGE, "cross-device"))


@contextlib.contextmanager
def _whole_root(directory: Path) -> Iterator[Scene]:
    """All of the root is another now."""
    secret, root = _hidden(directory), _root(directory)
    (secret / "data").mkdir(mode=0o755)
    (secret / "token").rename(secret / "data" / "token")
    yield Scene(arguments=["/data/token"], profile=_root_of(root), planned=_swapped(root, secret), refusals=(_LINK_MESSAGE,))


@contextlib.contextmanager
def _link(directory: Path) -> Iterator[Scene]:
    """A root with a link to a file of the host."""
    secret, root = _hidden(directory), _root(directory)
    (root / "out").symlink_to(secret / "token")
    yield Scene(arguments=["/out"], profile=_root_of(root), refusals=(_LINK_MESSAGE, "cross-device"))


def attack(name: str, title: str, held_by: tuple[str, ...], scene: Making) -> Attack:
    return Attack(id=name, title=title, claims=CLAIMS, command="probe file-read plain", layers=held_by, scene=scene, bwrap=False)


ATTACKS = [
    attack("NR21-source", "the source of a mount becomes a link", ("sources: no links",), _source),
    attack("NR21-entry", "an entry of a root becomes a link", SOURCES, _entry),
    attack("NR21-root", "a root becomes a link", ("sources: no links",), _whole_root),
    attack("NR12-link", "a link in a root to a file of the host", ("links of a root stay links", *SOURCES), _link),
]
