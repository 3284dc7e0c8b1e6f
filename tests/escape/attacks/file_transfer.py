"""Files that go in and out: collected ones, input files, standard input, `--out` (threat model CO, OU03)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox import RequestError
from sandbox.cli import collected
from sandbox.model import launch
from sandbox.runtime import request
from sandbox.runtime.session import Session
from tests.escape import layers
from tests.escape.attacks import host_files
from tests.escape.attacks.privileges import private
from tests.escape.attacks.set_id_bits import PLACE, writable
from tests.escape.layers import Layer
from tests.escape.model import Attack, Scene

assert host_files  # its layers are used below

COLLECT, INPUT, OUT = ("SEC-IO-01",), ("SEC-IO-02",), ("SEC-IO-03",)
Making = Callable[[Path], contextlib.AbstractContextManager[Scene]]
WALL = "10s"
_COLLECT = "launcher/collect.py"
_CALL = "from sandbox.kernel.files import openat2\n"
_FOLLOWING = (
    "from sandbox.kernel.files import openat2 as _openat2\n\n\ndef openat2(*words):\n    return _openat2(*words, resolve=0)\n"
)


def patched(module: Any, name: str, value: Any) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """The caller's side with another value of that name."""

    @contextlib.contextmanager
    def context() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, name, value)
            yield

    return context


def _kept(self: Any, path: str) -> None:
    """`Destination` in a directory that somebody else has made."""
    self.path = path
    self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)


_open_streams = Session._open_streams
_files = request._files


def _handed_over(self: Any) -> None:
    """The payload's stdin is the very file that the caller gives."""
    given = self._inflow._feed.source_fd  # a small file is read, and done with, when the streams are open
    _open_streams(self)
    os.dup2(given, dict(self.passed)[launch.FD_STDIN], inheritable=False)


def _with_modes(files: Any, limits: Any) -> tuple[tuple[bytes, int, bytes], ...]:
    """Input files with all the bits that the caller said."""
    said = {os.fsencode(name): content[1] for name, content in files.items()}
    return tuple((name, said[name], data) for name, _, data in _files(files, limits))


layers.register(
    Layer(name="collect: no links", patches=((_COLLECT, _CALL, _FOLLOWING),)),
    Layer(
        name="collect: links as themselves",
        patches=(
            (_COLLECT, "os.O_PATH | os.O_NOFOLLOW)", "os.O_PATH)"),
            (_COLLECT, "os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW\n", "os.O_NONBLOCK | os.O_NOCTTY\n"),
        ),
    ),
    Layer(
        name="collect: kinds by name",
        patches=((_COLLECT, "        if kind == stat.S_IFREG:\n", "        if kind not in (stat.S_IFDIR, stat.S_IFLNK):\n"),),
    ),
    Layer(
        name="collect: kinds by descriptor",
        patches=((_COLLECT, "    if not stat.S_ISREG(found.st_mode):\n", "    if False:\n"),),
    ),
    Layer(name="collect: one name", patches=((_COLLECT, "    elif found.st_nlink != 1:\n", "    elif False:\n"),)),
    Layer(name="collect: bytes", patches=((_COLLECT, "    elif found.st_size > budget.bytes:\n", "    elif False:\n"),)),
    Layer(
        name="collect: names",
        patches=((_COLLECT, "if budget.entries < 0 or budget.names < 0:", "if budget.entries < 0:"),),
    ),
    Layer(name="collect: number", patches=((_COLLECT, "    if budget.files == 0:\n", "    if False:\n"),)),
    Layer(name="collect: depth", patches=((_COLLECT, "        elif depth >= MAX_DEPTH:\n", "        elif False:\n"),)),
    Layer(name="collect: plain modes", patches=((_COLLECT, "mode & 0o755, size)", "mode, size)"),)),
    Layer(name="names: caller", caller=patched(request, "clean_name", lambda name, what: name)),
    Layer(
        name="names: init",
        patches=(
            ("launcher/scratch.py", '        if any(part in (b"", b".", b"..") for part in parts):\n', "        if False:\n"),
        ),
    ),
    Layer(name="modes: caller", caller=patched(request, "_files", _with_modes)),
    Layer(
        name="modes: init",
        patches=(
            ("launcher/scratch.py", "os.O_CLOEXEC, mode & 0o777, dir_fd", "os.O_CLOEXEC, mode, dir_fd"),
            ("launcher/scratch.py", "os.fchmod(fd, mode & 0o777)", "os.fchmod(fd, mode)"),
        ),
    ),
    Layer(name="stdin is a pipe", caller=patched(Session, "_open_streams", _handed_over)),
    Layer(name="out: a new directory", caller=patched(collected.Destination, "__init__", _kept)),
    Layer(name="out: new files", caller=patched(collected, "_CREATE", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC)),
    Layer(name="out: no links", caller=patched(collected, "_DIRECTORY", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)),
)


