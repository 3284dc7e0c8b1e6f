"""`sandbox selftest` passes where everything holds, and says what does not where something was taken away."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sandbox import Profile, RequestError, Sandbox
from sandbox.model.result import Exited, Outcome, Signaled
from sandbox.selftest import baits, checks
from sandbox.selftest.checks import INSIDE, OUTSIDE, Verdict
from tests.escape import arena, layers, pids
from tests.support.clock import seconds
from tests.support.command import Cli

pytestmark = pytest.mark.vm
LIMITS = ("limit_memory", "limit_processes", "limit_cpu", "limit_wall", "limit_output", "limit_disk", "limit_files")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory of the host that everybody may use. Not below /tmp: the launcher stages its root there."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        os.chmod(directory, 0o777)
        yield Path(directory)


def failures(box: Sandbox, *names: str) -> set[str]:
    """Which of these attacks of the payload got what they wanted."""
    with baits.planted() as planted:
        found = {item.name: item for item in checks._from_inside(box, planted, lambda _: None)}
    return {name for name in names if found[INSIDE[name][0]].verdict is Verdict.FAIL}


def altered(patch: pytest.MonkeyPatch, directory: Path, *changes: tuple[str, str]) -> None:
    """The payload is a copy in which the first text of each change stands no more."""
    source = checks._PAYLOAD.read_text()
    for old, new in changes:
        assert source.count(old) == 1
        source = source.replace(old, new)
    copy = directory / "payload.py"
    copy.write_text(source)
    patch.setattr(checks, "_PAYLOAD", copy)


@pytest.mark.usefixtures("no_leaks")  # a sandbox that another test's launcher parks meanwhile would be taken for one that is left
@pytest.mark.parametrize("profile", ["default", "strict", "compile"])
def test_everything_holds(profile: str, degraded: bool) -> None:
    told: list[str] = []
    with Sandbox(profile, allow_degraded=degraded, parked=0) as box:
        findings = checks.run_all(box, told.append)
    assert [item for item in findings if item.verdict is not Verdict.PASS] == []
    assert len(findings) == len(INSIDE) + len(LIMITS) + len(OUTSIDE) == 28
    assert set(told) == {"inside", *LIMITS, *OUTSIDE}


def mount(source: Path | str, target: str, **options: Any) -> dict[str, Any]:
    return {"mounts": [{"source": str(source), "target": target, "why": "a test", **options}]}


def seccomp(*calls: str) -> dict[str, Any]:
    return {"seccomp": {"rules": [{"syscalls": list(calls), "action": "allow", "why": "a test"}]}}


def stand_in(target: str, **options: Any) -> Callable[[Path], dict[str, Any]]:
    """A file of ours where the attack looks for one of the system."""

    def change(place: Path) -> dict[str, Any]:
        file = place / "file"
        file.write_text("found")
        file.chmod(0o666)
        return mount(file, target, **options)

    return change


def loader_cache(place: Path) -> dict[str, Any]:
    file = Path(shutil.copy("/etc/ld.so.cache", place / "cache"))
    file.chmod(0o666)
    return mount(file, "/etc/ld.so.cache", writable=True)


def service(place: Path) -> dict[str, Any]:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(place / "system_bus_socket"))
    listener.listen()
    (place / "system_bus_socket").chmod(0o777)
    SERVICES.append(listener)
    return mount(place, "/run/dbus")


SERVICES: list[socket.socket] = []
ADMIN = {"capabilities": {"keep": ["CAP_SYS_ADMIN"]}}
# attack → the change of the profile `default` that lets it through
LOOSE: dict[str, Callable[[Path], dict[str, Any]]] = {
    "read_a_host_file": lambda _: mount("/", "/host"),
    "write_a_host_file": lambda _: mount("/var/tmp", "/var/tmp", writable=True),
    "change_a_program_of_the_system": loader_cache,
    "read_secrets_of_the_system": stand_in("/etc/shadow"),
    "steer_the_kernel": stand_in("/sys/kernel/uevent_helper", writable=True),
    "new_namespaces": lambda _: {**ADMIN, **seccomp("unshare")},
    "dangerous_calls": lambda _: seccomp("kcmp"),
    "unknown_calls": lambda _: {"seccomp": {"default_errno": "EPERM"}},
    "other_socket_families": lambda _: {"seccomp": {"socket_families": ["AF_UNIX", "AF_INET", "AF_INET6", "AF_VSOCK"]}},
    "services_of_the_host": service,
    "rights": lambda _: {"capabilities": {"keep": ["CAP_KILL"]}},
    "what_the_caller_has": lambda _: {"environment": {"inherit": ["SANDBOX_SELFTEST"]}},
    "objects_of_the_host": lambda place: {"scratch": {"tmp": False}, **mount(place.parent, "/tmp")},
}
# attack → layers without which it gets through; no profile can take these away. Landlock alone holds whoever may mount.
LAYERS: dict[str, tuple[str, ...]] = {
    "dangerous_calls": ("filter",),
    "other_socket_families": ("filter",),
    "read_a_host_file": ("mounts", "landlock"),
    "services_of_the_host": ("net namespace", "landlock"),
    "objects_of_the_host": ("ipc namespace", "filter"),
    "steer_the_kernel": ("read-only proc", "landlock", "read-only paths"),
    "undo_a_mount": ("landlock",),
    "processes_of_the_host": (*pids.BOTH, "landlock"),
}
ALSO = {"undo_a_mount": {**ADMIN, **seccomp("umount2")}}
# attack → what its code looks for, and what takes the place of that in a copy, because it is there. Why nothing can be loosened:
# the kernel itself shows addresses to CAP_SYSLOG of the host alone; no profile can have other devices than five harmless ones,
# nor a mount in /dev; and a process of another user with rights that the payload lacks is closed to it, dumpable or not.
INSTEAD = {
    "kernel_addresses": ('read("/proc/kallsyms")', 'read("/proc/self/statm")'),
    "devices": ('names = ("mem", ', 'names = ("null", '),
    "its_init": ('read("/proc/1/maps")', 'read("/proc/self/maps")'),
}


def test_every_attack_has_a_knock_out() -> None:
    assert {*LOOSE, *LAYERS, *INSTEAD} == set(INSIDE)


@pytest.mark.parametrize("attack", LOOSE)
def test_a_loose_profile_is_found(attack: str, place: Path, degraded: bool) -> None:
    with Sandbox(Profile.from_dict({"extends": "default", **LOOSE[attack](place)}), allow_degraded=degraded, parked=0) as box:
        assert failures(box, attack) == {attack}
    while SERVICES:
        SERVICES.pop().close()


@pytest.mark.parametrize("attack", LAYERS)
def test_a_missing_layer_is_found(attack: str, degraded: bool) -> None:
    profile = Profile.from_dict({"extends": "default", **ALSO.get(attack, {})})
    with arena.Arena(degraded=degraded) as ground, Sandbox(profile, allow_degraded=degraded, parked=0) as box:
        ground._knock_out(box, layers.closure(LAYERS[attack]))
        assert failures(box, attack) == {attack}


@pytest.mark.parametrize("attack", INSTEAD)
def test_what_is_there_is_found(attack: str, tmp_path: Path, degraded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    altered(monkeypatch, tmp_path, INSTEAD[attack])
    with Sandbox("default", allow_degraded=degraded, parked=0) as box:
        assert failures(box, attack) == {attack}


def test_limits_that_do_not_bind_are_found(degraded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attacks make their limits tighter than any profile's: here they do not, and the profile is generous."""
    monkeypatch.setattr(checks, "_is_tighter", lambda *_: False)
    wide = {
        "memory": "1GiB",
        "pids": 256,
        "output": "128MiB",
        "cpu": "60s",
        "wall": f"{int(seconds(4))}s",
        "idle": f"{int(seconds(2))}s",
    }
    with Sandbox(Profile.from_dict({"extends": "default", "limits": wide}), allow_degraded=degraded, parked=0) as box:
        found = [checks._over(box, name, limit) for name, limit in checks.limits_of(box)]
    assert [item.detail for item in found if item.verdict is not Verdict.FAIL] == []
    assert len(found) == len(LIMITS)


