"""What a process tree uses, read from /proc: the stand-in for control groups where there are none.

Source: proc_pid_stat(5), proc_pid_smaps(5) (smaps_rollup). Process: the launcher.
"""

from __future__ import annotations

import os

_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MAX_TREE = 4096
_TRIES = 4  # to find a task that lives, while others end


class Process:
    """One process at one moment: `own` and `waited` are (user ns, system ns) of itself and of its reaped children.

    `living` is a task of it that shows its memory, which a first thread that has ended does not.
    """

    __slots__ = ("living", "own", "parent", "resident", "start", "tasks", "waited")

    def __init__(self, parent: int, stat_line: bytes, living: int, resident: int) -> None:
        fields = stat_line[stat_line.rindex(b")") + 2 :].split()
        user, system, waited_user, waited_system = (int(field) * _TICK_NS for field in fields[11:15])
        self.parent = parent
        self.start = int(fields[19])
        self.own = (user, system)
        self.waited = (waited_user, waited_system)
        self.tasks = int(fields[17])
        self.living = living
        self.resident = resident


class Sampler:
    """Samples the tree below an init. CPU time only grows: what a process that vanished had used is kept.

    Attributes:
        user_ns, system_ns: CPU time of the whole tree so far, init's own part included.
        peak_tasks, peak_bytes: highest values seen, without init.
    """

    def __init__(self, root: int) -> None:
        self.root = root
        self.user_ns = 0
        self.system_ns = 0
        self.peak_tasks = 0
        self.peak_bytes = 0
        self._seen: dict[int, Process] = {}
        self._lost = (0, 0)

    def sample(self, limit_bytes: int) -> int:
        """Look once. Returns the resident bytes of now; above `limit_bytes` shared pages are counted once."""
        found = tree(self.root)
        self._count_lost(found)
        self._seen = found
        totals = [sum(item.own[part] + item.waited[part] for item in found.values()) + self._lost[part] for part in (0, 1)]
        self.user_ns, self.system_ns = max(self.user_ns, totals[0]), max(self.system_ns, totals[1])
        below = {pid: item for pid, item in found.items() if pid != self.root}
        resident = sum(item.resident for item in below.values())
        if limit_bytes and resident > limit_bytes:
            resident = sum(proportional(pid, item.living, item.resident) for pid, item in below.items())
        self.peak_tasks = max(self.peak_tasks, sum(item.tasks for item in below.values()))
        self.peak_bytes = max(self.peak_bytes, resident)
        return resident

    def _count_lost(self, found: dict[int, Process]) -> None:
        """A reaped process moves its CPU time to its parent; one whose parent ignores SIGCHLD takes it away."""
        gone: dict[int, tuple[int, int]] = {}
        for pid, before in self._seen.items():
            if pid in found and found[pid].start == before.start:
                continue
            heir = before.parent
            while heir not in found and heir in self._seen:
                heir = self._seen[heir].parent
            user, system = gone.get(heir, (0, 0))
            used = (before.own[0] + before.waited[0], before.own[1] + before.waited[1])
            gone[heir] = (user + used[0], system + used[1])
        for heir, used in gone.items():
            inherited = (0, 0)
            if heir in found and heir in self._seen:
                now, before_waited = found[heir].waited, self._seen[heir].waited
                inherited = (now[0] - before_waited[0], now[1] - before_waited[1])
            self._lost = (
                self._lost[0] + max(0, used[0] - inherited[0]),
                self._lost[1] + max(0, used[1] - inherited[1]),
            )


def tree(root: int) -> dict[int, Process]:
    """Every process from `root` on, by pid. A process that ends between two reads is missing."""
    found: dict[int, Process] = {}
    pending = [(root, 0)]
    while pending and len(found) < _MAX_TREE:
        pid, parent = pending.pop()
        if pid in found:
            continue
        try:
            line = slurp(b"/proc/%d/stat" % pid)
            living, resident = _resident(pid)
            found[pid] = Process(parent, line, living, resident)
            tasks = os.listdir(b"/proc/%d/task" % pid)
        except (OSError, ValueError, IndexError):
            continue
        for task in tasks:
            try:
                children = slurp(b"/proc/%d/task/%s/children" % (pid, task))
            except OSError:
                continue  # a thread that has ended: a payload can make and end them all the time
            pending.extend((int(word), pid) for word in children.split())
    return found


def can_run(root: int) -> bool:
    """Whether any task from `root` on runs or waits for a CPU: state R, which a task that is kept from its CPU has too."""
    pending, seen = [root], 0
    while pending and seen < _MAX_TREE:
        pid = pending.pop()
        seen += 1
        try:
            tasks = os.listdir(b"/proc/%d/task" % pid)
        except OSError:
            continue
        for task in tasks:
            try:
                line = slurp(b"/proc/%d/task/%s/stat" % (pid, task))
                children = slurp(b"/proc/%d/task/%s/children" % (pid, task))
            except OSError:
                continue  # it has ended
            if line[line.rindex(b")") + 2 :].startswith(b"R"):
                return True
            pending.extend(map(int, children.split()))
    return False


def _resident(pid: int) -> tuple[int, int]:
    """(task, resident bytes) by the first task that shows any; (pid, 0) where none does. Raises OSError."""
    for _ in range(_TRIES):
        gone = False
        for task in sorted(map(int, os.listdir(b"/proc/%d/task" % pid))):
            try:
                pages = int(slurp(b"/proc/%d/task/%d/statm" % (pid, task)).split()[1])
            except OSError:
                gone = True
                continue
            if pages:
                return task, pages * _PAGE
        if not gone:
            break
    return pid, 0


def proportional(pid: int, task: int, resident: int) -> int:
    """Resident bytes with shared pages divided among those who share them, by a living task; 0 when there is none."""
    for _ in range(_TRIES):
        try:
            for line in slurp(b"/proc/%d/smaps_rollup" % task).splitlines():
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
            return resident
        except (FileNotFoundError, ProcessLookupError):
            try:
                task, resident = _resident(pid)
            except OSError:
                return 0
            if not resident:
                return 0
        except (OSError, ValueError):
            return resident
    return resident


def slurp(path: bytes) -> bytes:
    """The first 64 KiB of a kernel file. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 65536)
    finally:
        os.close(fd)
