"""The attacks of `sandbox selftest`, what each is about, and the verdict on this host under this profile."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from sandbox.api import Sandbox
from sandbox.model.errors import CommandNotFound, RequestError, SandboxError
from sandbox.model.result import Exited, Outcome, RunResult
from sandbox.selftest.baits import Baits, planted

_PAYLOAD = Path(__file__).with_name("payload.py")


class Verdict(StrEnum):
    """How an attack ended. SKIP: it could not be tried, so nothing is known."""

    PASS = "PASS"  # noqa: S105 - a verdict
    FAIL = "FAIL"
    SKIP = "SKIP"


@dataclass(frozen=True, slots=True)
class Finding:
    """One attack: its name, the claims of SECURITY.md that it is against, the verdict, what was seen."""

    name: str
    claims: tuple[str, ...]
    verdict: Verdict
    detail: str

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {"name": self.name, "claims": list(self.claims), "verdict": self.verdict.value, "detail": self.detail}


# attack of the payload → (what it tries, claims)
INSIDE: dict[str, tuple[str, tuple[str, ...]]] = {
    "read_a_host_file": ("read a file of the host", ("SEC-FS-01", "SEC-FS-03")),
    "write_a_host_file": ("write into a directory of the host", ("SEC-FS-02",)),
    "change_a_program_of_the_system": ("change a program of the system", ("SEC-FS-02",)),
    "read_secrets_of_the_system": ("read secrets of the system", ("SEC-FS-01", "SEC-FS-05")),
    "steer_the_kernel": ("write to files that steer the kernel", ("SEC-FS-05",)),
    "kernel_addresses": ("learn addresses of the kernel", ("SEC-FS-05",)),
    "devices": ("open or make devices", ("SEC-FS-04",)),
    "undo_a_mount": ("uncover what is covered", ("SEC-FS-05",)),
    "new_namespaces": ("make namespaces of its own", ("SEC-ID-04", "SEC-SY-03")),
    "dangerous_calls": ("make calls that attacks begin with", ("SEC-SY-03",)),
    "unknown_calls": ("make calls that are newer than the filter", ("SEC-SY-01",)),
    "other_socket_families": ("make sockets outside of its network", ("SEC-NW-02",)),
    "services_of_the_host": ("reach services of the host", ("SEC-NW-01",)),
    "processes_of_the_host": ("see and signal processes of the host", ("SEC-PR-01",)),
    "its_init": ("take over its init", ("SEC-PR-02",)),
    "rights": ("be root, or gain rights", ("SEC-ID-01", "SEC-ID-03")),
    "what_the_caller_has": ("get what its caller has", ("SEC-PR-03", "SEC-PR-04")),
    "objects_of_the_host": ("find shared memory and files of others", ("SEC-FS-06", "SEC-PR-01")),
}

_GROW = "blocks = []\nwhile len(blocks) < {count}: blocks.append(bytearray(b'x') * (1 << 20))"
_FORK = """
import os, time
made = 0
try:
    while made < {count}:
        if os.fork() == 0:
            time.sleep(5); os._exit(0)
        made += 1
except OSError as error:
    print(made, error)
    raise SystemExit({code})
"""
_FILL = """
import os
with open("/work/big", "wb") as file:
    for _ in range({count}): file.write(bytes(1 << 20))
"""
_NAMES = "for number in range({count}): open(f'/work/{{number}}', 'w').close()"
_FLOOD = "import os\nfor _ in range({count}): os.write(1, b'x' * (1 << 20))"
_DAEMON = """
import os, sys, time
end, start = os.pipe()
try:
    first = os.fork()
except OSError as error:
    print("refused:", error)
    sys.exit()
if first == 0:
    os.setsid()
    if os.fork() == 0:
        os.close(1)
        os.close(2)
        os.write(start, b"gone")
        time.sleep(30)
    os._exit(0)
os.write(1, os.read(end, 4))
"""
_LINKS = "import os; os.symlink({file!r}, '/work/link'); os.mkfifo('/work/fifo'); open('/work/good', 'w').write('good')"
_WRITE = """
import os
for place in {places}:
    try: open(place + "/left", "w").close(); print(place)
    except OSError: pass