def test_only_a_refusal_is_a_limit_of_processes(degraded: bool) -> None:
    """Another exit than the one of a payload to which a process was refused says nothing."""
    with Sandbox("default", allow_degraded=degraded, parked=0) as box:
        for code, verdict in ((checks._REFUSED, Verdict.PASS), (1, Verdict.FAIL), (0, Verdict.FAIL)):
            limit = dict(checks.limits_of(box))["limit_processes"].__class__(
                "", (), f"raise SystemExit({code})", {}, (Outcome.PIDS,), checks._REFUSED
            )
            assert checks._over(box, "limit_processes", limit).verdict is verdict


DONE = Exited(0)


class Pretended:
    """Stands in for a Sandbox: its runs end as the test says."""

    def __init__(self, *answers: Callable[[list[str]], Any]) -> None:
        self.answers = list(answers)

    def run(self, argv: list[str], **_: Any) -> Any:
        return self.answers.pop(0)(argv)


def ended(
    out: bytes = b"", outcome: Outcome = Outcome.EXITED, how: Exited | Signaled = DONE, **more: Any
) -> Callable[[Any], Any]:
    good = how == DONE and outcome is Outcome.EXITED
    return lambda _: SimpleNamespace(stdout=out, outcome=outcome, exit=how, ok=good, text=out.decode, **more)


