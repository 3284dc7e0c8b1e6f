"""Submissions that attack: each gets the verdict that names the cause, and harms neither the judge nor the next case."""

from __future__ import annotations

import dataclasses
import time

import pytest

from sandbox.grader.grade import grade
from sandbox.grader.model import Verdict
from tests.support import problems
from tests.support.clock import seconds
from tests.support.problems import c, graded_with_room, make, python

pytestmark = pytest.mark.requires("gcc", "cgroup")

FORK_BOMB = """
    #include <unistd.h>
    int main(void) { for (;;) if (fork() < 0) return 1; }
"""
SLEEPING = """
    #include <unistd.h>
    int main(void) { for (;;) pause(); }
"""
FLOOD = """
    #include <stdio.h>
    int main(void) { for (;;) puts("0123456789012345678901234567890123456789"); }
"""
MEMORY_BOMB = """
    #include <stdlib.h>
    #include <string.h>
    int main(void) { for (;;) { char *p = malloc(1 << 20); if (p) memset(p, 1, 1 << 20); } }
"""
LOOP = """
    int main(void) { for (volatile long i = 0;; i++) {} }
"""
SEGFAULT = """
    int main(void) { *(volatile int *)8 = 1; return 0; }
"""
FORBIDDEN = """
    #include <sys/mount.h>
    int main(void) { return mount("none", "/tmp", "tmpfs", 0, "") ? 1 : 0; }
"""
SILENT = """
    int main(void) { return 0; }
"""
FULL_DISK = """
    #include <fcntl.h>
    #include <unistd.h>
    static char block[1 << 20];
    int main(void) {
        int fd = open("/tmp/big", O_CREAT | O_WRONLY, 0600);
        for (;;) if (write(fd, block, sizeof block) <= 0) return 1;
    }
"""
DAEMON = """
    #include <stdio.h>
    #include <signal.h>
    #include <unistd.h>
    int main(void) {
        int n;
        scanf("%d", &n);
        printf("%d\\n", 2 * n);
        fflush(stdout);
        if (fork() == 0) { signal(SIGHUP, SIG_IGN); setsid(); for (;;) pause(); }
        return 0;
    }
"""
KILLER = """
    #include <signal.h>
    #include <unistd.h>
    int main(void) {
        for (int pid = 2; pid < 40000; pid++) if (pid != getpid()) kill(pid, SIGKILL);
        kill(-1, SIGKILL);
        return 0;
    }
"""
THREAD_BOMB = """
    #include <pthread.h>
    #include <unistd.h>
    static void *wait_for_ever(void *_) { for (;;) pause(); }
    int main(void) { pthread_t t; for (;;) if (pthread_create(&t, 0, wait_for_ever, 0)) return 1; }
"""
FLOOD_OF_COMPLAINTS = FLOOD.replace("puts(", "fputs(").replace('");', '", stderr);')
DEAF = """
    #include <unistd.h>
    int main(void) { close(0); close(1); close(2); for (;;) pause(); }
"""
# What graders that trust exit codes and signals take for a limit
PRETENDS_TO_BE_SLOW = """
    #include <signal.h>
    int main(void) { return raise(SIGXCPU); }
"""
PRETENDS_TO_BE_KILLED = """
    int main(void) { return 137; }
"""


@pytest.mark.parametrize(
    ("program", "verdict", "said"),
    [
        (FORK_BOMB, Verdict.RTE, "process"),
        (SLEEPING, Verdict.TLE, ""),
        (FLOOD, Verdict.OLE, "output"),
        (MEMORY_BOMB, Verdict.MLE, "memory"),
        (LOOP, Verdict.TLE, "CPU"),
        (SEGFAULT, Verdict.RTE, "SIGSEGV"),
        (FORBIDDEN, Verdict.SV, "mount"),
        (SILENT, Verdict.WA, ""),
        (FULL_DISK, Verdict.MLE, "memory"),  # private places are memory, and counted as such
        (DAEMON, Verdict.AC, ""),
        (KILLER, Verdict.WA, ""),
        (THREAD_BOMB, Verdict.RTE, "threads"),
        (FLOOD_OF_COMPLAINTS, Verdict.OLE, "output"),
        (DEAF, Verdict.TLE, "did nothing"),
        (PRETENDS_TO_BE_SLOW, Verdict.RTE, "SIGXCPU"),
        (PRETENDS_TO_BE_KILLED, Verdict.RTE, "exit code 137"),
    ],
    ids=(
        "fork-bomb sleeping flood memory-bomb loop segfault forbidden silent full-disk daemon killer thread-bomb "
        "flood-of-complaints deaf pretends-to-be-slow pretends-to-be-killed"
    ).split(),
)
def test_the_verdict_names_the_cause(tmp_path, program, verdict, said):
    problem = make(tmp_path, validator=problems.judge(problems.VALIDATOR), limits={"output_bytes": 1 << 20})

    report = graded_with_room(problem, c(program))

    assert (report.verdict, said.lower() in report.reason.lower()) == (verdict, True), report.reason
    assert report.wall_s < seconds(60)


def test_a_full_disk_is_said_where_there_is_memory_left(tmp_path):
    report = grade(make(tmp_path, limits={"memory_bytes": 1 << 30, "time_s": 20.0}), c(FULL_DISK))

    assert report.verdict is Verdict.RTE
    assert "disk" in report.reason


