"""What a payload could have from its caller, and from us: descriptors, environment, signals, priorities (threat model IN)."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import pty
import signal
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.escape import pids
from tests.escape.attacks.privileges import private
from tests.escape.handed_on import DESCRIPTORS
from tests.escape.model import Attack, Scene
from tests.escape.pids import BOTH, SIGNALS

LIBC = ctypes.CDLL(None, use_errno=True)
_X86 = os.uname().machine == "x86_64"
_PERSONALITY, _IOPRIO_SET, _SIGACTION = (135, 251, 13) if _X86 else (92, 30, 134)
_NO_RANDOM_LAYOUT = 0x0040000
_FIRST_OF_BEST_EFFORT = 2 << 13
_HIGH = 900
_GROUP = 424242
OURS: dict[str, Any] = {"identity": {"hostname": "inheritance"}}  # a launcher of its own, started now
Making = Callable[[Path], contextlib.AbstractContextManager[Scene]]


def _leaked(opening: Callable[[Path], tuple[int, list[str]]], **more: Any) -> Making:
    """The caller has a descriptor that its children get; what opening says are the payload's words."""

    @contextlib.contextmanager
    def scene(directory: Path) -> Iterator[Scene]:
        fd, words = opening(directory)
        os.set_inheritable(fd, True)
        try:
            yield Scene(arguments=words, profile=OURS, **more)
        finally:
            os.close(fd)

    return scene


def _directory(directory: Path) -> tuple[int, list[str]]:
    (directory / "token").write_text("token")
    return os.open(directory, os.O_RDONLY), ["token"]


def _far_directory(directory: Path) -> tuple[int, list[str]]:
    fd, words = _directory(directory)
    os.dup2(fd, _HIGH)
    os.close(fd)
    return _HIGH, words


def _file(directory: Path) -> tuple[int, list[str]]:
    return os.open(directory / "file", os.O_RDWR | os.O_CREAT, 0o600), []


def _memory(directory: Path) -> tuple[int, list[str]]:
    fd = os.memfd_create("secret")
    os.write(fd, b"token-of-the-caller")
    return fd, []


def _far(directory: Path) -> tuple[int, list[str]]:
    fd = os.open("/dev/null", os.O_RDONLY)
    os.dup2(fd, _HIGH)
    os.close(fd)
    return _HIGH, []


@contextlib.contextmanager
def _terminal(directory: Path) -> Iterator[Scene]:
    master, slave = pty.openpty()
    try:
        with _leaked(lambda _: (os.dup(slave), []))(directory) as scene:
            yield scene
    finally:
        os.close(master)
        os.close(slave)


@contextlib.contextmanager
def _listener(directory: Path) -> Iterator[Scene]:
    """A service of the caller, with somebody at its door."""
    path = str(directory / "service")
    with socket.socket(socket.AF_UNIX) as service, socket.socket(socket.AF_UNIX) as client:
        service.bind(path)
        service.listen(1)
        client.connect(path)
        with _leaked(lambda _: (os.dup(service.fileno()), []))(directory) as scene:
            yield scene


@contextlib.contextmanager
def _connection(directory: Path) -> Iterator[Scene]:
    ours, theirs = socket.socketpair()

    def check(result: Any) -> str:
        ours.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            return f"the caller's connection said {ours.recv(16)!r}"
        return ""

    with ours, theirs, _leaked(lambda _: (os.dup(theirs.fileno()), []), check=check)(directory) as scene:
        yield scene


@contextlib.contextmanager
def _pidfd(directory: Path) -> Iterator[Scene]:
    with subprocess.Popen(["sleep", "60"]) as process:

        def check(result: Any) -> str:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
            return f"a process of the host ended: {process.returncode}" if process.returncode else ""

        with _leaked(lambda _: (os.pidfd_open(process.pid), []), check=check)(directory) as scene:
            yield scene
        process.kill()


