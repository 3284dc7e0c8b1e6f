"""The program that attacks from inside. Stand-alone: it is copied into the sandbox and run by the profile's python3.

Reads the baits as JSON from stdin, prints one JSON object: name of the attack → [verdict, detail]. FAIL says what it got. An
attack that could not be made (`NotTried`), or that broke in a way of its own, has not been refused: it is SKIP, with the reason.
Nothing here does harm where it succeeds.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

BAITS: dict[str, Any] = {}
ATTACKS: dict[str, Callable[[], str]] = {}
LIBC = ctypes.CDLL(None, use_errno=True)
# Calls by number, from 424 on the same on both machines. Source: asm/unistd_64.h, asm-generic/unistd.h
NUMBERS = {
    "x86_64": {
        "ptrace": 101, "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "unshare": 272, "setns": 308, "bpf": 321,
        "perf_event_open": 298, "userfaultfd": 323, "keyctl": 250, "add_key": 248, "request_key": 249, "process_vm_readv": 310,
        "kcmp": 312, "open_by_handle_at": 304, "init_module": 175, "kexec_load": 246, "reboot": 169, "swapon": 167,
        "settimeofday": 164, "sethostname": 170, "fanotify_init": 300, "syslog": 103, "acct": 163, "personality": 135,
        "clone": 56, "shmget": 29, "quotactl": 179, "iopl": 172,
    },
    "aarch64": {
        "ptrace": 117, "mount": 40, "umount2": 39, "pivot_root": 41, "chroot": 51, "unshare": 97, "setns": 268, "bpf": 280,
        "perf_event_open": 241, "userfaultfd": 282, "keyctl": 219, "add_key": 217, "request_key": 218, "process_vm_readv": 270,
        "kcmp": 272, "open_by_handle_at": 265, "init_module": 105, "kexec_load": 104, "reboot": 142, "swapon": 224,
        "settimeofday": 170, "sethostname": 161, "fanotify_init": 262, "syslog": 116, "acct": 89, "personality": 92,
        "clone": 220, "shmget": 194, "quotactl": 60,
    },
}.get(os.uname().machine, {})  # fmt: skip
LATER = {"io_uring_setup": 425, "open_tree": 428, "move_mount": 429, "fsopen": 430, "pidfd_getfd": 438, "clone3": 435,
         "mount_setattr": 442, "memfd_secret": 447, "quotactl_fd": 443}  # fmt: skip
REFUSED = (errno.EPERM, errno.ENOSYS, errno.EACCES)
NEW = {"user": 0x10000000, "mount": 0x20000, "pid": 0x20000000, "net": 0x40000000, "ipc": 0x8000000, "uts": 0x4000000,
       "cgroup": 0x2000000, "time": 0x80}  # fmt: skip


class NotTried(Exception):
    """The attack cannot be made here; the text says why."""


def attack(function: Callable[[], str]) -> Callable[[], str]:
    """Register under the function's name."""
    ATTACKS[function.__name__] = function
    return function


def call(name: str | int, *arguments: Any) -> int:
    """A system call: its result, or minus errno."""
    if not NUMBERS:
        raise NotTried(f"no numbers of system calls are known for {os.uname().machine}")
    number = name if isinstance(name, int) else {**NUMBERS, **LATER}[name]
    ctypes.set_errno(0)
    words = [ctypes.c_ulong(item & 0xFFFFFFFFFFFFFFFF) if isinstance(item, int) else item for item in arguments]
    result = LIBC.syscall(ctypes.c_long(number), *words)
    return -ctypes.get_errno() if result == -1 else int(result)


