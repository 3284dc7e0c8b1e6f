"""Callers in processes of their own, to which something happens while a run of theirs goes on.

    caller killed WHO    the caller, its launcher or its keeper is killed; nobody helps
    caller groups        caller and keeper are killed; the next caller removes their control groups
    caller thread        the thread that started launcher and run ends
    caller plans KIND    somebody gets at the plan cache (`plans`)

Started again as `python -m tests.escape.callers`, with what it needs in the environment, this module is such a caller.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox import SandboxError
from sandbox.resources import cgroups
from tests.escape import layers, plans
from tests.escape.model import Attack, Scene, verdict_of
from tests.support.clock import seconds, wait_until

if TYPE_CHECKING:
    from tests.escape.arena import Arena

VARIABLE = "ESCAPE_CALLER"
GRACE = 2.0
MOST_GRACE = 5.0  # the payload ends by itself after 8 s
LOOKS = 6


def marked(token: str) -> list[int]:
    """Living processes of the host with this word on their command line, or (within a warm interpreter) as their name."""
    found = []
    for name in sorted(filter(str.isdigit, os.listdir("/proc")), key=int, reverse=True):  # the newest do not wait for us
        with contextlib.suppress(OSError):
            if any(word in _command_line(name) for word in (token.encode(), b"\0" + token[:15].encode() + b"\n")):
                found.append(int(name))
    return found


def _command_line(name: str) -> bytes:
    """With the name at its end; empty for a zombie. A process whose first thread has ended shows it at the others only."""
    line = Path(f"/proc/{name}/cmdline").read_bytes()
    for task in [] if line else os.listdir(f"/proc/{name}/task"):
        line = line or Path(f"/proc/{name}/task/{task}/cmdline").read_bytes()
    return line and line + b"\0" + Path(f"/proc/{name}/comm").read_bytes()


def end(pids: list[int]) -> None:
    """Kill what an escape has left."""
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def survivors(token: str, grace: float = 0.5) -> list[int]:
    """Those that are there after the grace; they are ended. Who becomes another all the time is missed by some looks."""
    misses = 0

    def gone() -> bool:
        nonlocal misses
        misses = 0 if marked(token) else misses + 1
        return misses == LOOKS

    with contextlib.suppress(AssertionError):
        wait_until(gone, grace)
        return []
    found = next(filter(None, (marked(token) for _ in range(LOOKS))), [])
    end(found)
    return found


def attempt(ground: Arena, attack: Attack, profile: str, names: tuple[str, ...]) -> tuple[Any, str]:
    """One trial of an attack whose command is "caller …"."""
    kind, *words = attack.command.split()[1:]
    if kind == "plans":
        return plans.attempt(ground, profile, words[0], names)
    token = secrets.token_hex(8)
    given = {
        "directory": str(ground.directory),
        "payloads": str(ground.payloads),
        "degraded": ground.degraded,
        "profile": profile,
        "names": names,
        "token": token,
        "kind": kind,
        "command": ["outlive", *(words[1:2] or ["alone"]), token],
    }
    caller = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "tests.escape.callers"],
        cwd=layers.ROOT,
        env={**os.environ, VARIABLE: json.dumps(given)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    try:
        if kind == "thread":
            said = caller.communicate(timeout=seconds(30))[0]
            return verdict_of(said, "")
        if kind == "groups":
            return _left_groups(caller, names)
        return _killed(caller, words[0], token)
    finally:
        caller.kill()
        caller.wait()
        if caller.stdout is not None:
            caller.stdout.close()
        end(marked(token))


def _killed(caller: subprocess.Popen[bytes], who: str, token: str) -> tuple[Any, str]:
    assert caller.stdout is not None
    line = caller.stdout.readline().split()
    if len(line) != 3 or not marked(token):  # nothing would be shown by its absence later
        raise AssertionError("the payload has not started")
    pids = {"caller": caller.pid, "keeper": int(line[1]), "launcher": int(line[2])}
    if who != "caller":
        caller.send_signal(signal.SIGSTOP)
    os.kill(pids[who], signal.SIGKILL)
    left = survivors(token, min(seconds(GRACE), MOST_GRACE))
    end([pid for name, pid in pids.items() if name != "caller" and left and name != who])
    return ("escaped", f"{len(left)} processes outlive the {who}") if left else ("contained", "all ended")


def _left_groups(caller: subprocess.Popen[bytes], names: tuple[str, ...]) -> tuple[Any, str]:
    assert caller.stdout is not None
    line = caller.stdout.readline().split()
    for pid in (int(line[1]), caller.pid):
        os.kill(pid, signal.SIGKILL)
    caller.wait()
    mark = f"-{caller.pid}-"
    with layers.callers_side(names):
        base = cgroups.find_base()  # as the next caller does
    left = [path for path in cgroups.leftovers(base) if mark in path]
    cgroups.find_base()
    return ("escaped", f"{len(left)} groups are left") if left else ("contained", "all groups are gone")


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def main() -> None:
    """Process: the caller of one trial."""
    from tests.escape.arena import INSIDE, WARM, Arena, load, probe

    load()  # registers the layers
    given = json.loads(os.environ.pop(VARIABLE))
    ground = Arena(degraded=given["degraded"])
    ground.directory, ground.payloads = Path(given["directory"]), Path(given["payloads"])
    ready = threading.Event()
    made: dict[str, Any] = {}

    def begin() -> None:
        box = made["box"] = ground._make(Scene(), given["profile"], tuple(given["names"]))
        words = ["nap"] if given["kind"] == "thread" else given["command"]
        argv = probe(INSIDE, words, warm=given["profile"] == WARM)
        made["run"] = box.start(argv, on_stdout=lambda _: ready.set(), limits={"wall": "8s", "cpu": "8s"})

    def drive() -> None:
        with contextlib.suppress(SandboxError):
            made["run"].wait()

    with layers.callers_side(given["names"]):
        starting = threading.Thread(target=begin)
        starting.start()
        starting.join()
        if given["kind"] == "thread":
            try:
                outcome = str(made["run"].wait().exit)
            except SandboxError as error:
                outcome = f"{type(error).__name__}: {error}"
            print(f"CONTAINED {outcome}" if "Exited(code=0)" in outcome else f"ESCAPED {outcome}", flush=True)
        else:
            driving = threading.Thread(target=drive, daemon=True)
            driving.start()
            ready.wait(seconds(10))
            keeper = made["box"]._engine.launchers.living()[0].pid
            print("ready", keeper, *_children(keeper), flush=True)
            driving.join()  # until it is killed, or its time is over
        made["run"].close()
        made["box"].close()


if __name__ == "__main__":
    main()