def taking(*names: str, seen: Callable[[dict[str, Any]], str], **limits: Any) -> Making:
    """Collect these names; `seen` looks at what has come."""

    @contextlib.contextmanager
    def scene(directory: Path) -> Iterator[Scene]:
        options = {"collect": list(names), "limits": {"wall": WALL, **limits}}
        yield Scene(options=options, check=lambda result: seen(dict(result.files)))

    return scene


def taking_private(target: str, *names: str, refusals: tuple[str, ...] = ()) -> Making:
    """The same beside a mount with a file that only the caller may read: its launcher may, too."""

    @contextlib.contextmanager
    def scene(directory: Path) -> Iterator[Scene]:
        with private(directory) as made:
            made.arguments = [target]
            made.options = {"collect": list(names)}
            made.check = lambda result: _secret(dict(result.files))
            made.refusals = refusals
            yield made

    return scene


def _secret(files: dict[str, Any]) -> str:
    bad = [name for name, file in files.items() if b"token-of-the-caller" in file.data or file.data.startswith(b"\x7fELF")]
    return f"collected from elsewhere: {bad}" if bad else ""


def _any(files: dict[str, Any]) -> str:
    return f"collected: {sorted(files)[:4]}" if files else ""


def _set_id(files: dict[str, Any]) -> str:
    bad = {name: oct(file.mode) for name, file in files.items() if file.mode & ~0o755}
    return f"modes: {bad}" if bad else ""


def _large(files: dict[str, Any]) -> str:
    size = sum(len(file.data) for file in files.values())
    return f"{size} bytes" if size > 1 << 20 else ""


@contextlib.contextmanager
def _long(directory: Path) -> Iterator[Scene]:
    def check(result: Any) -> str:
        names = [*result.files, *(name for name, _ in result.refused_files)]
        size = sum(map(len, names))
        return f"{size} bytes in names" if size > 5 << 20 else ""

    yield Scene(options={"collect": ["long"]}, check=check)


def _many(files: dict[str, Any]) -> str:
    return f"{len(files)} files" if len(files) > 10 else ""


@contextlib.contextmanager
def _input(directory: Path) -> Iterator[Scene]:
    """An input file whose name leads out of the work directory, into a mount that the payload may write to."""
    with writable(directory) as scene:
        place = directory / "shared"
        scene.arguments = []
        scene.options = {"files": {f"..{PLACE}/made": b"x"}}
        scene.refusals = ("must be a relative name", "unclean", "input files")
        scene.check = lambda result: "an input file lies in a directory of the host" if (place / "made").exists() else ""
        yield scene


@contextlib.contextmanager
def _set_id_input(directory: Path) -> Iterator[Scene]:
    # Empty: the kernel takes the bits from a file that is written to.
    yield Scene(options={"files": {"input": (b"", 0o6755)}})


@contextlib.contextmanager
def _stdin(directory: Path) -> Iterator[Scene]:
    """The payload reads a file that everybody may change, through a descriptor for reading only."""
    path = directory / "input"
    path.write_text("before")
    path.chmod(0o666)
    with path.open("rb") as file:
        changed = "the file that was its input has changed"
        yield Scene(options={"stdin": file}, check=lambda result: "" if path.read_text() == "before" else changed)