def read(path: str) -> bytes:
    """The first bytes of a file."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return os.read(fd, 65536)
    finally:
        os.close(fd)


def first(*attempts: Callable[[], str]) -> str:
    """What the first successful attempt got; an OSError is a refusal."""
    for attempt in attempts:
        got = ""
        with contextlib.suppress(OSError):
            got = attempt()
        if got:
            return got
    return ""


@attack
def read_a_host_file() -> str:
    """By every path that leads out where something is wrong."""
    token = BAITS["token"].encode()
    roots = ["", "/proc/1/root", "/proc/self/root/..", "/proc/2/root", "/.host", "/host", "/mnt", "/.old", "/oldroot", "/../.."]
    roots += [f"/proc/{name}/root" for name in os.listdir("/proc") if name.isdigit()]
    roots += [f"/proc/{name}/cwd/../../../../.." for name in ("1", "self")]

    def attempt(root: str, path: str) -> str:
        return f"{root}{path}" if token in read(f"{root}{path}") else ""

    return first(*[functools.partial(attempt, root, path) for root in roots for path in BAITS["files"]])


@attack
def write_a_host_file() -> str:
    """Into directories that everybody may write to."""

    def attempt(place: str) -> str:
        os.close(os.open(f"{place}/planted", os.O_WRONLY | os.O_CREAT, 0o644))
        return place

    roots = ("", "/proc/1/root", "/proc/self/root/..", "/.host", "/host", "/mnt")
    return first(*[functools.partial(attempt, root + place) for root in roots for place in BAITS["directories"]])


@attack
def change_a_program_of_the_system() -> str:
    """Append nothing to them: opening for writing is enough."""
    places = ["/bin/sh", "/usr/bin/env", "/usr/bin/python3", "/lib64/ld-linux-x86-64.so.2", "/etc/ld.so.cache", "/proc/1/exe"]

    def attempt(path: str) -> str:
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND))
        return path

    return first(*[functools.partial(attempt, path) for path in places])


@attack
def read_secrets_of_the_system() -> str:
    """Places where credentials lie."""
    places = ["/etc/shadow", "/etc/gshadow", "/root/.ssh/id_rsa", "/etc/ssl/private", "/var/run/secrets", "/run/secrets"]
    places += [f"/proc/{name}" for name in ("1/environ", "kcore", "keys", "kmsg", "vmallocinfo", "slabinfo", "iomem")]

    def attempt(path: str) -> str:
        return path if read(path).strip() else ""

    return first(*[functools.partial(attempt, path) for path in places])


@attack
def steer_the_kernel() -> str:
    """Files that change the machine."""
    places = ["/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/sys/vm/drop_caches",
              "/proc/irq/default_smp_affinity", "/proc/sys/kernel/modprobe", "/sys/kernel/uevent_helper", "/proc/acpi/wakeup",
              "/proc/self/oom_score_adj", "/proc/1/oom_score_adj", "/sys/fs/cgroup/cgroup.procs",
              "/sys/fs/cgroup/memory/memory.limit_in_bytes"]  # fmt: skip

    def attempt(path: str) -> str:
        os.close(os.open(path, os.O_WRONLY))
        return path

    return first(*[functools.partial(attempt, path) for path in places])


@attack
def kernel_addresses() -> str:
    """/proc/kallsyms with real addresses."""

    def attempt() -> str:
        line = read("/proc/kallsyms").split(b"\n")[0]
        return "/proc/kallsyms" if line and int(line.split()[0], 16) else ""

    return first(attempt)


@attack
def devices() -> str:
    """Nodes that are not the sandbox's own, and new ones."""

    def attempt(path: str) -> str:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        return path

    def make() -> str:
        os.mknod("/tmp/node", 0o20666, os.makedev(1, 1))
        os.close(os.open("/tmp/node", os.O_RDONLY))
        return "mknod"

    names = ("mem", "kmsg", "sda", "vda", "kvm", "fuse", "userfaultfd", "tty", "console")
    return first(make, *[functools.partial(attempt, f"/dev/{name}") for name in names])


@attack
def new_namespaces() -> str:
    """Each kind, by unshare and by clone."""
    for name, flag in NEW.items():
        if call("unshare", flag) == 0:
            return f"unshare {name}"
    for name, flag in NEW.items():
        if name == "time":
            continue
        pid = call("clone", flag | int(signal.SIGCHLD), 0, 0, 0, 0)
        if pid == 0:
            os._exit(0)
        if pid > 0:
            return f"clone {name}"
    return ""


@attack
def dangerous_calls() -> str:
    """Calls that no ordinary program makes: whatever is not refused outright has been looked at by the kernel."""
    names = sorted({**NUMBERS, **LATER}.keys() - {"clone", "unshare", "personality", "shmget"})
    bad = []
    for name in names:
        result = call(name, 0, 0, 0, 0, 0)
        if -result not in REFUSED:
            bad.append(f"{name} ({'done' if result >= 0 else errno.errorcode.get(-result, -result)})")
    return ", ".join(bad)


@attack
def unknown_calls() -> str:
    """Numbers that are newer than any list."""
    bad = [number for number in range(470, 600) if call(number, 0, 0, 0, 0, 0, 0) != -errno.ENOSYS]
    return f"numbers {bad[:5]}" if bad else ""


