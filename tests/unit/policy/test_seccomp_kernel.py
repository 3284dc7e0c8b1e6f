"""The simulator and the kernel give the same answers: calls with arguments that are harmless where they are allowed."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from sandbox.model.plan import Filters
from sandbox.policy.load import load_chain
from sandbox.policy.resolve import resolve
from sandbox.policy.seccomp import tables
from sandbox.policy.seccomp.compile import compile_policy
from sandbox.policy.seccomp.simulate import Verdict, verdict
from tests.support.filtered import FULL, run_filtered
from tests.support.require import requires

pytestmark = requires("seccomp")
ARCH = os.uname().machine
UNMISTAKABLE = errno.EXFULL  # no call that is made answers with it
# These end, stop, multiply, signal or restrict the caller when they are made.
NOT_CALLED = """
    exit exit_group pause fork vfork clone kill tkill tgkill rt_sigreturn rt_sigsuspend rt_sigqueueinfo rt_tgsigqueueinfo
    rt_sigtimedwait rt_sigaction rt_sigprocmask restart_syscall alarm wait4 waitid uretprobe uprobe setuid setgid setresuid
    setresgid setreuid setregid setfsuid setfsgid landlock_restrict_self mlockall sigaltstack set_tid_address set_robust_list
    rseq select pselect6 poll ppoll brk munmap mremap mprotect shmat close_range setsid arch_prctl
""".split()

CALLS = """
import ctypes, json, sys
libc = ctypes.CDLL(None, use_errno=True)
answers = []
for number, args in json.loads(sys.argv[1]):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *(ctypes.c_ulong(value) for value in args))
    answers.append(ctypes.get_errno() if result == -1 else 0)
print(json.dumps(answers))
"""


@pytest.fixture(scope="module", params=["default", "strict"])
def filters(request: pytest.FixtureRequest) -> Filters:
    policy = dataclasses.replace(resolve(load_chain(request.param)).seccomp, default_errno=UNMISTAKABLE)
    return compile_policy(policy, ARCH)


def answers(filters: Filters, calls: list[tuple[int, tuple[int, ...]]], place: Path) -> list[int]:
    """errno of each call (0 when it succeeded), made one after the other in one process."""
    done = run_filtered(filters, [sys.executable, "-I", "-S", "-c", CALLS, json.dumps(calls)], place)
    assert done.returncode == 0, done
    found: list[int] = json.loads(done.stdout)
    return found


def agree(filters: Filters, number: int, args: tuple[int, ...], found: int) -> bool:
    """Without a listener a report is answered with ENOSYS; a call that is made never answers with our number."""
    said = verdict(filters, ARCH, number, args)
    if said == Verdict("errno", said.data):
        return found == said.data
    return found == errno.ENOSYS if said.action == "notify" else found != UNMISTAKABLE


def test_every_number(filters, tmp_path):
    names = tables.names(ARCH)
    bad = (FULL,) * 6
    calls = [(number, bad) for number in range(600) if names.get(number) not in NOT_CALLED]
    for (number, args), found in zip(calls, answers(filters, calls, tmp_path), strict=True):
        assert agree(filters, number, args, found), (names.get(number), number, errno.errorcode.get(found, found))


def test_conditions(filters, tmp_path):
    number = tables.numbers(ARCH)
    calls = [
        *((number["ioctl"], (FULL, call | high)) for call in (0x5401, 0x5412, 0x541C, 0x541D, 0x540E) for high in (0, 1 << 32)),
        *((number["socket"], (family | high, 99, 0)) for family in range(48) for high in (0, 1 << 32, 1 << 40)),
        *((number["socket"], (2, kind, 255)) for kind in (1, 2, 3, 10, 3 | 1 << 32)),
        *((number["socketpair"], (family, 1, 0, 0)) for family in (1, 2, 40)),
        *((number["clone"], (1 << bit | 17 | 1 << 16, 0)) for bit in (17, 25, 26, 27, 28, 29, 30)),
        *((number["clone3"], (0, size)) for size in (0, 88)),
        *((number["personality"], (value,)) for value in (0xFFFFFFFF, 0x0040000, 8, 0x0040000 | 1 << 32)),
        *((number["prlimit64"], (pid, 99, 0, 0)) for pid in (0, 1, 1 << 32, FULL)),
        *((number["sched_setaffinity"], (pid, 0, 0)) for pid in (0, 1)),
        *((number["setpriority"], (which, 0, 0)) for which in (0, 1, 2)),
        *((number["fchmodat"], (FULL, 0, mode)) for mode in (0o755, 0o4755, 0o2755)),
        *((number["openat"], (FULL, 0, flags, 0o4755)) for flags in (0, 0o101)),
        *((number["mknodat"], (FULL, 0, kind | 0o600, 0)) for kind in (0, 0o10000, 0o20000, 0o60000, 0o100000)),
        *((number["prctl"], (option, 0, 0, 0, 0)) for option in (3, 35, 62, 35 | 1 << 32)),
        *((number["seccomp"], (1, flags, 0)) for flags in (0, 8)),
    ]
    for (call, args), found in zip(calls, answers(filters, calls, tmp_path), strict=True):
        assert agree(filters, call, args, found), (tables.names(ARCH)[call], [hex(value) for value in args], found)


def test_without_the_filter_the_calls_are_made(tmp_path):
    """The check has teeth: unfiltered, forbidden calls reach the kernel and fail for reasons of their own."""
    number = tables.numbers(ARCH)
    calls = [(number["socket"], (40, 99, 0)), (number["ioctl"], (FULL, 0x5412)), (number["mount"], (0, 0, 0, 0, 0))]
    plain = Filters(main=b"", notify=b"", kill=(), names=())
    assert answers(plain, calls, tmp_path)[1:] == [errno.EBADF, errno.EFAULT]
    assert UNMISTAKABLE not in answers(plain, calls, tmp_path)


@pytest.mark.parametrize("name", ["getpid", "socket", "unshare"])
def test_x32_entry_is_closed(filters, name, tmp_path):
    """Where there is no x32, bit 30 makes an unknown number."""
    call = (tables.numbers(ARCH)[name] | tables.X32_BIT, (0,))
    done = run_filtered(filters, [sys.executable, "-I", "-S", "-c", CALLS, json.dumps([call])], tmp_path)
    if ARCH == "x86_64":
        assert done.returncode == -signal.SIGSYS
        assert not done.stdout
    else:
        assert json.loads(done.stdout) == [UNMISTAKABLE]


INT_80 = """
import ctypes, mmap
page = mmap.mmap(-1, 4096, prot=7)
page.write(b"\\x53\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\x5b\\xc3")  # push rbx; mov eax, 20 (getpid); int 0x80; pop rbx; ret
print("made", ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))(), flush=True)
"""


def test_i386_entry_kills(filters, tmp_path):
    """SF01. A machine without 32-bit entry ends the program by itself (SIGSEGV), or does not know these instructions."""
    done = run_filtered(filters, [sys.executable, "-I", "-S", "-c", INT_80], tmp_path)
    assert done.returncode in (-signal.SIGSYS, -signal.SIGSEGV, -signal.SIGILL)
    assert "made" not in done.stdout
