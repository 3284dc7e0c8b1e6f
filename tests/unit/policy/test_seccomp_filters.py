"""The compiled filters of all shipped profiles, asked in the simulator: every number, and arguments at every boundary."""

from __future__ import annotations

import dataclasses
import errno
import os

import pytest

from sandbox.model.plan import Filters
from sandbox.model.policy import ArgCondition, SeccompPolicy, SeccompRule
from sandbox.policy.load import load_chain
from sandbox.policy.profile import Profile
from sandbox.policy.resolve import resolve
from sandbox.policy.seccomp import rules, simulate, tables
from sandbox.policy.seccomp.compile import compile_policy
from sandbox.policy.seccomp.simulate import Verdict, verdict
from tests.support.filtered import FULL, boundaries, expected

PROFILES = ("default", "strict", "python", "python-warm", "node", "native", "compile")
BOTH = [(name, arch) for name in PROFILES for arch in tables.ARCHITECTURES]
ENOSYS = Verdict("errno", errno.ENOSYS)
EPERM = Verdict("errno", errno.EPERM)
NO_FAMILY = Verdict("errno", errno.EAFNOSUPPORT)
ALLOW, NOTIFY = Verdict("allow"), Verdict("notify")
ARGUMENTS = [(0,) * 6, (1,) * 6, (FULL,) * 6, (0x7E020000,) * 6]
SURPLUS = 600  # numbers that no kernel has yet


def condition(index: int, bits: int) -> ArgCondition:
    return ArgCondition(index=index, op="masked_eq", value=bits, mask=bits)


def seccomp(profile: str) -> SeccompPolicy:
    return resolve(load_chain(profile)).seccomp


def filters(profile: str, arch: str = "x86_64") -> Filters:
    return compile_policy(seccomp(profile), arch)


def ask(name: str, *args: int, profile: str = "default", arch: str = "x86_64") -> Verdict:
    return verdict(filters(profile, arch), arch, tables.numbers(arch)[name], args)


@pytest.mark.parametrize(("profile", "arch"), BOTH)
def test_every_number_is_decided_as_the_rules_say(profile, arch):
    policy, compiled, known = seccomp(profile), filters(profile, arch), tables.names(arch)
    for number in range(SURPLUS):
        for args in ARGUMENTS:
            found = verdict(compiled, arch, number, args)
            wanted = expected(policy, known[number], args) if number in known else ENOSYS
            assert found == wanted or (found == ENOSYS and not surely_known(number, arch)), (known.get(number), number, args)


def surely_known(number: int, arch: str) -> bool:
    """A filter for another machine is built by name; calls that are newer than libseccomp stay refused in it."""
    return arch == os.uname().machine or number < 450


@pytest.mark.parametrize(("profile", "arch"), BOTH)
def test_arguments_at_every_boundary(profile, arch):
    policy, compiled, known = seccomp(profile), filters(profile, arch), tables.numbers(arch)
    count = 0
    for name, decision in rules.decisions(policy).items():
        if name not in known or not (decision.refined or name in rules.SOCKET_CALLS):
            continue
        if not surely_known(known[name], arch):
            continue
        for args in boundaries(policy, name):
            assert verdict(compiled, arch, known[name], args) == expected(policy, name, args), (name, [hex(a) for a in args])
            count += 1
    assert count > 500


@pytest.mark.parametrize("profile", PROFILES)
def test_x32_is_closed(profile):
    """SF02: every number with bit 30, whether the plain one is allowed or not."""
    compiled = filters(profile)
    for number in range(SURPLUS):
        assert verdict(compiled, "x86_64", number | tables.X32_BIT).action == "kill_process"


@pytest.mark.parametrize(
    ("arch", "foreign"), [("x86_64", "i386"), ("x86_64", "aarch64"), ("aarch64", "arm"), ("aarch64", "x86_64")]
)
def test_other_architectures_are_closed(arch, foreign):
    """SF01, SF09: the same numbers mean other calls there, and socketcall hides its arguments."""
    compiled = filters("default", arch)
    for number in range(SURPLUS):
        assert simulate.run(compiled.main, foreign, number).action == "kill_process"
        assert simulate.run(compiled.notify, foreign, number).action == "kill_process"


@pytest.mark.parametrize(("profile", "arch"), BOTH)
def test_the_notifying_program_refuses_nothing_by_itself(profile, arch):
    """It is loaded before the launcher's last steps, which make calls that the payload must not make."""
    compiled = filters(profile, arch)
    for number in range(SURPLUS):
        for args in ARGUMENTS:
            assert simulate.run(compiled.notify, arch, number, args).action in ("allow", "notify")


