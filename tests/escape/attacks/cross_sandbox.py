"""Two runs of one sandbox, at once or one after the other (threat model XR, NI12, PR08)."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sandbox import Exited, Outcome, Sandbox, SandboxError
from sandbox.kernel import namespaces
from tests.escape import layers, rights, services
from tests.escape.arena import INSIDE
from tests.escape.attacks.network import ABSTRACT, LOOPBACK
from tests.escape.attacks.set_id_bits import PLACE
from tests.escape.layers import Layer, _without_namespace
from tests.escape.limits import GROUPS
from tests.escape.model import Attack, BrokenTrial, Scene
from tests.escape.model import of_one_claim as attack
from tests.support.clock import seconds

RESIDUE, SEEN, ONE = "SEC-FS-06", "SEC-PR-01", "SEC-LT-03"
IPC = ("ipc namespace",) if GROUPS else ("ipc namespace", "filter")  # without control groups there are no such objects
OWN_ID = ("newuidmap",)
REFUSED = 1  # how "probe neighbour" ends when it cannot have what it is to have
Making = Callable[[Path], contextlib.AbstractContextManager[Scene]]
_PIVOT = "    progress.at(steps.TEMPLATE_PIVOT)\n"
_SHARED = """    shared = mounts.new_filesystem(b"tmpfs", ((b"mode", b"1777"),), _HARD)
    mounts.move_mount(shared, b"tmp", dir_fd=root)
