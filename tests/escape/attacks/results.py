"""Results that are not true: outcomes, figures, evidence, records of ours, text (threat model VL, CT, ME09, LC01, VL08)."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sandbox import Outcome
from sandbox.model import result as results
from sandbox.model.result import Exited
from sandbox.policy import tighten
from tests.escape import layers
from tests.escape.attacks.resource_limits import with_options
from tests.escape.handed_on import CHILDS_DESCRIPTORS, HAND_ON_NONE
from tests.escape.layers import Layer
from tests.escape.limits import CPU_OF_ALL, patched
from tests.escape.model import Attack, Scene
from tests.escape.model import of_one_claim as attack

Making = Callable[[Path], contextlib.AbstractContextManager[Scene]]
TRUTH, BLAME, PARSER = "SEC-RS-01", "SEC-RS-02", "SEC-RS-03"
OWN_DOING = {Outcome.EXITED, Outcome.SIGNALED}
_CLOSE = "    process.close_all_but((failure,))\n"
_HAND_ON = """    for fd in range(3, 64):
        if fd != failure and os.path.lexists("/proc/self/fd/%d" % fd):
            os.set_inheritable(fd, True)
"""
_LAST = "        wire.send(self.status, self._last_word(status, _others_alive()))\n"
_WAIT = """        while _others_alive():
            os.waitpid(-1, 0)