def _state(
    change: Callable[[], Any], back: Callable[[Any], Any], profile: dict[str, Any] | None = None, **options: Any
) -> Making:
    """The caller is in some state while it starts the launcher; `back` gets what `change` said."""

    @contextlib.contextmanager
    def scene(directory: Path) -> Iterator[Scene]:
        before = change()
        try:
            yield Scene(profile={**OURS, **(profile or {})}, options=options)
        finally:
            back(before)

    return scene


@contextlib.contextmanager
def _variable(directory: Path) -> Iterator[Scene]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOKEN_OF_THE_CALLER", "secret")
        yield Scene(profile=OURS)


@contextlib.contextmanager
def _asked(directory: Path, name: str) -> Iterator[Scene]:
    yield Scene(options={"env": {name: "/work/theirs"}})


def _far_action(action: int) -> Callable[..., None]:
    """Signal 32, which the C library keeps to itself, and GNU make hands on ignored."""

    def act(_: object = None) -> None:
        LIBC.syscall(_SIGACTION, 32, struct.pack("=QQQQ", action, 0, 0, 0), None, ctypes.c_size_t(8))

    return act


def attack(
    name: str, title: str, command: str, held_by: tuple[str, ...], scene: Making, claims: tuple[str, ...], **more: Any
) -> Attack:
    return Attack(
        id=name, title=title, command=f"probe {command}", layers=held_by, scene=scene, claims=claims, bwrap=False, **more
    )


HELD = ("SEC-PR-03",)
STATE = ("SEC-PR-04",)
TERMINAL = (24, 80)
_ON_TERMINAL = _state(
    lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN), lambda before: signal.signal(signal.SIGUSR1, before), tty=TERMINAL
)
_BLOCK = _state(
    lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1}),
    lambda before: signal.pthread_sigmask(signal.SIG_SETMASK, before),
)
_NICE = _state(lambda: os.setpriority(os.PRIO_PROCESS, 0, -5), lambda _: os.setpriority(os.PRIO_PROCESS, 0, 0))
_CLASS = _state(
    lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
    lambda _: os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0)),
    {"limits": {"cpu_quota": 0}},  # version 1 takes no real-time process into a group with a quota
)
_IO = _state(lambda: LIBC.syscall(_IOPRIO_SET, 1, 0, _FIRST_OF_BEST_EFFORT), lambda _: LIBC.syscall(_IOPRIO_SET, 1, 0, 0))
_LAYOUT = _state(lambda: LIBC.syscall(_PERSONALITY, _NO_RANDOM_LAYOUT), lambda _: LIBC.syscall(_PERSONALITY, 0))
_UMASK = _state(lambda: os.umask(0), os.umask)


@contextlib.contextmanager
def _grouped(directory: Path) -> Iterator[Scene]:
    """A file for a group that the caller is in."""
    before = os.getgroups()
    os.setgroups([*before, _GROUP])
    try:
        with private(directory, mode=0o640) as scene:
            os.chown(directory / "shared" / "token", 0, _GROUP)
            yield scene
    finally:
        os.setgroups(before)


@contextlib.contextmanager
def _nothing(directory: Path) -> Iterator[Scene]:
    yield Scene()


