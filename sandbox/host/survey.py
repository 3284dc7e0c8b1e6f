"""`Survey`: everything that `doctor` judges, collected in one go. It costs a helper process, so runs never take one."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.host import cgroups, facts
from sandbox.host.cgroups import Layout, Place
from sandbox.host.facts import HostFacts
from sandbox.kernel.libc import is_supported_machine

_PROBE = str(Path(__file__).with_name("probe.py"))
_PROBE_SECONDS = 60.0
_NO_LAYOUT = Layout(0, None, ())
SYSCTLS = (
    "user.max_user_namespaces",
    "kernel.unprivileged_userns_clone",
    "kernel.apparmor_restrict_unprivileged_userns",
    "kernel.io_uring_disabled",
    "kernel.yama.ptrace_scope",
    "kernel.core_pattern",
    "kernel.kptr_restrict",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What was found. Every field has a neutral default, so that a test can say only what it is about.

    Attributes:
        facts: what the planner knows.
        python: version of this interpreter.
        executable: its path, links followed.
        machine_supported: the system call numbers of this machine are known.
        release: kernel release, informative.
        missing_calls: system calls that the launcher needs and this kernel does not have.
        probe: step → errno (0 worked) of `sandbox.host.probe`; a step that was not reached is missing.
        sysctls: name → text; names that this kernel does not have are missing.
        seccomp_actions: what filters can do.
        filtered: a seccomp filter is on this process already.
        container: sign of a container around us, "" if there is none.
        layout, places, legacy: control groups (see `sandbox.host.cgroups`).
        systemd: whether systemd is the init of this host.
        swaps: swap devices in use.
        swap_accounted: control groups can limit swap.
        smt: hyper-threading is active.
        cpus: CPUs this process may run on.
        capabilities, securebits, no_new_privs: of the caller.
        groups: supplementary groups of the caller.
        oom_score_adj: of the caller.
        open_files, processes: soft rlimits; -1 is unlimited.
        libseccomp: path and API level; "" when it cannot be loaded, with the reason in `libseccomp_error`.
    """

    facts: HostFacts
    python: tuple[int, ...] = (3, 11)
    executable: str = "/usr/bin/python3"
    machine_supported: bool = True
    release: str = "6.1.0"
    missing_calls: tuple[str, ...] = ()
    probe: Mapping[str, int] = field(default_factory=dict)
    sysctls: Mapping[str, str] = field(default_factory=dict)
    seccomp_actions: frozenset[str] = frozenset()
    filtered: bool = False
    container: str = ""
    layout: Layout = _NO_LAYOUT
    places: tuple[Place, ...] = ()
    legacy: Mapping[str, str] = field(default_factory=dict)
    systemd: bool = False
    swaps: tuple[str, ...] = ()
    swap_accounted: bool = True
    smt: bool = False
    cpus: int = 1
    capabilities: tuple[str, ...] = ()
    securebits: tuple[str, ...] = ()
    no_new_privs: bool = False
    groups: tuple[int, ...] = ()
    oom_score_adj: int = 0
    open_files: int = -1
    processes: int = -1
    libseccomp: str = ""
    libseccomp_error: str = ""


def take() -> Survey:
    """Look at this host. Starts one helper process (and asks systemd, if it is there)."""
    from sandbox.kernel import privileges, probe

    layout = cgroups.layout()
    supported = is_supported_machine()
    library, error = _libseccomp()
    return Survey(
        facts=facts.gather(),
        python=sys.version_info[:3],
        executable=os.path.realpath(sys.executable) if sys.executable else "",
        machine_supported=supported,
        release=os.uname().release,
        missing_calls=probe.missing_calls() if supported else (),
        probe=run_probe() if supported else {},
        sysctls=read_sysctls(),
        seccomp_actions=frozenset(_text("/proc/sys/kernel/seccomp/actions_avail").split()),
        filtered=is_filtered(),
        container=container_hint(),
        layout=layout,
        places=tuple(cgroups.places(layout)),
        legacy=cgroups.legacy_places(layout),
        systemd=cgroups.systemd_runs(),
        swaps=tuple(line.split()[0] for line in _text("/proc/swaps").splitlines()[1:] if line.strip()),
        swap_accounted=_swap_accounted(layout),
        smt=_text("/sys/devices/system/cpu/smt/active").strip() == "1",
        cpus=len(os.sched_getaffinity(0)),
        capabilities=privileges.capabilities(),
        securebits=privileges.securebits(),
        no_new_privs=privileges.has_no_new_privs(),
        groups=tuple(group for group in os.getgroups() if group != os.getegid()),
        oom_score_adj=int(_text("/proc/self/oom_score_adj") or 0),
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        processes=resource.getrlimit(resource.RLIMIT_NPROC)[0],
        libseccomp=library,
        libseccomp_error=error,
    )


def run_probe() -> dict[str, int]:
    """What `sandbox.host.probe` reports; empty when it could not even be started."""
    if not sys.executable:
        return {}
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-B", _PROBE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_SECONDS,
            check=False,
            cwd="/",
            env={},
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    out = {}
    for line in done.stdout.decode("ascii", "replace").splitlines():
        step, _, number = line.partition(" ")
        if number.isdigit():
            out[step] = int(number)
    return out


def read_sysctls() -> dict[str, str]:
    """The settings in SYSCTLS that this kernel has."""
    found = {}
    for name in SYSCTLS:
        text = _text("/proc/sys/" + name.replace(".", "/")).strip()
        if text:
            found[name] = text
    return found


def is_filtered() -> bool:
    """Whether this process runs under a seccomp filter (proc_pid_status(5))."""
    lines = _text("/proc/self/status").splitlines()
    return any(line.split() == ["Seccomp:", "2"] for line in lines)


def container_hint() -> str:
    """A sign that this process is in a container: the name of what says so, "" without any."""
    for path in ("/.dockerenv", "/run/.containerenv"):
        if os.path.exists(path):
            return path
    kind = os.environ.get("container", "")  # noqa: SIM112 - the name is systemd's
    return f"container={kind}" if kind else ""


def _swap_accounted(layout: Layout) -> bool:
    """Whether groups have a swap limit; the file is in every group but the root."""
    if layout.version == 1:
        memory = next((group.own for group in layout.legacy if "memory" in group.controllers), "")
        return os.path.exists(f"{memory}/memory.memsw.limit_in_bytes")
    if layout.unified is None:
        return True
    candidates = [entry.path for entry in _directories(layout.unified.mount)]
    have_memory = [path for path in candidates if os.path.exists(f"{path}/memory.max")]
    return not have_memory or any(os.path.exists(f"{path}/memory.swap.max") for path in have_memory)


def _directories(path: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _libseccomp() -> tuple[str, str]:
    """(what was found, "") or ("", why not)."""
    from sandbox.kernel.libraries import by_usual_names

    try:
        with by_usual_names():
            import pyseccomp
    except (ImportError, OSError, RuntimeError) as error:
        return "", str(error)
    return f"{pyseccomp._libseccomp_path}, API level {pyseccomp.get_api()}", ""


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 16)
    except OSError:
        return ""