@attack
def other_socket_families() -> str:
    """Families outside of the network namespace, and raw sockets."""
    tries = [
        (40, 1, 0),
        (38, 5, 0),
        (16, 3, 0),
        (17, 3, 0),
        (15, 3, 2),
        (29, 3, 1),
        (2, 3, 255),
        (10, 3, 58),
        (2, 1, 262),
        (44, 3, 0),
    ]
    bad = []
    for family, kind, protocol in tries:
        with contextlib.suppress(OSError):
            socket.socket(family, kind, protocol).close()
            bad.append(f"family {family} type {kind}")
    return ", ".join(bad)


@attack
def services_of_the_host() -> str:
    """A listener on the host's loopback, an abstract socket, and sockets in files."""

    def tcp() -> str:
        socket.create_connection(("127.0.0.1", BAITS["port"]), timeout=2).close()
        return "TCP on 127.0.0.1"

    def unix(name: str) -> str:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(2)
            sock.connect(name)
        return f"unix socket {name!r}"

    names = ["\0" + BAITS["abstract"], "/var/run/docker.sock", "/run/dbus/system_bus_socket", "/run/systemd/private"]
    return first(tcp, *[functools.partial(unix, name) for name in names])


@attack
def processes_of_the_host() -> str:
    """A bystander, everybody, and our parent."""
    pid = BAITS["bystander"]
    with contextlib.suppress(OSError):
        if BAITS["token"].encode() in read(f"/proc/{pid}/cmdline"):
            return "sees the bystander"
    with contextlib.suppress(OSError):
        os.kill(-1, 0)
        return "kill(-1) finds processes"
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGURG)
        return f"signals process {pid}"
    return f"has the parent {os.getppid()}" if os.getppid() > 1 else ""


@attack
def its_init() -> str:
    """Memory, descriptors and environment of process 1."""
    return first(
        lambda: "/proc/1/mem" if os.open("/proc/1/mem", os.O_RDWR) else "",
        lambda: "/proc/1/fd" if os.listdir("/proc/1/fd") else "",
        lambda: "/proc/1/maps" if read("/proc/1/maps") else "",
    )


@attack
def rights() -> str:
    """Ids, capabilities, no_new_privs, and the way back to them."""
    with open("/proc/self/status", encoding="ascii") as file:
        status = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        if int(status[name], 16):
            return f"{name} {status[name]}"
    if 0 in (os.getuid(), os.geteuid(), os.getgid(), os.getegid()):
        return "is root inside"
    if status["NoNewPrivs"].strip() != "1" or status["Seccomp"].strip() != "2":
        return f"NoNewPrivs {status['NoNewPrivs']} Seccomp {status['Seccomp']}"
    with contextlib.suppress(OSError):
        os.setuid(0)
        return "setuid(0)"
    return ""


@attack
def what_the_caller_has() -> str:
    """Environment, descriptors, terminal, working directory."""
    if BAITS["token"] in str(os.environ):
        return "a variable of the caller"
    extra = [name for name in os.listdir("/proc/self/fd") if int(name) > 2]
    if len(extra) > 1:  # the listing itself
        return f"descriptors {extra}"
    if not os.getcwd().startswith("/"):
        return "a working directory outside"
    return "a session of the caller" if os.getsid(0) not in (os.getpid(), 0) else ""


@attack
def objects_of_the_host() -> str:
    """Shared memory by key, and files in /dev/shm and /tmp."""
    if BAITS["shm_key"] and call("shmget", BAITS["shm_key"], 0, 0) >= 0:
        return "System V shared memory"
    for place in ("/dev/shm", "/tmp"):
        with contextlib.suppress(OSError):
            names = [name for name in os.listdir(place) if name != "node"]
            if names:
                return f"{place} has {names[:3]}"
    if not BAITS["shm_key"]:
        raise NotTried("this host makes no System V shared memory; /dev/shm and /tmp are clean")
    return ""


@attack
def undo_a_mount() -> str:
    """Covers and read-only mounts."""
    if call("umount2", b"/proc/kcore", 2) == 0 or call("umount2", b"/proc/sys", 2) == 0:
        return "umount"
    return "remount" if call("mount", None, b"/usr", None, 0x1020, None) == 0 else ""


def main() -> None:
    """Run every attack; each is on its own."""
    signal.alarm(20)
    BAITS.update(json.loads(sys.stdin.read()))
    found = {}
    for name, function in ATTACKS.items():
        try:
            got = function()
            found[name] = ("FAIL" if got else "PASS", got)
        except NotTried as error:
            found[name] = ("SKIP", str(error))
        except Exception as error:  # noqa: BLE001 - an attack that breaks has not been refused: the user is to see it
            found[name] = ("SKIP", f"the attack itself failed: {type(error).__name__}: {error}")
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