CRASHED = ended(outcome=Outcome.SIGNALED, how=Signaled(11))


def test_a_daemon_is_found() -> None:
    """The payload's own process is not taken away: here it is started outside."""
    left: list[subprocess.Popen[bytes]] = []

    def leave(argv: list[str]) -> Any:
        sleeper = [sys.executable, "-c", "import sys; sys.stdin.read()", argv[-1]]
        left.append(subprocess.Popen(sleeper, stdin=subprocess.PIPE, start_new_session=True))
        return ended(b"gone")(argv)

    with baits.planted() as planted:
        found = checks._daemon(Pretended(leave), planted)  # type: ignore[arg-type]
    with left[0]:
        left[0].kill()
    assert (found.verdict, found.detail) == (Verdict.FAIL, f"processes [{left[0].pid}]")


@pytest.mark.parametrize(
    ("check", "answers", "verdict"),
    [
        ("daemon", [CRASHED], Verdict.SKIP),
        ("daemon", [ended(how=Exited(1))], Verdict.SKIP),
        ("daemon", [ended(b"refused: EPERM")], Verdict.PASS),
        ("residue", [CRASHED, ended(b"seen\n")], Verdict.SKIP),
        ("residue", [ended(), ended(b"seen\n")], Verdict.SKIP),
        ("residue", [ended(b"/work\n"), CRASHED], Verdict.SKIP),
        ("residue", [ended(b"/work\n"), ended(b"seen\n")], Verdict.PASS),
        ("residue", [ended(b"/work\n"), ended(b"seen /work\n")], Verdict.FAIL),
        ("collected", [ended(outcome=Outcome.MEMORY, how=Signaled(9), files={})], Verdict.SKIP),
        ("collected", [ended(files={"good": SimpleNamespace(data=b"good")})], Verdict.PASS),
    ],
)
def test_what_was_not_tried_has_not_passed(check: str, answers: list[Any], verdict: Verdict) -> None:
    with baits.planted() as planted:
        assert OUTSIDE[check](Pretended(*answers), planted).verdict is verdict  # type: ignore[arg-type]


def test_a_collected_link_is_found() -> None:
    with baits.planted() as planted:
        answer = ended(files={"link": SimpleNamespace(data=planted.token.encode())})
        assert checks._collected(Pretended(answer), planted).verdict is Verdict.FAIL  # type: ignore[arg-type]


def test_a_left_file_is_found(place: Path, degraded: bool) -> None:
    change = {"scratch": {"tmp": False}, **mount(place, "/tmp", writable=True)}
    with Sandbox(Profile.from_dict({"extends": "default", **change}), allow_degraded=degraded, parked=0) as box:
        found = checks._residue(box, None)  # type: ignore[arg-type]
    assert (found.verdict, found.detail) == (Verdict.FAIL, "in /tmp")


def test_attacks_that_cannot_be_made_are_skipped(degraded: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No shared memory, numbers of calls that are not known, and an attack that breaks."""
    numbers = ("}.get(os.uname().machine, {})", "}.get('pdp11', {})")
    broken = ('    token = BAITS["token"].encode()\n', '    token = BAITS["tokens"].encode()\n')
    altered(monkeypatch, tmp_path, numbers, broken)
    monkeypatch.setattr(baits, "_make_shared", lambda _: -1)
    with Sandbox("default", allow_degraded=degraded, parked=0) as box, baits.planted() as planted:
        found = {
            item.name: item.detail for item in checks._from_inside(box, planted, lambda _: None) if item.verdict is Verdict.SKIP
        }
    skipped = ("read_a_host_file", "undo_a_mount", "new_namespaces", "dangerous_calls", "unknown_calls", "objects_of_the_host")
    assert set(found) == {INSIDE[name][0] for name in skipped}
    assert "KeyError" in found[INSIDE["read_a_host_file"][0]]


def test_a_profile_without_python(degraded: bool) -> None:
    profile = Profile.from_dict({"extends": "base", "mounts": [{"source": "/usr/share", "why": "no program at all"}]})
    with Sandbox(profile, allow_degraded=degraded) as box, pytest.raises(RequestError, match="python3"):
        checks.run_all(box)


def test_the_command(tmp_path: Path, degraded: bool) -> None:
    cli, words = Cli(tmp_path, degraded=degraded), ["--allow-degraded"] if degraded else []
    code, out, err = cli("selftest", "--json", *words)
    answer = json.loads(out)
    assert (code, answer["passed"]) == (0, True), err
    assert {item["verdict"] for item in answer["findings"]} == {"PASS"}
    assert answer["enforced"]["no_new_privs"] is True
    code, out, _ = cli("selftest", *words)
    assert code == 0
    assert b"held, 0 did not, 0 could not be tried" in out
