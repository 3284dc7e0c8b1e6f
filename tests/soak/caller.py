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

from sandbox import Mount, Outcome, RunResult, Sandbox
from tests.support.programs import INSIDE

Job = tuple[list[str], dict[str, Any], set[Outcome]]
KILLED = {Outcome.SIGNALED, Outcome.EXITED}
JOBS: dict[str, Job] = {
    "good": (["exit", "0"], {}, {Outcome.EXITED}),
    "echo": (["echo"], {"stdin": b"x" * 5000}, {Outcome.EXITED}),
    "code": (["exit", "3"], {}, {Outcome.EXITED}),
    "crash": (["segv"], {}, {Outcome.SIGNALED}),
    "abort": (["abort"], {}, {Outcome.SIGNALED}),
    "flood": (["flood", "300000"], {"limits": {"output": "8KiB"}}, {Outcome.OUTPUT, Outcome.EXITED}),
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
WEIGHTS = {"good": 12, "echo": 4, "files": 4}


def wrong(box: Sandbox, name: str) -> str:
    """Run one job; what is wrong with its result, "" for nothing."""
    command, options, allowed = JOBS[name]
    result: RunResult = box.run([INSIDE, *command], **options)
    return (
        "" if result.outcome in allowed else f"{name}: {result.outcome} {result.exit} {result.evidence} {result.stderr[:200]!r}"
    )


def canceled(box: Sandbox, delay: float) -> str:
    """Cancel a run after a while, before or after it has started."""
    with box.start([INSIDE, "sleep", "30"]) as handle:
        timer = threading.Timer(delay, handle.cancel)
        timer.start()
        outcome = handle.wait().outcome
        timer.join()
    return "" if outcome is Outcome.CANCELED else f"cancel: {outcome}"


def dropped(box: Sandbox, delay: float) -> str:
    """Close a run that nobody waits for."""
    handle = box.start([INSIDE, "sleep", "30"])
    threading.Event().wait(delay)
    handle.close()
    return ""


def draw(chance: random.Random) -> Callable[[Sandbox], str]:
    """What a run does."""
    turn = chance.random()
    if turn < 0.04:
        return functools.partial(canceled, delay=chance.uniform(0, 0.03))
    if turn < 0.06:
        return functools.partial(dropped, delay=chance.uniform(0, 0.02))
    return functools.partial(wrong, name=chance.choices(list(JOBS), [WEIGHTS.get(name, 1) for name in JOBS])[0])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("probe")
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--degraded", action="store_true")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    work = [draw(chance) for _ in range(options.runs)]
    mount = Mount(options.probe, INSIDE)
    bad: list[str] = []
    done = 0
    with Sandbox("native", mounts=[mount], allow_degraded=options.degraded) as box, ThreadPoolExecutor(options.threads) as pool:
        for answer in pool.map(lambda job: job(box), work):
            done += 1
            if answer:
                bad.append(answer)
            if done % 50 == 0:
                gc.collect()
                print(done, flush=True)
    for line in bad[:20]:
        print("WRONG", line, flush=True)
    print("END", done, len(bad), flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