"""
_HARDENED = '    mounts.set_attributes(root, b"", _HARD | mounts.ATTR_RDONLY, recursive=False)\n'
_KILL = "namespaces.send_signal(self.pidfd, _SIGKILL)"

layers.register(
    Layer(
        name="places of the run",
        patches=(
            ("launcher/template.py", _PIVOT, _SHARED + _PIVOT),
            ("launcher/scratch.py", "    if plan.tmp:\n", "    if False:\n"),
        ),
    ),
    Layer(
        name="pid namespace",
        plan=_without_namespace(namespaces.CLONE_NEWPID),
        patches=(
            (
                "launcher/init.py",
                'proc = mounts.new_filesystem(b"proc", tuple(options), hard)',
                'proc = mounts.open_tree(b"/proc", recursive=False)',
            ),
        ),
    ),
    Layer(name="template is read-only", patches=(("launcher/template.py", _HARDENED, ""),)),
    Layer(name="template belongs to nobody", patches=(("launcher/template.py", '(b"mode", b"0755")', '(b"mode", b"0777")'),)),
    Layer(name="one is killed", patches=(("launcher/runs.py", _KILL, "os.kill(-1, _SIGKILL)"),)),
)


class Neighbour:
    """Another run of the same sandbox, from when it is ready until it is told to end."""

    def __init__(self, box: Sandbox, words: Sequence[str], **options: Any) -> None:
        self.result: Any = None
        self._said = False
        self._ready = threading.Event()
        self._reader, self._writer = os.pipe()
        self._run = box.start([f"{INSIDE}/probe", "neighbour", *words], stdin=self._reader, on_stdout=self._heard, **options)
        self._thread = threading.Thread(target=self._wait, daemon=True)
        self._thread.start()
        if not self._ready.wait(seconds(5)) or not (self._said or self._refused()):
            ended = self.result and (self.result.exit, self.result.stderr[-100:])
            self.end()
            raise BrokenTrial(f"the neighbour is not ready: {ended}")

    def _refused(self) -> bool:
        """The profile does not even let the neighbour have it; any other end, and any error, says nothing."""
        told = self.result
        return told is not None and (told.outcome == Outcome.DENIED_SYSCALL or told.exit == Exited(REFUSED))

    def _heard(self, data: bytes) -> None:
        self._said = True
        self._ready.set()

    def _wait(self) -> None:
        with contextlib.suppress(SandboxError):
            self.result = self._run.wait()
        self._ready.set()  # where the profile does not let it

    def end(self) -> None:
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1
            self._thread.join(seconds(10))
            self._run.close()
            os.close(self._reader)


@contextlib.contextmanager
def _beside(box: Sandbox, words: Sequence[str], **options: Any) -> Iterator[Neighbour]:
    neighbour = Neighbour(box, words, **options)
    try:
        yield neighbour
    finally:
        neighbour.end()


def having(kind: str, name: Callable[[], str], profile: dict[str, Any] | None = None) -> Making:
    """A neighbour has something by a name that the payload knows."""

    @contextlib.contextmanager
    def scene(directory: Path) -> Iterator[Scene]:
        word = name()
        yield Scene(arguments=[word], profile=profile or {}, beside=lambda box: _beside(box, [kind, word]))

    return scene


def after(kind: str, place: str) -> Making:
    """A run that is over had something at a place."""

    @contextlib.contextmanager
    def before(box: Sandbox) -> Iterator[None]:
        if not (told := box.run([f"{INSIDE}/probe", "neighbour", kind, place])).ok:
            raise BrokenTrial(f"the earlier run has failed: {told.exit} {told.stderr[-100:]!r}")
        yield

    @contextlib.contextmanager
    def scene(directory: Path) -> Iterator[Scene]:
        yield Scene(arguments=[place], beside=before)

    return scene


def _must_live(**options: Any) -> Making:
    """A neighbour that must see its own end."""

    @contextlib.contextmanager
    def scene(directory: Path) -> Iterator[Scene]:
        found: list[Neighbour] = []

        @contextlib.contextmanager
        def beside(box: Sandbox) -> Iterator[None]:
            with _beside(box, ["plain"]) as neighbour:
                found.append(neighbour)
                yield

        def check(result: Any) -> str:
            found[0].end()
            told = found[0].result
            return "" if told is not None and told.ok else f"its neighbour has ended: {told and told.exit}"

        yield Scene(options={"limits": {"wall": "10s", **options}}, beside=beside, check=check)

    return scene


@contextlib.contextmanager
def _owned(directory: Path) -> Iterator[Scene]:
    """A directory in which two runs make a file each, at one time."""
    place = directory / "shared"
    place.mkdir()
    place.chmod(0o777)

    def check(result: Any) -> str:
        owners = {path.stat().st_uid for path in place.iterdir()}
        return "both files belong to one user" if len(list(place.iterdir())) == 2 and len(owners) == 1 else ""

    yield Scene(
        arguments=[f"{PLACE}/mine"],
        mounts=[(str(place), PLACE, True)],
        beside=lambda box: _beside(box, ["file", f"{PLACE}/other"]),
        check=check,
    )


@contextlib.contextmanager
def _file(directory: Path) -> Iterator[Scene]:
    """A file that a neighbour made in a directory that both may write in."""
    place = directory / "shared"
    place.mkdir()
    place.chmod(0o777)
    yield Scene(
        arguments=[f"{PLACE}/other"],
        mounts=[(str(place), PLACE, True)],
        beside=lambda box: _beside(box, ["private", f"{PLACE}/other"]),
    )


def _key() -> str:
    return str(int.from_bytes(secrets.token_bytes(3), "big") | 1 << 24)


def _port() -> str:
    with services.inet(socket.SOCK_DGRAM) as free:
        return str(free.getsockname()[1])


def _abstract() -> str:
    return f"@sandbox-attack-{secrets.token_hex(8)}"


def locking(name: str, title: str, words: str, claim: str = "SEC-SY-01") -> Attack:
    """Shared files are no channel of locks and watches in the profile "strict"."""
    return attack(f"NI12-{name}", title, f"lock-of {words}", ("filter",), claim, profiles=("strict",))


PLACES = ("places of the run",)
SIGNALS = ("pid namespace", "own host id", *(["landlock"] if rights.LANDLOCK >= 6 else []))
TEMPLATE = ("template is read-only", "template belongs to nobody", "landlock")
PROGRAM = f"{INSIDE}/probe"
ATTACKS = [
    attack("XR02-file", "a file of another run", "read-of", PLACES, RESIDUE, having("file", lambda: "/tmp/of-a-neighbour")),
    attack(
        "XR02-change", "a file of another run is changed", "change-of", PLACES, RESIDUE, having("file", lambda: "/tmp/changed")
    ),
    attack("XR02-socket", "a socket of another run", "connect-of", PLACES, RESIDUE, having("unix", lambda: "/tmp/socket")),
    attack("XR05-file", "what a run has left in /tmp", "read-of", PLACES, RESIDUE, after("left", "/tmp/of-an-earlier-run")),
    attack("XR02-segment", "System V memory of another run", "segment-of", IPC, SEEN, having("segment", _key)),
    attack("XR02-queue", "a System V queue of another run", "queue-of", IPC, SEEN, having("queue", _key)),
    attack("XR02-semaphore", "a System V semaphore of another run", "semaphore-of", IPC, SEEN, having("semaphore", _key)),
    attack("XR02-abstract", "an abstract socket of another run", "connect-of", ABSTRACT, "SEC-NW-01", having("unix", _abstract)),
    attack(
        "XR02-loopback", "the loopback of another run", "ask-of", ("net namespace",), "SEC-NW-01", having("udp", _port, LOOPBACK)
    ),
    attack("PR08-kill", "another run is killed", "kill-of", SIGNALS, SEEN, _must_live(), needs=OWN_ID),
    attack(
        "PR08-look",
        "the words of another run",
        "look-of",
        ("pid namespace",),
        SEEN,
        having("plain", lambda: "secret-of-a-neighbour"),
    ),
    attack("XR01-owner", "two runs are one user of the host", "own-of", ("own host id",), "SEC-ID-02", _owned, needs=OWN_ID),
    attack("XR01-private", "a private file of another run", "read-of", ("own host id",), "SEC-ID-02", _file, needs=OWN_ID),
    attack(
        "XR04-memory",
        "its end is also another's: memory",
        "eat-all",
        ("one is killed",),
        "SEC-RS-04",
        _must_live(memory="64MiB"),
        needs=("cgroup1",),
    ),
    attack(
        "XR04-wall",
        "its end is also another's: time",
        "stay 5000 sleep",
        ("one is killed",),
        "SEC-RS-04",
        _must_live(wall="400ms"),
    ),
    attack("XR04-mark", "a mark in what all runs share", "mark", TEMPLATE, ONE),
    locking("flock", "flock of a shared file", f"flock {PROGRAM}"),
    locking("watch", "inotify of a shared directory", "watch"),
    locking("record", "a lock of a shared file's bytes", f"record {PROGRAM} 6", "SEC-SY-04"),
    locking("record-wide", "the same with high bits", f"record {PROGRAM} 0x100000006", "SEC-SY-04"),
    locking("description", "a lock of an open shared file", f"description {PROGRAM} 37", "SEC-SY-04"),
    locking("notify", "signals about a shared directory", "notify - 1026", "SEC-SY-04"),
]