def writing_to(link: str) -> Making:
    """`--out` names a directory that somebody else has made, with a link in it."""

    @contextlib.contextmanager
    def scene(directory: Path) -> Iterator[Scene]:
        victim, out = directory / "victim", directory / "out"
        victim.mkdir()
        (victim / "file").write_text("before")
        out.mkdir()
        (out / link).symlink_to(victim / link if link == "file" else victim)

        def check(result: Any) -> str:
            if not result.files:
                return "nothing was collected"
            with contextlib.suppress(RequestError):
                collected.Destination(str(out)).write(result.files)
            changed = (victim / "file").read_text() != "before"
            return "a file elsewhere was written to" if changed else ""

        name = "file" if link == "file" else "directory/file"
        if link != "file":
            (victim / "file").unlink()
            check = _appears(victim / "file", out)
        yield Scene(options={"collect": [name]}, check=check)

    return scene


def _appears(path: Path, out: Path) -> Callable[[Any], str]:
    def check(result: Any) -> str:
        if not result.files:
            return "nothing was collected"
        with contextlib.suppress(RequestError):
            collected.Destination(str(out)).write(result.files)
        return "a file appears elsewhere" if path.exists() else ""

    return check


def attack(name: str, title: str, command: str, held_by: tuple[str, ...], claims: tuple[str, ...], scene: Making) -> Attack:
    return Attack(id=name, title=title, claims=claims, command=f"probe {command}", layers=held_by, scene=scene, bwrap=False)


FOLLOW = "links are not followed"
LINKS = ("collect: no links", "collect: links as themselves", FOLLOW)
SECRET = f"{PLACE}/token"
BOUND = (*COLLECT, "SEC-LI-05")
ATTACKS = [
    attack("CO01-link", "a link to a private file of the caller", "left link", LINKS, COLLECT, taking_private(SECRET, "file")),
    attack(
        "CO01-directory",
        "a link to a directory of the caller",
        "left directory",
        ("collect: no links", FOLLOW),
        COLLECT,
        taking_private(PLACE, "directory/token"),
    ),
    attack(
        "CO01-magic",
        "a link to the interpreter that collects",
        "left link",
        (*LINKS, "collect: one name"),  # an interpreter may have several, such as one in the cache of perf
        (*COLLECT, "SEC-FS-01"),
        taking_private("/proc/self/exe", "file"),
    ),
    attack("CO04-names", "a file with two names", "left names", ("collect: one name",), COLLECT, taking(".", seen=_any)),
    attack(
        "CO02-fifo",
        "a fifo",
        "left fifo",
        ("collect: kinds by name", "collect: kinds by descriptor"),
        COLLECT,
        taking("fifo", seen=_any),
    ),
    attack(
        "CO02-set-id",
        "a set-uid file",
        "left set-id",
        ("filter", "collect: plain modes"),
        (*COLLECT, "SEC-FS-04"),
        taking("file", seen=_set_id),
    ),
    attack("CO02-sparse", "a file of holes", "left sparse", ("collect: bytes",), BOUND, taking(".", seen=_large, collect="1MiB")),
    attack("CO02-many", "many files", "left many", ("collect: number",), BOUND, taking("many", seen=_many, collect_files=10)),
    attack("CO02-long", "paths of seven megabytes", "left long", ("collect: names",), BOUND, _long),
    attack("CO02-deep", "a file 70 directories down", "left deep", ("collect: depth",), BOUND, taking("d", seen=_any)),
    attack(
        "CO07-name",
        "a name that lies elsewhere",
        "left nothing",
        ("names: caller", "collect: no links"),
        COLLECT,
        taking_private("", SECRET, refusals=("must be a relative name",)),
    ),
    attack("CO10-input", "an input file outside", "left nothing", ("names: caller", "names: init"), INPUT, _input),
    attack(
        "CO10-mode",
        "an input file with a set-uid bit",
        "input",
        ("modes: caller", "modes: init", "filter"),
        (*INPUT, "SEC-FS-04"),
        _set_id_input,
    ),
    attack(
        "OU03-stdin",
        "the file that is its input is opened for writing",
        "file-stdin",
        ("stdin is a pipe", "landlock"),
        ("SEC-PR-03", "SEC-FS-02"),
        _stdin,
    ),
    attack("CO11-file", "a link in --out", "left files", ("out: a new directory", "out: new files"), OUT, writing_to("file")),
    attack(
        "CO11-directory",
        "a link to a directory in --out",
        "left files",
        ("out: a new directory", "out: no links"),
        OUT,
        writing_to("directory"),
    ),
]
