"""What a missing feature means and how it is cured: the words of `doctor` and of every UnsupportedHostError.

Each function returns (consequence, remedy). A remedy is a command to paste, or says what to do where there is none.
"""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Mapping

from sandbox.host.cgroups import ENVIRONMENT, REQUIRED_V1, Layout, Place
from sandbox.host.facts import user_name

DEGRADED = "or accept weaker limits with allow_degraded=True"  # the command says it in the name of its option
_NO_USERNS = "no sandbox can be started: every isolation of an ordinary user begins with a user namespace"
_NO_GROUP = "memory, processes and CPU time cannot be limited as a whole, so runs are refused"
_DROP_IN = "/etc/systemd/system/user@.service.d/delegate.conf"

_CONTAINER_OPTIONS = ("seccomp", "apparmor", "systempaths")

Words = tuple[str, str]


def sysctl(name: str, value: int) -> str:
    """The command that sets a kernel setting now and for good."""
    file = f"/etc/sysctl.d/60-sandbox-{name.rpartition('.')[2]}.conf"
    return f"echo {name}={value} | sudo tee {file} && sudo sysctl -p {file}"


TESTED_KERNEL = (6, 1)
FULL_LANDLOCK = 6
OPEN_FILES = 4096
PROCESSES = 4096
KERNEL: Words = (
    "no sandbox can be started: the launcher has no weaker way",
    "boot Linux 6.1 or later (in a container: let its seccomp filter admit clone3, openat2 and the mount calls)",
)
OLD_KERNEL: Words = ("older than what is tested: fixes of known escapes may be missing", "boot Linux 6.1 or later, with updates")
SECCOMP: Words = (
    "system calls cannot be filtered, so runs are refused",
    "boot a kernel with CONFIG_SECCOMP_FILTER=y, 5.0 or later",
)
UNTRIED: Words = ("nothing can be told about it before user namespaces work", "cure the check `userns` first")
LANDLOCK: Words = (
    "the second net below the mounts is missing; profiles that require Landlock are refused",
    'boot with lsm=landlock,... and CONFIG_SECURITY_LANDLOCK=y, or set landlock = "if_present" in the profile',
)
OLD_LANDLOCK: Words = (
    "only the part of the second net that this ABI knows is there (4: TCP, 5: device ioctls, 6: sockets and signals)",
    "boot Linux 6.12 or later",
)
ROOT: Words = (
    "the code that sets sandboxes up runs as root: a fault in it is a fault of the host (payloads are never root)",
    "run the caller as an ordinary user of its own",
)
OOM_SCORE: Words = (
    "where Landlock is missing a payload may go back to this value; at -1000 it is held at its memory limit, but not killed",
    "start the caller with oom_score_adj 0 (OOMScoreAdjust=0 in its unit)",
)
SMT: Words = (
    "sandboxes on two threads of one core can observe each other through its caches",
    "echo off | sudo tee /sys/devices/system/cpu/smt/control, or give each tenant whole cores (cgroup.cpus)",
)
CORE_PATTERN: Words = (
    "when a payload crashes the host starts this program on its data, as root; RLIMIT_CORE does not stop that",
    "echo core | sudo tee /proc/sys/kernel/core_pattern",
)
YAMA: Words = (
    "processes of one host uid may trace each other; a second layer is missing, the filter and pid namespaces still hold",
    sysctl("kernel.yama.ptrace_scope", 1),
)
IO_URING: Words = (
    "payloads cannot use it (their filter), but the host offers this attack surface to everything else",
    sysctl("kernel.io_uring_disabled", 1),
)


def userns(number: int, sysctls: Mapping[str, str], *, filtered: bool, container: str, executable: str) -> Words:
    """Why a user namespace was refused. `number`: errno of the refusal, 0 if it is not known."""
    if sysctls.get("user.max_user_namespaces") == "0":
        return f"{_NO_USERNS}; user.max_user_namespaces is 0", sysctl("user.max_user_namespaces", 15000)
    if number == errno.ENOSPC:
        consequence = f"{_NO_USERNS}; the limit of user namespaces is reached (or they are nested 32 deep)"
        return consequence, sysctl("user.max_user_namespaces", 15000)
    if sysctls.get("kernel.unprivileged_userns_clone") == "0":
        return f"{_NO_USERNS}; kernel.unprivileged_userns_clone is 0", sysctl("kernel.unprivileged_userns_clone", 1)
    if sysctls.get("kernel.apparmor_restrict_unprivileged_userns") == "1" and number in (0, errno.EPERM, errno.EACCES):
        return f"{_NO_USERNS}; AppArmor takes all rights away in those of unknown programs", _apparmor(executable)
    if container or (filtered and number in (errno.EPERM, errno.ENOSYS, errno.EACCES)):
        answer = f", with {os.strerror(number)!r}" if number else ""
        return (
            f"{_NO_USERNS}; the filter of the container around us ({container or 'seccomp'}) refuses them{answer}",
            "start the container with " + " ".join(f"--security-opt {name}=unconfined" for name in _CONTAINER_OPTIONS),
        )
    if number in (errno.EINVAL, errno.ENOSYS):
        return f"{_NO_USERNS}; this kernel was built without them", "boot a kernel with CONFIG_USER_NS=y"
    if number == errno.EPERM:
        return (
            f"{_NO_USERNS}; the kernel refuses them (a security module, or this process runs in a chroot)",
            "run outside of a chroot; `journalctl -k -g denied` names the security module",
        )
    why = f"; the kernel answers {os.strerror(number)!r}" if number else ""
    return _NO_USERNS + why, "run `sandbox doctor`, which tries each step by itself"


