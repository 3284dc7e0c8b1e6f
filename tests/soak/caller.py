"""One caller of the soak: runs of every kind, in an order that a seed decides, from a few threads. Says how many are done."""

from __future__ import annotations

import argparse
import functools
import gc
import random
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sandbox import Exited, Mount, Outcome, RunResult, Sandbox
from tests.support.programs import INSIDE

Job = tuple[list[str], dict[str, Any], set[Outcome]]
# Ended by what it names; where a limit makes the program fail by itself, it must have failed.
JOBS: dict[str, Job] = {
    "good": (["exit", "0"], {}, {Outcome.EXITED}),
    "echo": (["echo"], {"stdin": b"x" * 5000}, {Outcome.EXITED}),
    "code": (["exit", "3"], {}, {Outcome.EXITED}),
    "crash": (["segv"], {}, {Outcome.SIGNALED}),
    "abort": (["abort"], {}, {Outcome.SIGNALED}),
    "flood": (["flood", "300000"], {"limits": {"output": "8KiB"}}, {Outcome.OUTPUT}),
    "memory": (["alloc", "32"], {"limits": {"memory": "8MiB"}}, {Outcome.MEMORY, Outcome.EXITED}),
    "processes": (["forkbomb", "60"], {"limits": {"pids": 8}}, {Outcome.PIDS, Outcome.EXITED}),
    "spin": (["spin"], {"limits": {"cpu": "30ms"}}, {Outcome.CPU_TIME}),
    "sleep": (["sleep", "30"], {"limits": {"wall": "30ms"}}, {Outcome.WALL_TIME}),
    "disk": (["fill", "/work/big", "4"], {"limits": {"scratch": "1MiB"}}, {Outcome.DISK, Outcome.MEMORY, Outcome.EXITED}),
    "denied": (["syscall", "165", "0", "0", "0", "0", "0"], {}, {Outcome.DENIED_SYSCALL}),
    "daemon": (["daemon", "30"], {}, {Outcome.EXITED}),
    "files": (["cat", "in"], {"files": {"in": b"content"}, "collect": ["."]}, {Outcome.EXITED}),
    "terminal": (["window"], {"tty": (24, 80)}, {Outcome.EXITED}),
}
CODES = {"code": 3}
FAILING = ("memory", "processes", "disk", "memory error", "raise")
WARM: dict[str, Job] = {
    "good": (["pass"], {}, {Outcome.EXITED}),
    "echo": (["import sys; print(len(sys.stdin.read()))"], {"stdin": b"x" * 5000}, {Outcome.EXITED}),
    "code": (["raise SystemExit(3)"], {}, {Outcome.EXITED}),
    "raise": (["1 / 0"], {}, {Outcome.EXITED}),
    "crash": (["import os; os.kill(os.getpid(), 11)"], {}, {Outcome.SIGNALED}),
    "flood": (["while True: print('x' * 1000)"], {"limits": {"output": "8KiB"}}, {Outcome.OUTPUT}),
    "memory error": (["bytearray(1 << 30)"], {"limits": {"memory": "64MiB"}}, {Outcome.MEMORY, Outcome.EXITED}),
    "spin": (["while True: pass"], {"limits": {"cpu": "50ms"}}, {Outcome.CPU_TIME}),
    "sleep": (["import time; time.sleep(30)"], {"limits": {"wall": "50ms"}}, {Outcome.WALL_TIME}),
    "thread": (["import threading; threading.Thread(target=print).start()"], {}, {Outcome.EXITED}),
    "files": (["print(open('in').read())"], {"files": {"in": b"content"}, "collect": ["."]}, {Outcome.EXITED}),
}
WEIGHTS = {"good": 12, "echo": 4, "files": 4}


class Kind:
    """What a caller runs: programs, or Python in a warm interpreter."""

    def __init__(self, *, warm: bool) -> None:
        self.jobs = WARM if warm else JOBS
        self.profile = "python-warm" if warm else "native"
        self.prefix = ["python3", "-c"] if warm else [INSIDE]
        self.nap = ["import time; time.sleep(30)"] if warm else ["sleep", "30"]

    def wrong(self, box: Sandbox, name: str) -> str:
        """Run one job; what is wrong with its result, "" for nothing."""
        command, options, allowed = self.jobs[name]
        result: RunResult = box.run([*self.prefix, *command], **options)
        good = result.outcome in allowed
        if isinstance(result.exit, Exited) and result.outcome is Outcome.EXITED:
            code = result.exit.code
            good = good and (code != 0 if name in FAILING else code == CODES.get(name, 0))
        return "" if good else f"{name}: {result.outcome} {result.exit} {result.evidence} {result.stderr[:200]!r}"

    def canceled(self, box: Sandbox, delay: float) -> str:
        """Cancel a run after a while, before or after it has started."""
        with box.start([*self.prefix, *self.nap]) as handle:
            timer = threading.Timer(delay, handle.cancel)
            timer.start()
            outcome = handle.wait().outcome
            timer.join()
        return "" if outcome is Outcome.CANCELED else f"cancel: {outcome}"

    def dropped(self, box: Sandbox, delay: float) -> str:
        """Close a run that nobody waits for."""
        handle = box.start([*self.prefix, *self.nap])
        threading.Event().wait(delay)
        handle.close()
        return ""

    def draw(self, chance: random.Random) -> Callable[[Sandbox], str]:
        """What a run does."""
        turn = chance.random()
        if turn < 0.04:
            return functools.partial(self.canceled, delay=chance.uniform(0, 0.03))
        if turn < 0.06:
            return functools.partial(self.dropped, delay=chance.uniform(0, 0.02))
        weights = [WEIGHTS.get(name, 1) for name in self.jobs]
        return functools.partial(self.wrong, name=chance.choices(list(self.jobs), weights)[0])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("probe")
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--degraded", action="store_true")
    parser.add_argument("--warm", action="store_true")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    kind = Kind(warm=options.warm)
    work = [kind.draw(chance) for _ in range(options.runs)]
    mounts = [Mount(options.probe, INSIDE)]
    bad = done = 0
    with (
        Sandbox(kind.profile, mounts=mounts, allow_degraded=options.degraded) as box,
        ThreadPoolExecutor(options.threads) as pool,
    ):
        for answer in pool.map(lambda job: job(box), work):
            done += 1
            if answer:  # said at once: this caller may be killed
                bad += 1
                print("WRONG", answer.replace("\n", " "), flush=True)
            if done % 50 == 0:
                gc.collect()
                print(done, flush=True)
    print("END", done, bad, flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