LEAKS = [
    attack(
        "IN01-directory",
        "a directory of the caller",
        "inherited directory",
        DESCRIPTORS,
        _leaked(_directory),
        (*HELD, "SEC-FS-03"),
    ),
    attack("IN01-file", "a file that the caller may write", "inherited file", DESCRIPTORS, _leaked(_file), (*HELD, "SEC-FS-02")),
    attack("IN01-memory", "a memory file of the caller", "inherited memory", DESCRIPTORS, _leaked(_memory), HELD),
    attack("IN01-terminal", "the caller's terminal", "inherited terminal", DESCRIPTORS, _terminal, (*HELD, "SEC-TT-01")),
    attack("IN17-listener", "a service of the caller", "inherited listener", DESCRIPTORS, _listener, (*HELD, "SEC-NW-01")),
    attack("IN17-connection", "a connection of the caller", "inherited connection", DESCRIPTORS, _connection, HELD),
    attack(
        "IN01-pidfd",
        "a process of the host by the caller's pidfd",
        "inherited pidfd",
        (*DESCRIPTORS, *BOTH, "own host id", *SIGNALS),
        _pidfd,
        (*HELD, "SEC-PR-01"),
        needs=("newuidmap",),
    ),
    attack("IN01-far", "a descriptor above every limit", "inherited any", DESCRIPTORS, _leaked(_far), HELD),
    attack(
        "IN01-status",
        "the socket on which init reports",
        "inherited any",
        ("descriptors: child", "descriptors: payload", "close-on-exec"),
        _nothing,
        (*HELD, "SEC-RS-03"),
    ),
    attack(
        "IN03-cwd",
        "a working directory by the caller's descriptor",
        "here",
        (*DESCRIPTORS[:4], "path of the cwd"),
        _leaked(_far_directory, options={"cwd": f"/proc/self/fd/{_HIGH}"}),
        (*HELD, "SEC-FS-03"),
    ),
]
STATES = [
    attack(
        "IN04-environment",
        "a variable of the caller",
        "variable TOKEN_OF_THE_CALLER",
        ("environment: caller", "environment: payload"),
        _variable,
        STATE,
    ),
    *(
        attack(
            f"IN04-{word}",
            f"a request with {name}",
            f"variable {name}",
            ("guarded variables",),
            functools.partial(_asked, name=name),
            ("SEC-PO-03",),
        )
        for word, name in (("loader", "LD_PRELOAD"), ("interpreter", "PYTHONPATH"), ("proxy", "https_proxy"))
    ),
    attack("IN14-umask", "the caller's umask", "umask", ("umask: payload", "umask: launcher"), _UMASK, STATE),
    attack(
        "IN14-ignored",
        "a signal that the caller ignores",
        "ignored",
        ("default signals",),
        _ON_TERMINAL,  # a child of init becomes the program, as it is
        STATE,
    ),
    attack(
        "IN14-ignored-32",
        "a signal that the C library keeps to itself",
        "ignored",
        ("every signal",),
        _state(_far_action(1), _far_action(0), tty=TERMINAL),  # as above
        STATE,
    ),
    attack(
        "IN14-internal",
        "the signals that the C library ignores in what it starts",
        "ignored",
        ("default signals of the program",),
        _nothing,
        STATE,
    ),
    attack("IN14-pipe", "the signal that we ignore", "ignored", ("default SIGPIPE",), _nothing, STATE),
    attack("IN14-blocked", "a signal that the caller blocks", "blocked", ("signal mask",), _BLOCK, STATE),
    attack(
        "IN11-class", "the caller's real-time class", "advantage class", ("ordinary priority",), _CLASS, STATE, needs=("root",)
    ),
    attack("IN11-nice", "the caller's nice value", "advantage nice", ("ordinary priority",), _NICE, STATE, needs=("root",)),
    attack("IN11-io", "the caller's I/O priority", "advantage io", ("ordinary priority",), _IO, STATE),
    attack("IN16-layout", "the caller's fixed memory layout", "advantage layout", ("ordinary priority",), _LAYOUT, STATE),
    attack(
        "IN12-groups",
        "a group of the caller",
        "read-private",
        ("groups: launcher", "groups: init", "groups: read back"),
        _grouped,
        (*STATE, "SEC-ID-02"),
        needs=("root",),
    ),
    attack("IN09-signals", "the caller's limit of pending signals", "limit 11 512", ("rlimits",), _nothing, ("SEC-LI-07",)),
    attack(
        "IN08-session",
        "the caller's session",
        "session",
        ("session of the payload", "session of init"),
        _nothing,
        (*STATE, "SEC-PR-01"),
    ),
]
assert pids
ATTACKS = [*LEAKS, *STATES]