def _apparmor(executable: str) -> str:
    path = executable or "/usr/bin/python3"
    profile = (
        f"abi <abi/4.0>,\\ninclude <tunables/global>\\nprofile sandbox-python {path} flags=(unconfined) {{\\n  userns,\\n}}\\n"
    )
    file = "/etc/apparmor.d/sandbox-python"
    return f"printf {shlex.quote(profile)} | sudo tee {file} && sudo apparmor_parser -r {file}"


def newuidmap() -> Words:
    """No set-uid helpers or no ids for them."""
    name = user_name(os.getuid()) or str(os.getuid())
    return (
        "a host uid of its own for every sandbox cannot be had: payloads run with the caller's uid and supplementary groups",
        f"sudo apt install uidmap && sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {shlex.quote(name)}",
    )


def procfs(*, container: str) -> Words:
    """The kernel refuses a new procfs: the one that is there is partly covered (mount_too_revealing)."""
    remedy = (
        "start the container with --security-opt systempaths=unconfined" if container else "unmount what covers parts of /proc"
    )
    return "no /proc can be mounted for sandboxes, because parts of the one here are covered", remedy


def cgroup(layout: Layout, places: tuple[Place, ...], legacy: Mapping[str, str], *, systemd: bool) -> Words:
    """Why memory and pids cannot be limited, with the way out that fits this host."""
    uid = os.getuid()
    if os.environ.get(ENVIRONMENT):
        return (
            f"{_NO_GROUP}; {ENVIRONMENT} names no group of version 2 with the memory and pids controllers",
            f"unset {ENVIRONMENT}, or name a delegated directory whose cgroup.controllers lists memory and pids",
        )
    if layout.version == 0:
        return (
            f"{_NO_GROUP}; no control groups with a memory controller are mounted here",
            f"sudo mount -t cgroup2 none /sys/fs/cgroup (boot with cgroup_enable=memory if it is switched off), {DEGRADED}",
        )
    if layout.version == 1:
        if uid:
            consequence = f"{_NO_GROUP}; this host uses cgroup v1, which only root may divide"
            return consequence, f"boot with systemd.unified_cgroup_hierarchy=1, or run as root, {DEGRADED}"
        missing = ", ".join(name for name in REQUIRED_V1 if name not in legacy)
        consequence = f"{_NO_GROUP}; not mounted or not writable here: {missing}"
        return consequence, f"mount these v1 hierarchies writable below /sys/fs/cgroup, {DEGRADED}"
    if any(place.is_enough for place in places):
        return (
            f"{_NO_GROUP}; a group could be had, but using it failed",
            f"look at what `systemd-run --user --scope -p Delegate=yes true` says, {DEGRADED}",
        )
    if any(place.kind == "scope" for place in places):
        return (
            f"{_NO_GROUP}; systemd does not hand the memory and pids controllers to user managers",
            delegate_all(),
        )
    consequence = f"{_NO_GROUP}; no control group is delegated to uid {uid}"
    if systemd and uid:
        remedy = f"sudo loginctl enable-linger {shlex.quote(user_name(uid) or str(uid))} (for a system service: Delegate=yes)"
        return f"{consequence} and it has no systemd user manager", f"{remedy}, {DEGRADED}"
    return consequence, f"{_give_group(layout, uid)}, {DEGRADED}"


def _give_group(layout: Layout, uid: int) -> str:
    """The command that gives the calling shell's user a subtree with the shell in it, without systemd."""
    top = layout.unified.mount if layout.unified else "/sys/fs/cgroup"
    group = f"{top}/delegated-{uid}"
    enable = f"for c in memory pids cpu cpuset io; do echo +$c >{top}/cgroup.subtree_control; done"
    move = f"mkdir -p {group}/caller; chown -R {uid} {group}; echo '$$' >{group}/caller/cgroup.procs"
    return f"sudo sh -c '{enable}; {move}' in the shell that starts the program"


def delegate_all() -> str:
    """The command that makes systemd hand every controller to user managers; sessions of the user end with it."""
    return (
        f"sudo mkdir -p {os.path.dirname(_DROP_IN)} && printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' | "
        f"sudo tee {_DROP_IN} && sudo systemctl daemon-reload && sudo systemctl restart user@{os.getuid()}.service"
    )
