"""Where the CPU time of a launch goes: system calls, page faults, and a profile of the kernel and of Python.

    python -m benchmarks.where [--runs 300] [--json benchmarks/results/where.json]

Needs root, perf and strace; gcc for the floor. What is missing is named in the file. perf writes nothing but its record,
which is in a directory that goes away (-B and -N keep it from linking programs into ~/.debug).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from sandbox.bench import measure
from tests.support import leaks

ROOT = Path(__file__).resolve().parents[1]
FREQUENCY = 1999  # samples a second and CPU
# The first that names a function of the stack has the sample.
KINDS = {
    "network namespace": (
        r"setup_net$|cleanup_net|copy_net_ns|ops_(init|exit|undo)|net_drop_ns|unregister_netdevice|default_device"
    ),
    "control groups": (
        r"cgroup_(attach|mkdir|rmdir|procs_write|migrate|destroy|apply|kn_|file_|exit|release)|css_(free|killed|release)"
    ),
    "mounts": (
        r"_sys_(mount|umount|move_mount|open_tree|mount_setattr|pivot_root|fsopen|fsmount)|path_mount|copy_mnt_ns|put_mnt_ns"
        r"|cleanup_mnt|namespace_unlock|mntput"
    ),
    "other namespaces": (
        r"copy_(pid_ns|utsname|ipcs|cgroup_ns|time_ns)|create_(user_ns|new_namespaces)|free_(nsproxy|ipc|pid|user)|zap_pid_ns"
        r"|_sys_(unshare|setns)|proc_(uid|gid)_map|map_write"
    ),
    "filters and Landlock": r"seccomp|landlock",
    "page faults, copies of pages written after a fork": r"do_wp_page|wp_page_copy|do_cow_fault",
    "page faults, pages of files": r"do_read_fault|filemap_map_pages|filemap_fault|do_fault_around",
    "page faults, new pages": r"do_anonymous_page",
    "page faults, entry and the rest": r"exc_page_fault|do_user_addr_fault|el0_(da|ia)",
    "exec": r"_sys_execve|do_execveat|load_elf",
    "fork": r"_sys_(clone|fork|vfork)|kernel_clone|copy_process|schedule_tail",
    "end of processes": r"do_exit|do_group_exit|exit_mmap|__mmput|_sys_wait|release_task|delayed_put_task|rcu_",
    "messages, pipes, waiting": r"_sys_(sendmsg|recvmsg|epoll|poll|read|write|pread|pipe|eventfd|futex|ppoll|select)",
    "files": r"_sys_(open|close|dup|new|f|stat|readlink|unlink|chmod|mkdir|rmdir|ioctl|access|statfs|memfd)",
    "memory maps": r"_sys_(mmap|munmap|mprotect|brk|madvise)",
    "other system calls": r"do_syscall_64|entry_SYSCALL|el0_svc",
}
LATER = ("network namespace", "control groups", "mounts", "other namespaces")
DRIVER = """
import sys
from sandbox.bench.ways import Bubblewrap, Ours, plan_of
way = box = Ours("default", ["/bin/true"], parked=sys.argv[1] == "parked")
launcher = box.box._engine.launchers.living()[0].pid
if sys.argv[1] == "bubblewrap":
    way, launcher = Bubblewrap(plan_of(box)), 0
    box.close()
for _ in range(20):
    way.launch(["/bin/true"])
print("ready", launcher, flush=True)
for line in sys.stdin:
    for _ in range(int(line)):
        way.launch(["/bin/true"])
    print("done", flush=True)
way.close()
"""


class Driver:
    """A caller in a process of its own.

    Attributes:
        launcher: pid of its launcher; 0 for bubblewrap, which has none.
    """

    def __init__(self, kind: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, kind], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        keeper = int(self.process.stdout.readline().split()[1])
        self.launcher = int(Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()[0]) if keeper else 0
        time.sleep(0.5)

    def run(self, count: int) -> None:
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        if self.process.stdout.readline() != "done\n":
            raise RuntimeError("the caller that is measured has ended")

    def faults(self) -> dict[str, int]:
        """Page faults without I/O so far, of those that are waited for when they end."""
        caller, children = faults(self.process.pid)
        if not self.launcher:
            return {"caller": caller, "launcher": 0, "the sandbox": children}
        launcher, children = faults(self.launcher)
        return {"caller": caller, "launcher": launcher, "the sandbox": children}

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


@contextlib.contextmanager
def beside(command: list[str]) -> Iterator[None]:
    """A tool that watches until the block ends."""
    tool = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(1)
    try:
        yield
    finally:
        time.sleep(0.5)  # what ends after the last answer belongs to it
        tool.send_signal(signal.SIGINT)
        tool.wait()


def faults(pid: int) -> tuple[int, int]:
    """Page faults without I/O of a process, and of its children that were waited for. Source: proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[7]), int(fields[8])