@pytest.mark.parametrize("arch", tables.ARCHITECTURES)
@pytest.mark.parametrize(
    ("name", "args", "answer"),
    [
        ("clone", (0x11,), ALLOW),  # fork
        ("clone", (0x3D0F00,), ALLOW),  # pthread_create
        *((("clone", (flag | 0x11,), NOTIFY)) for flag in (1 << 17, 1 << 25, 1 << 26, 1 << 27, 1 << 28, 1 << 29, 1 << 30)),
        ("clone", (0x7E020011,), NOTIFY),
        ("clone3", (0, 0), ENOSYS),  # SF05
        ("clone3", (FULL, 88), ENOSYS),
        ("unshare", (0x80,), NOTIFY),  # SF06
        ("unshare", (0x10000000,), NOTIFY),
        ("setns", (3, 0), NOTIFY),
        ("io_uring_setup", (1, 0), ENOSYS),  # SF07
        ("io_uring_enter", (), ENOSYS),
        ("io_uring_register", (), ENOSYS),
        ("socket", (1, 1), ALLOW),  # AF_UNIX
        ("socket", (2, 1 | 0o2000000), ALLOW),  # AF_INET, SOCK_STREAM | SOCK_CLOEXEC
        ("socket", (10, 2), ALLOW),
        ("socket", (40, 1), NO_FAMILY),  # SF08: AF_VSOCK
        ("socket", (40 | 1 << 40, 1), NO_FAMILY),  # SF10
        ("socket", (38, 5), NO_FAMILY),  # AF_ALG
        ("socket", (16, 3), NO_FAMILY),  # AF_NETLINK
        ("socket", (17, 3), NO_FAMILY),  # AF_PACKET
        ("socket", (44, 3), NO_FAMILY),  # AF_XDP
        ("socket", (0, 1), NO_FAMILY),
        ("socket", (46, 1), NO_FAMILY),
        ("socket", (2, 3), EPERM),  # SOCK_RAW
        ("socket", (2, 3 | 1 << 32), EPERM),
        ("socket", (10, 3 | 0o2004000), EPERM),
        ("socket", (2, 10), EPERM),  # SOCK_PACKET
        ("socketpair", (1, 1), ALLOW),
        ("socketpair", (30, 2), NO_FAMILY),  # AF_TIPC
        ("ioctl", (0, 0x5401), ALLOW),  # TCGETS
        *((("ioctl", (0, call | high), EPERM)) for call in (0x5412, 0x541C, 0x541D, 0x540E) for high in (0, 1 << 32, 7 << 61)),
        ("personality", (0,), ALLOW),
        ("personality", (0xFFFFFFFF,), ALLOW),
        ("personality", (0x0040000,), EPERM),  # ADDR_NO_RANDOMIZE
        ("personality", (0x0040000 | 1 << 32,), EPERM),
        ("personality", (8,), EPERM),
        ("prlimit64", (0, 7, 1, 0), ALLOW),
        ("prlimit64", (1, 7, 1, 0), EPERM),  # SF18
        ("prlimit64", (0xFFFFFFFF, 7, 1, 0), EPERM),
        ("sched_setaffinity", (0, 8), ALLOW),
        ("sched_setaffinity", (2, 8), EPERM),
        ("sched_getaffinity", (2, 8), ALLOW),  # asking is harmless, and pthread_getaffinity_np passes a thread's number
        ("sched_setscheduler", (2, 0), EPERM),
        ("setpriority", (0, 0, 5), ALLOW),
        ("setpriority", (0, 1, 5), EPERM),
        ("setpriority", (2, 0, 5), EPERM),  # PRIO_USER
        ("ioprio_set", (1, 0, 0), EPERM),
        ("kill", (1, 9), ALLOW),
        ("fchmodat", (FULL, 0, 0o755), ALLOW),
        ("fchmodat", (FULL, 0, 0o4755), EPERM),
        ("fchmodat", (FULL, 0, 0o2755), EPERM),
        ("fchmodat", (FULL, 0, 0o1777), ALLOW),
        ("openat", (FULL, 0, 0o101, 0o644), ALLOW),
        ("openat", (FULL, 0, 0o101, 0o4755), EPERM),
        ("openat", (FULL, 0, 0o101, 0o2755), EPERM),
        ("openat", (FULL, 0, 0, 0o6755), ALLOW),  # no O_CREAT: the mode is what was left in the register
        ("openat2", (), ENOSYS),
        ("mknodat", (FULL, 0, 0o100644), ALLOW),
        ("mknodat", (FULL, 0, 0o10644), ALLOW),  # fifo
        ("mknodat", (FULL, 0, 0o140644), ALLOW),  # socket
        ("mknodat", (FULL, 0, 0o20644), EPERM),
        ("mknodat", (FULL, 0, 0o60644), EPERM),
        ("mknodat", (FULL, 0, 0o104755), EPERM),
        ("prctl", (22, 2), ALLOW),  # SF17: PR_SET_SECCOMP only tightens
        ("prctl", (35, 1), EPERM),  # PR_SET_MM
        ("prctl", (35 | 1 << 32, 1), EPERM),
        ("prctl", (62, 1), EPERM),  # PR_SCHED_CORE
        ("seccomp", (1, 0), ALLOW),
        ("seccomp", (1, 8), EPERM),  # NEW_LISTENER
        ("seccomp", (1, 0x1F), EPERM),
        ("sync", (), EPERM),
        ("get_mempolicy", (), ALLOW),
        ("mbind", (), EPERM),
        ("rseq", (), ALLOW),
        ("set_robust_list", (), ALLOW),
        ("mseal", (), ALLOW),
    ],
)  # fmt: skip
def test_attacks_and_needs(name, args, answer, arch):
    if not surely_known(tables.numbers(arch)[name], arch):
        answer = ENOSYS
    assert ask(name, *args, arch=arch) == answer


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(
    "name",
    """mount umount2 pivot_root chroot open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr unshare setns ptrace
    process_vm_readv process_vm_writev pidfd_getfd kcmp bpf perf_event_open userfaultfd add_key request_key keyctl
    name_to_handle_at open_by_handle_at init_module finit_module delete_module kexec_load kexec_file_load reboot swapon swapoff
    acct quotactl quotactl_fd iopl ioperm settimeofday clock_settime clock_adjtime adjtimex fanotify_init fanotify_mark syslog
    modify_ldt vhangup lookup_dcookie sethostname setdomainname nfsservctl open_tree_attr""".split(),
)
def test_known_dangers_are_recorded(profile, name):
    """SF15, SF19 and the rest of the list in the threat model: refused whatever the arguments are, and reported."""
    compiled, number = filters(profile), tables.numbers("x86_64")[name]
    assert (number, name) in compiled.names
    assert number not in compiled.kill
    for args in ARGUMENTS:
        assert verdict(compiled, "x86_64", number, args) == NOTIFY


