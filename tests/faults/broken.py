"""Launchers that break at a chosen step: an error of the kernel, or a process that hangs there until it is killed or stopped.

The source has no hooks; a copy of it gets one line in `Progress.at`, or at the few steps that are not announced there.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from sandbox.model import steps

ROOT = Path(__file__).resolve().parents[2]
NUMBER = 73  # EDOTDOT: no call of Linux gives it by itself
HUNG = "hung on purpose"
ERROR = f"raise OSError({NUMBER}, 'on purpose')"
# The name is how the test finds the process; the sleep is bounded, should the test die.
HANG = f"__import__('ctypes').CDLL(None).prctl(15, b'{HUNG}', 0, 0, 0); __import__('time').sleep(60)"
_AT = "        self.step = step\n        self.index = index\n"
# Steps that Progress does not announce: (file, the line before which it happens, who is there)
PLACES: dict[int, tuple[str, str]] = {
    steps.TEMPLATE_PRIORITY: ("launcher/keeper.py", "        process.ordinary_priority()\n"),
    steps.TEMPLATE_ID_MAP: ("launcher/keeper.py", "        _write_maps(plan.ids, pid)\n"),
    steps.CLONE: ("launcher/runs.py", "        pid, pidfd = namespaces.clone(plan.clone_flags, fds.cgroup2)\n"),
    steps.RUN_ID_MAP: (
        "launcher/runs.py",
        "        inside = plan.ids.first_slot + self.slot if plan.ids.slots else 0\n        namespaces",
    ),
    steps.COLLECT: ("launcher/loop.py", "                collect.deliver(run.work_fd, run.request, run.lane, message)\n"),
}
# Not steps that can be broken, but names for what came of others.
# Those of a warm interpreter are shown by tests/integration/test_warm.py: it takes the launcher's code from the caller.
_WARM = {
    steps.WARM_EXEC,
    steps.WARM_INTERPRETER,
    steps.WARM_PLACES,
    steps.WARM_PRELOAD,
    steps.WARM_THREADS,
    steps.WARM_DESCRIPTORS,
}
CONSEQUENCES = _WARM | {steps.REQUEST, steps.SERVE, steps.INIT_DIED, steps.CHILD_DIED, steps.INIT_VERIFY}


def announced() -> list[int]:
    """Every step that Progress announces, in order."""
    return [number for number in sorted(steps.NAMES) if number not in PLACES and number not in CONSEQUENCES]


def launcher(step: int, action: str, directory: Path, *, setup_s: int = 20) -> Path:
    """The entry point of a launcher that does `action` at `step`, and waits so long for a run to be set up."""
    scratch = Path(tempfile.mkdtemp(prefix="broken-", dir=directory))
    shutil.copytree(ROOT / "sandbox", scratch / "sandbox", ignore=shutil.ignore_patterns("__pycache__"))
    if step in PLACES:
        file, line = PLACES[step]
        indent = line[: len(line) - len(line.lstrip())]
        patch(scratch / "sandbox" / file, line, f"{indent}{action}\n{line}")
    else:
        guarded = f"{_AT}        if step == {step}:\n            {action}\n"
        patch(scratch / "sandbox" / "model" / "steps.py", _AT, guarded)
    patch(scratch / "sandbox" / "launcher" / "runs.py", "SETUP_NS = 20_000_000_000", f"SETUP_NS = {setup_s * 10**9}")
    for folder, _, _ in os.walk(scratch):
        os.chmod(folder, 0o755)
    return scratch / "sandbox" / "launcher" / "__main__.py"


def patch(path: Path, old: str, new: str) -> None:
    """Replace text that must stand there exactly once."""
    text = path.read_text()
    if text.count(old) != 1:
        raise AssertionError(f"the patch of {path.name} does not fit any more: {text.count(old)} times {old!r}")
    path.write_text(text.replace(old, new))


def hung(below: set[int]) -> int:
    """The process among these that hangs on purpose; 0 while there is none."""
    for pid in below:
        try:
            with open(f"/proc/{pid}/comm") as file:
                if file.read().strip() == HUNG:
                    return pid
        except OSError:
            continue
    return 0