SEARCH = """
    import os
    mark = "4b" + "1d"
    found = set()
    for top in ("/", "/work", "/program", "/proc/self/fd", "/proc/self/cwd", "/tmp", "/dev/shm"):
        for where, folders, files in os.walk(top):
            folders[:] = [] if where.startswith(("/proc", "/sys", "/usr", "/lib")) else folders
            for name in files:
                path = os.path.join(where, name)
                try:
                    if mark in name or mark in open(path, errors="replace").read(100_000):
                        found.add(path)
                except OSError:
                    pass
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if "judge" in open(f"/proc/{pid}/cmdline").read() and pid != str(os.getpid()):
                found.add(pid)
        except OSError:
            pass
    print(sorted(found) or "nothing")
"""


@pytest.mark.claim("SEC-GR-01")
def test_no_answer_is_within_reach(tmp_path):
    problem = make(tmp_path, {"1": ("21\n", "4b1d secret\n")}, limits={"time_s": 20.0})

    report = grade(problem, python(SEARCH))

    assert report.verdict is Verdict.WA
    assert report.all_cases()[0].stdout == b"nothing\n"


@pytest.mark.claim("SEC-GR-01", knocked_out=True)
def test_the_search_finds_an_answer_that_is_there(tmp_path):
    """The answer given to the submission as a file of the case: what the test above looks for can be found."""
    problem = make(tmp_path, {"1": ("21\n", "4b1d secret\n")}, limits={"time_s": 20.0})
    group = problem.tests.groups[0]
    case = dataclasses.replace(group.cases[0], files={"note": group.cases[0].answer})
    tests = dataclasses.replace(problem.tests, groups=(dataclasses.replace(group, cases=(case,)),))

    report = grade(dataclasses.replace(problem, tests=tests), python(SEARCH))

    assert b"/work/note" in report.all_cases()[0].stdout, report.reason


ATTACKS_ITS_INTERACTOR = """
    import os, signal
    mark = "4b" + "1d"
    seen = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        own = pid == str(os.getpid())  # whose input has no end yet
        for name in ("cmdline", "environ", "maps", "cwd/judge.ans", "root/work/judge.ans", "fd/0")[: -own or None]:
            try:
                if mark in open(f"/proc/{pid}/{name}", errors="replace").read(10_000):
                    seen.append(name)
            except OSError:
                pass
    for pid in [*range(2, 40_000), -1]:
        if pid != os.getpid():
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
    print("seen" if seen else "nothing", flush=True)
"""
INTERACTOR = """
    import sys
    said = sys.stdin.readline().strip()
    open(sys.argv[3] + "judgemessage.txt", "w").write(f"said {said}")
    sys.exit(42 if said == open(sys.argv[2]).read().strip() else 43)
"""


@pytest.mark.claim("SEC-GR-01")
def test_an_interactor_is_out_of_reach_while_it_talks(tmp_path):
    problem = make(
        tmp_path,
        {"1": ("21\n", "4b1d\n")},
        validator=problems.judge(INTERACTOR),
        kinds=("pass-fail", "interactive"),
        limits={"time_s": 10.0},
    )

    report = grade(problem, python(ATTACKS_ITS_INTERACTOR))

    assert report.verdict is Verdict.WA, report.reason
    assert report.all_cases()[0].message == "said nothing"


def test_a_checker_that_leaves_a_process_with_its_streams_is_not_waited_for(tmp_path):
    text = "import os, sys, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(1000)\n"
    problem = make(tmp_path, validator=problems.judge(f"{text}sys.exit(42)\n"), limits={"time_s": 10.0})
    started = time.monotonic()

    report = grade(problem, python("print(42)"))

    assert report.verdict is Verdict.AC, report.reason
    assert time.monotonic() - started < seconds(20)


WRITE = """
    import os
    for name in ("feedback/judgemessage.txt", "feedback/score.txt", "judge.ans", "judge.in", "../program/x", "/tmp/judge.ans"):
        try:
            os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
            open(name, "w").write("0")
        except OSError:
            pass
    print(0)
"""


@pytest.mark.claim("SEC-GR-01")
@pytest.mark.parametrize("allowed", [True, False])
def test_what_a_submission_writes_never_reaches_its_checker(tmp_path, allowed):
    problem = make(tmp_path, validator=problems.judge(problems.VALIDATOR), allow_file_writing=allowed, limits={"time_s": 10.0})

    report = grade(problem, python(WRITE))

    assert (report.verdict, report.all_cases()[0].message) == (Verdict.WA, "said ['0'], right ['42']")


@pytest.mark.claim("SEC-GR-01")
def test_standard_input_is_no_way_to_the_file_of_the_judge(tmp_path):
    tamper = """
        import os
        for fd in range(10):
            try:
                os.ftruncate(os.open(f"/proc/self/fd/{fd}", os.O_RDWR), 0)
            except OSError:
                pass
        print(2 * int(input()))
    """
    problem = make(tmp_path, limits={"time_s": 10.0})

    grade(problem, python(tamper))

    assert (tmp_path / "1.in").read_text() == "21\n"