"""
_ENOUGH = "if sum(run.denied.values()) >= self.plan.max_notifications:"


def _as_asked(lower: Callable[..., int]) -> Callable[..., int]:
    return lambda name, wanted, allowed, whose: wanted


def _text_only(to_dict: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    return lambda self: {key: value for key, value in to_dict(self).items() if not key.endswith("_base64")}


def _bytes_as_text(text: Callable[[str], str]) -> Callable[[str], str]:
    return lambda name: name


layers.register(
    Layer(
        name="no inherited descriptors",
        patches=(
            ("launcher/payload.py", CHILDS_DESCRIPTORS, ""),
            ("launcher/payload.py", _CLOSE, _HAND_ON),
            ("launcher/payload.py", HAND_ON_NONE, _HAND_ON.replace("fd != failure", "True")),
        ),
        executed="they are handed on to exec",
    ),
    Layer(
        name="record of exec ends", patches=(("launcher/init.py", "os.pipe2(os.O_CLOEXEC)", "os.pipe2(0)"),), executed="of exec"
    ),
    Layer(name="init ends", patches=(("launcher/init.py", _LAST, _WAIT + _LAST),)),
    Layer(name="reports end", patches=(("launcher/loop.py", _ENOUGH, "if False:"),)),
    Layer(name="names become text", caller=patched(results, "_text", _bytes_as_text)),
    Layer(name="exact bytes", caller=patched(results.RunResult, "to_dict", _text_only)),
    Layer(name="limits only tighten", caller=patched(tighten, "_lower", _as_asked)),
)


def must_be(outcome: Outcome) -> Callable[[Any], str]:
    """Only this is true."""
    return lambda result: f"it is called {result.outcome}, {result.exit}" if result.outcome is not outcome else ""


def _own_doing(result: Any) -> str:
    return "" if result.outcome in OWN_DOING else f"it is called {result.outcome}"


def _hidden(nanoseconds: int) -> Callable[[Any], str]:
    def check(result: Any) -> str:
        used = result.usage.cpu_user_ns + result.usage.cpu_system_ns
        if b"CONTAINED" in result.stdout:  # a profile without processes
            return ""
        return f"{used / 1e6:.0f} ms of CPU time are told of" if used < nanoseconds else ""

    return check


def _peak(result: Any) -> str:
    peak = result.usage.memory_peak_bytes
    return f"a peak of {peak} bytes is told of" if result.exit == Exited(0) and peak < 100 << 20 else ""


def _forged(result: Any) -> str:
    return "a run that was ended says that it returned 0" if result.exit == Exited(0) else ""


def _reports(result: Any) -> str:
    times = sum(int(item.value) for item in result.evidence if item.source == "seccomp")
    return f"the launcher was told {times} times" if times > 64 else ""


def _parsed(result: Any) -> str:
    """The JSON form can be written as UTF-8, and tells of the run what the run is."""
    try:
        told = json.loads(json.dumps(result.to_dict(), ensure_ascii=False).encode())
    except UnicodeEncodeError as error:
        return f"its result is no JSON: {error.reason}"
    return "" if told["outcome"] == result.outcome else "its result says something else"


def _exact(result: Any) -> str:
    """The JSON form tells what was written, byte by byte."""
    told = json.loads(json.dumps(result.to_dict()))
    said = base64.b64decode(told.get("stdout_base64", "")) or told["stdout"].encode()
    return "" if said == result.stdout else f"it is told to have written {said[-8:]!r}"


@contextlib.contextmanager
def _blameless(directory: Path) -> Iterator[Scene]:
    """Whatever the payload does, it is the payload that has done it."""
    yield Scene(options={"limits": {"wall": "2s"}}, failed=lambda error: f"it is said to be ours: {error}")


@contextlib.contextmanager
def _forked(directory: Path) -> Iterator[Scene]:
    """As above, where a child of init becomes the payload and says so: with a terminal, say."""
    with _blameless(directory) as scene:
        yield Scene(options={**scene.options, "tty": (24, 80)}, failed=scene.failed)


@contextlib.contextmanager
def _more(directory: Path) -> Iterator[Scene]:
    """The caller is told that it may not."""
    wanted = {"wall": "10s", "pids": 1000, "memory": "4GiB"}
    yield Scene(options={"limits": wanted}, refusals=("more than the profile's",))


def imitation(name: str, title: str, command: str) -> Attack:
    """It ends as a run ends that a limit has ended."""
    return attack(name, title, command, ("evidence for outcomes",), TRUTH, with_options(_own_doing))


FORKING = tuple(name for name in ("default", "python", "node", "native", "compile"))
ATTACKS = [
    imitation("VL01-137", "code 137 is no want of memory", "code 137"),
    imitation("VL01-124", "code 124 is no time-out", "code 124"),
    imitation("VL01-kill", "SIGKILL by itself is no want of memory", "raise-signal 9"),
    imitation("VL01-xcpu", "SIGXCPU by itself is no CPU time", "raise-signal 24"),
    imitation("VL01-xfsz", "SIGXFSZ by itself is no full disk", "raise-signal 25"),
    imitation("VL01-sys", "SIGSYS by itself is no refused call", "raise-signal 31"),
    attack(
        "CT11-overdue",
        "it ends by itself, too late, with the right answer",
        "overdue 150",
        ("CPU clock", "CPU time counts"),
        TRUTH,
        with_options(must_be(Outcome.CPU_TIME), limits={"cpu": "100ms"}),
    ),
    attack(
        "OU01-clean",
        "too much output, and code 0",
        "flood 1 66 quiet",
        ("output counts",),
        TRUTH,
        with_options(must_be(Outcome.OUTPUT), limits={"output": "64KiB"}),
    ),
    attack(
        "RS01-clean",
        "a fork bomb whose first program returns 0",
        "bomb 60",
        ("refused forks count",),
        TRUTH,
        with_options(must_be(Outcome.PIDS), limits={"pids": 16}),
        needs=("cgroup",),  # without, they are seen from time to time only
        profiles=FORKING,
    ),
    attack(
        "ME09-sacrifice",
        "a child dies of its memory, the program goes on",
        "sacrifice 300",
        ("whole group",),
        TRUTH,
        with_options(limits={"memory": "64MiB"}),
        needs=("cgroup1",),
        outcomes=("memory",),
    ),
    attack(
        "CT01-ignored",
        "CPU time of children that it is not told of",
        "hide 400 ignored",
        CPU_OF_ALL,
        TRUTH,
        with_options(_hidden(200_000_000)),
    ),
    attack(
        "CT01-alive", "CPU time of a child that is left", "hide 400 alive", CPU_OF_ALL, TRUTH, with_options(_hidden(200_000_000))
    ),
    attack("CT01-left", "CPU time of a daemon", "hide 400 left", CPU_OF_ALL, TRUTH, with_options(_hidden(200_000_000))),
    attack("ME07-freed", "memory that is freed before the end", "peak 120", ("peak of memory",), TRUTH, with_options(_peak)),
    attack(
        "VL06-flood",
        "thousands of calls that are reported",
        "refused-calls 3000",
        ("reports end",),
        "SEC-RS-04",
        with_options(_reports),
    ),
    attack("LC01-linger", "what it leaves behind goes on writing", "linger 800", ("init ends",), "SEC-LT-01"),
    attack(
        "VL06-ended",
        "a record that says it returned 0",
        "forge ended",
        ("no inherited descriptors",),
        TRUTH,
        with_options(_forged, limits={"wall": "600ms"}),
    ),
    attack("VL06-failed", "a record that says we have failed", "forge failed", ("no inherited descriptors",), BLAME, _blameless),
    attack("VL03-exec", "a record that says exec has failed", "forge-exec", ("record of exec ends",), BLAME, _forked),
    attack(
        "CO02-name", "a name that is no text", "bad-name", ("names become text",), PARSER, with_options(_parsed, collect=["."])
    ),
    attack("VL06-text", "a result of its own, and half a character", "half", ("exact bytes",), PARSER, with_options(_exact)),
    attack(
        "VL08-limits",
        "a request for more than the profile gives",
        "runs",
        ("limits only tighten",),
        "SEC-PO-01",
        _more,
    ),
]