def system_calls(driver: Driver, runs: int, place: Path) -> dict:
    """Calls a launch, of the caller and of the launcher with all it starts."""
    found = {}
    for name, pid in (("caller", driver.process.pid), ("launcher and sandbox", driver.launcher)):
        if not pid:
            continue  # without a launcher all calls are below the caller's
        report = place / "strace"
        with beside(["strace", "-f", "-q", "-c", "-o", str(report), "-p", str(pid)]):
            driver.run(runs)
        counts = {}
        for line in report.read_text().splitlines():
            words = line.split()
            if len(words) >= 5 and re.fullmatch(r"[\d.]+", words[0]) and words[-1] != "total":
                counts[words[-1]] = round(int(words[3]) / runs, 2)
        most = dict(sorted(counts.items(), key=lambda item: -item[1])[:12])
        found[name] = {"all": round(sum(counts.values()), 1), "most": most}
    return found


def profile(driver: Driver, runs: int, place: Path) -> dict:
    """CPU ms a launch by what it was spent on."""
    record = place / "perf"
    ours = {driver.process.pid} | leaks.descendants(driver.process.pid)
    command = ["perf", "record", "-B", "-N", "-q", "-a", "-g", "-e", "cpu-clock", "-F", str(FREQUENCY), "-o", str(record)]
    with beside(command):
        driver.run(runs)
    text = subprocess.run(
        ["perf", "script", "-i", str(record), "--show-task-events", "-F", "comm,pid,tid,time,event,ip,sym"],
        check=True, capture_output=True, text=True, errors="replace",
    ).stdout  # fmt: skip
    counts: Counter[str] = Counter()
    for head, stack in samples(text):
        forked = re.search(r"PERF_RECORD_FORK\((\d+):\d+\):\((\d+):\d+\)", head)
        if forked:
            if int(forked[2]) in ours:
                ours.add(int(forked[1]))
            continue
        sample = re.match(r"\s*(.*?)\s+(\d+)/(\d+)\s+[\d.]+:\s+.*cpu-clock", head)
        if sample:
            kind = kind_of(stack, sample[1], int(sample[2]), ours, driver)
            if kind:
                counts[kind] += 1
    return {name: round(count * 1000 / FREQUENCY / runs, 3) for name, count in counts.most_common()}


def samples(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each head line of `perf script` with the functions below it, innermost first."""
    head, stack = "", []
    for line in text.splitlines():
        if line.startswith(("\t", "        ")):
            stack.append(line.split(maxsplit=1)[-1])
            continue
        if head:
            yield head, stack
        head, stack = line, []
    if head:
        yield head, stack


def kind_of(stack: list[str], command: str, pid: int, ours: set[int], driver: Driver) -> str:
    """What a sample was spent on; "" when it is none of ours."""
    kernel_thread = command.startswith(("kworker", "ksoftirqd", "rcu", "migration"))
    if pid not in ours and not kernel_thread:
        return ""
    names = "\n".join(stack)
    for kind, pattern in KINDS.items():
        if re.search(rf"(?m)^\w*(?:{pattern})", names):
            if not kernel_thread:
                return kind
            return f"{kind}, later by kernel workers" if kind in LATER else ""
    if kernel_thread:
        return ""
    if pid == driver.process.pid:
        return "Python of the caller"
    if command == "true":
        return "the program itself"
    return "Python of the launcher" if pid == driver.launcher else "user code of the sandbox before exec"


def floor(runs: int, place: Path) -> dict:
    """What a C program needs for the same steps, in ms. See floor.c."""
    program = place / "floor"
    subprocess.run(["gcc", "-O2", "-o", str(program), str(ROOT / "benchmarks" / "floor.c")], check=True)
    said = json.loads(subprocess.run([str(program), str(runs)], check=True, capture_output=True, text=True).stdout)
    return {name: round(value / 1000, 3) for name, value in said.items() if value >= 0}


def measured(runs: int, place: Path) -> dict:
    report: dict = {"conditions": measure.host(), "runs": runs, "missing": {}, "ways": {}}
    tools = {"perf": profile, "strace": system_calls}
    if os.getuid():
        report["missing"] = dict.fromkeys((*tools, "floor"), "only root can watch these processes")
        return report
    for kind in ("parked", "unparked", "bubblewrap"):
        if kind == "bubblewrap" and shutil.which("bwrap") is None:
            report["missing"][kind] = "not installed"
            continue
        driver = Driver(kind)
        try:
            before = driver.faults()
            driver.run(runs)
            found: dict = {"page_faults": {who: round((count - before[who]) / runs, 1) for who, count in driver.faults().items()}}
            for tool, part in tools.items():
                if shutil.which(tool) is None:
                    report["missing"][tool] = "not installed"
                else:
                    found["profile_ms" if tool == "perf" else "system_calls"] = part(driver, runs, place)
            report["ways"][kind] = found
        finally:
            driver.close()
    report["floor_ms"] = floor(runs, place) if shutil.which("gcc") else {}
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--json", default=str(ROOT / "benchmarks" / "results" / "where.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-where.") as place:
        report = measured(options.runs, Path(place))
    Path(options.json).write_text(json.dumps(report, indent=1) + "\n")
    print(f"written: {options.json}", file=sys.stderr)


if __name__ == "__main__":
    main()