@pytest.mark.parametrize("arch", tables.ARCHITECTURES)
def test_a_profile_without_sockets_has_none(arch):
    for family in range(48):
        assert ask("socket", family, 1, profile="strict", arch=arch) == ENOSYS


@pytest.mark.parametrize("arch", tables.ARCHITECTURES)
def test_strict_has_threads_and_no_processes(arch):
    for flags, answer in ((0x3D0F00, ALLOW), (0x11, EPERM), (0x4111, EPERM), (0x10000000 | 0x3D0F00, NOTIFY)):
        assert ask("clone", flags, profile="strict", arch=arch) == answer, hex(flags)
    for name in ("fork", "vfork", "wait4", "kill", "clone3"):
        if name in tables.numbers(arch):
            assert ask(name, profile="strict", arch=arch) == ENOSYS


@pytest.mark.parametrize(("key", "refused"), [("seccomp.deny", EPERM), ("seccomp.kill", NOTIFY)])
def test_denying_fork_leaves_threads_only(key, refused):
    policy = Profile.load("native").tightened({key: "fork,vfork"}).policy.seccomp
    compiled, number = compile_policy(policy, "x86_64"), tables.numbers("x86_64")["clone"]
    assert verdict(compiled, "x86_64", number, (0x3D0F00,)) == ALLOW
    assert verdict(compiled, "x86_64", number, (0x11,)) == refused
    assert verdict(compiled, "x86_64", number, (0x4111,)) == refused  # vfork
    assert verdict(compiled, "x86_64", number, (0x10000000 | 0x3D0F00,)) == NOTIFY
    assert (number in compiled.kill) == (key == "seccomp.kill")  # the launcher ends the sandbox on these reports


@pytest.mark.parametrize("profile", PROFILES)
def test_filters_that_allow_the_last_steps_of_a_launch_may_come_before_them(profile):
    wanted = ask("recvmsg", profile=profile) == ALLOW  # all else is allowed by all of these
    assert filters(profile).early is wanted


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        ("getrusage", {"action": "errno", "errno": errno.EPERM}),
        ("getrusage", {"action": "notify"}),
        ("getrusage", {"action": "log"}),
        ("fchmod", {"action": "errno", "errno": errno.EPERM, "args": (condition(1, 0o400),)}),
        ("prlimit64", {"action": "errno", "errno": errno.EPERM, "args": (condition(1, 0x7),)}),
        ("chdir", {"action": "errno", "errno": errno.EPERM, "args": (condition(0, 1),)}),
        ("wait4", {"action": "errno", "errno": errno.EPERM}),
        ("getdents64", {"action": "errno", "errno": errno.ENOSYS}),
        ("clone", {"action": "errno", "errno": errno.EPERM, "args": (condition(0, 0x4111),)}),
        ("clone3", {"action": "errno", "errno": errno.EPERM}),  # ENOSYS would send the C library to clone
    ],
)
def test_a_filter_with_an_opinion_about_one_of_them_comes_last(call, rule):
    policy = seccomp("default")
    refusal = SeccompRule(**{"syscalls": (call,), "errno": 0, "args": (), "group": "later", "why": "a test"} | rule)
    allowed = SeccompRule(syscalls=(call,), action="allow", errno=0, args=(), group="later", why="a test")
    assert compile_policy(policy, "x86_64").early
    both = (allowed, refusal) if refusal.args else (refusal,)
    assert not compile_policy(dataclasses.replace(policy, rules=(*policy.rules, *both)), "x86_64").early
    harmless = dataclasses.replace(policy, rules=(*policy.rules, allowed))
    assert compile_policy(harmless, "x86_64").early