"""
_LOOK = "import os; print('seen', *[place for place in {places} if os.path.exists(place + '/left')])"
_PLACES = ("/work", "/tmp", "/dev/shm")
_MIB = 1 << 20
_REFUSED = 73  # exit code of a payload to which the next process was refused
_GRACE = 0.5  # SEC-LT-01: the init of a run may be seen for a moment after its result


@dataclass(frozen=True, slots=True)
class Limit:
    """A payload that goes over a limit: its code, the limits of that run, the outcomes that say it was held.

    Attributes:
        code_of_refusal: exit code that says it too; nothing else that ends with `exited` does.
    """

    title: str
    claims: tuple[str, ...]
    code: str
    limits: dict[str, str | int]
    outcomes: tuple[Outcome, ...]
    code_of_refusal: int | None = None


def limits_of(box: Sandbox) -> Iterator[tuple[str, Limit]]:
    """Each limit, tightened where the profile allows that."""
    own = box.profile.policy.limits
    memory = min(own.memory_bytes, 64 * _MIB) // _MIB
    scratch = min(own.scratch_bytes, 4 * _MIB) // _MIB or 1
    pids = min(own.pids, 16)
    inodes = min(own.scratch_inodes, 100)
    output = min(own.output_bytes, 64 << 10)
    yield "limit_memory", Limit("use more memory than allowed", ("SEC-LI-01",), _GROW.format(count=4 * memory),
                                {"memory": f"{memory}MiB"}, (Outcome.MEMORY,))  # fmt: skip
    yield "limit_processes", Limit("start more processes than allowed", ("SEC-LI-02",),
                                   _FORK.format(count=4 * pids, code=_REFUSED), {"pids": pids},
                                   (Outcome.PIDS, Outcome.DENIED_SYSCALL), _REFUSED)  # fmt: skip
    yield "limit_cpu", Limit("use more CPU time than allowed", ("SEC-LI-03",), "while True: pass", {"cpu": "300ms"},
                             (Outcome.CPU_TIME,))  # fmt: skip
    yield "limit_wall", Limit("run for longer than allowed", ("SEC-LI-03",), "import time; time.sleep(60)", {"wall": "500ms"},
                              (Outcome.WALL_TIME,))  # fmt: skip
    yield "limit_output", Limit("write more output than allowed", ("SEC-LI-05",), _FLOOD.format(count=64),
                                {"output": output}, (Outcome.OUTPUT,))  # fmt: skip
    yield "limit_disk", Limit("write more bytes than allowed", ("SEC-LI-04",), _FILL.format(count=8 * scratch),
                              {"scratch": f"{scratch}MiB"}, (Outcome.DISK, Outcome.MEMORY))  # fmt: skip
    yield "limit_files", Limit("make more files than allowed", ("SEC-LI-04",), _NAMES.format(count=4 * inodes),
                               {"scratch_inodes": inodes}, (Outcome.DISK,))  # fmt: skip


def run_all(box: Sandbox, progress: Callable[[str], object] = lambda _: None) -> tuple[Finding, ...]:
    """Every attack under the profile of `box`. `progress` is told the name of each before it begins.

    Raises SandboxError when nothing can be run at all.
    """
    with planted() as baits:
        findings = list(_from_inside(box, baits, progress))
        for name, limit in limits_of(box):
            progress(name)
            findings.append(_over(box, name, limit))
        for name, check in OUTSIDE.items():
            progress(name)
            findings.append(check(box, baits))
    return tuple(findings)


def _from_inside(box: Sandbox, baits: Baits, progress: Callable[[str], object]) -> Iterator[Finding]:
    progress("inside")
    try:
        result = box.run(["python3", "attacks.py"], files={"attacks.py": _PAYLOAD.read_bytes()}, stdin=baits.to_json())
    except CommandNotFound as error:
        raise RequestError(
            f"profile {box.profile.name!r} has no python3 inside, and the attacks are written in it",
            hint="extend the profile by a mount of one, and test that",
        ) from error
    try:
        answers: dict[str, list[str]] = json.loads(result.stdout)
    except ValueError:
        text = result.stderr.decode("utf-8", "replace").strip()[-200:]
        raise RequestError(f"the attacks did not run to their end ({result.outcome}): {text}") from None
    if planted_at := baits.planted():
        answers["write_a_host_file"] = [Verdict.FAIL, planted_at]
    for name, (title, claims) in INSIDE.items():
        verdict, detail = answers.get(name, (Verdict.SKIP, "it did not answer"))
        yield Finding(title, claims, Verdict(verdict), detail)


def _over(box: Sandbox, name: str, limit: Limit) -> Finding:
    wanted = {key: value for key, value in limit.limits.items() if _is_tighter(box, key, value)}
    result = box.run(["python3", "-B", "-c", limit.code], limits=wanted)
    refused = limit.code_of_refusal is not None and result.exit == Exited(limit.code_of_refusal)
    held = result.outcome in limit.outcomes or (result.outcome is Outcome.EXITED and refused)
    weaker = next((item.consequence for item in result.degraded if item.control in name), "")
    detail = _ending(result) + (f"; weaker here: {weaker}" if weaker else "")
    return Finding(limit.title, limit.claims, Verdict.PASS if held else Verdict.FAIL, detail)


def _ending(result: RunResult) -> str:
    """How it ended, with the exit code where that is all that is known."""
    return f"exited with {result.exit.code}" if isinstance(result.exit, Exited) and not result.ok else result.outcome.value


def _is_tighter(box: Sandbox, key: str, value: str | int) -> bool:
    try:
        box.profile.tightened({f"limits.{key}": value})
    except SandboxError:
        return False
    return True


def _daemon(box: Sandbox, baits: Baits) -> Finding:
    title, claims = "outlive its run", ("SEC-LT-01",)
    mark = f"{baits.token}-daemon".encode()
    before = _left_over(mark)
    result = box.run(["python3", "-c", _DAEMON, mark.decode()])
    if result.ok and result.stdout.startswith(b"refused"):
        return Finding(title, claims, Verdict.PASS, f"it cannot start a process, {result.text().strip()}")
    if not result.ok or result.stdout != b"gone":
        return Finding(title, claims, Verdict.SKIP, f"it left no process: {_ending(result)}")
    last = time.monotonic() + _GRACE
    while (left := _left_over(mark) - before) and time.monotonic() < last:
        time.sleep(0.01)
    return Finding(title, claims, Verdict.FAIL if left else Verdict.PASS, f"processes {sorted(left)}" if left else "")


def _left_over(mark: bytes) -> set[int]:
    """Descendants of this process that are no zombies, and whoever has the mark among its words: orphans have other parents."""
    parents: dict[int, int] = {}
    found: set[int] = set()
    marked: set[int] = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                text = Path(f"/proc/{name}/stat").read_bytes()
                words = Path(f"/proc/{name}/cmdline").read_bytes()
            except OSError:
                continue
            state, parent = text[text.rindex(b")") + 2 :].split()[:2]
            if state not in (b"Z", b"X"):
                parents[int(name)] = int(parent)
                if mark in words:
                    marked.add(int(name))
    frontier = {os.getpid()}
    while frontier:
        frontier = {child for child, parent in parents.items() if parent in frontier} - found
        found |= frontier
    return found | marked


def _residue(box: Sandbox, _baits: Baits) -> Finding:
    title, claims = "leave something for the next run", ("SEC-FS-06", "SEC-LT-03")
    wrote = box.run(["python3", "-B", "-c", _WRITE.format(places=_PLACES)])
    looked = box.run(["python3", "-B", "-c", _LOOK.format(places=_PLACES)])
    if not wrote.ok or not wrote.stdout:
        return Finding(title, claims, Verdict.SKIP, f"it wrote nothing: {_ending(wrote)}")
    if not looked.ok or not looked.stdout.startswith(b"seen"):
        return Finding(title, claims, Verdict.SKIP, f"the next run did not look: {_ending(looked)}")
    found = looked.text().split()[1:]
    return Finding(title, claims, Verdict.FAIL if found else Verdict.PASS, f"in {', '.join(found)}" if found else "")


def _collected(box: Sandbox, baits: Baits) -> Finding:
    title, claims = "have a link collected", ("SEC-IO-01",)
    result: RunResult = box.run(["python3", "-c", _LINKS.format(file=baits.files[0])], collect=["."])
    leaked = [name for name, item in result.files.items() if baits.token.encode() in item.data]
    if leaked:
        return Finding(title, claims, Verdict.FAIL, f"{leaked} has the token")
    detail = "" if "good" in result.files else f"nothing was collected: {_ending(result)}"
    return Finding(title, claims, Verdict.PASS if not detail else Verdict.SKIP, detail)


OUTSIDE: dict[str, Callable[[Sandbox, Baits], Finding]] = {
    "daemon": _daemon,
    "residue": _residue,
    "collected": _collected,
}
