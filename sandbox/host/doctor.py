"""The checks of `sandbox doctor`, and the errors for what this host lacks: both use the words of `features`.

A check is a pure function of the `Survey`. FAIL means that runs of the shipped profiles are refused here, CAUTION that a
second layer or an option is missing or that the host gives a payload more than it must.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sandbox.host import cgroups, features, survey
from sandbox.host.survey import Survey
from sandbox.model.errors import UnsupportedHostError


class Status(StrEnum):
    """How a check ended."""

    PASS = "PASS"  # noqa: S105 - a verdict
    CAUTION = "CAUTION"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One finding.

    Attributes:
        name: short and stable, such as "userns".
        status: PASS, CAUTION or FAIL.
        found: what is there.
        consequence: what does not hold because of it, "" for PASS.
        remedy: the exact command or setting that cures it, "" for PASS.
        layer: what it is needed for: host, isolation, identity, filter, limits or exposure.
    """

    name: str
    status: Status
    found: str
    consequence: str
    remedy: str
    layer: str

    def to_dict(self) -> dict[str, str]:
        """The JSON form."""
        return {
            "name": self.name,
            "status": self.status.value,
            "layer": self.layer,
            "found": self.found,
            "consequence": self.consequence,
            "remedy": self.remedy,
        }


def run_checks(found: Survey | None = None) -> tuple[Check, ...]:
    """All checks on this host, or on what `found` says."""
    seen = found or survey.take()
    return tuple(check(seen) for check in CHECKS)


def worst(checks: Iterable[Check]) -> Status:
    """The verdict over all."""
    statuses = {check.status for check in checks}
    return next((status for status in (Status.FAIL, Status.CAUTION) if status in statuses), Status.PASS)


def to_dict(checks: Iterable[Check]) -> dict[str, Any]:
    """The JSON form of a whole examination."""
    listed = tuple(checks)
    return {"status": worst(listed).value, "checks": [check.to_dict() for check in listed]}


def unsupported(feature: str, number: int = 0) -> UnsupportedHostError:
    """The error for a feature that a launch did not get. `number`: errno of the refusal, 0 if there is none.

    Looks around the host, but starts no process.
    """
    return UnsupportedHostError(feature, *_words(feature, number))


def _words(feature: str, number: int) -> features.Words:
    if feature == "userns":
        return features.userns(
            number,
            survey.read_sysctls(),
            filtered=survey.is_filtered(),
            container=survey.container_hint(),
            executable=os.path.realpath(sys.executable) if sys.executable else "",
        )
    if feature in ("newuidmap", "subuid"):
        return features.newuidmap()
    if feature == "procfs":
        return features.procfs(container=survey.container_hint())
    if feature == "landlock":
        return features.LANDLOCK
    if feature == "seccomp":
        return features.SECCOMP
    if feature == "kernel":
        return features.KERNEL
    if feature.startswith("cgroup"):
        layout = cgroups.layout()
        places = tuple(cgroups.places(layout))
        return features.cgroup(layout, places, cgroups.legacy_places(layout), systemd=cgroups.systemd_runs())
    return f"this host does not offer {feature}", "run `sandbox doctor` to see what is missing"


def _passed(name: str, layer: str, found: str) -> Check:
    return Check(name=name, status=Status.PASS, found=found, consequence="", remedy="", layer=layer)


def _failed(name: str, layer: str, found: str, words: features.Words) -> Check:
    return Check(name=name, status=Status.FAIL, found=found, consequence=words[0], remedy=words[1], layer=layer)


def _caution(name: str, layer: str, found: str, words: features.Words) -> Check:
    return Check(name=name, status=Status.CAUTION, found=found, consequence=words[0], remedy=words[1], layer=layer)


def _python(seen: Survey) -> Check:
    version = ".".join(str(part) for part in seen.python)
    if seen.python < (3, 11):
        return _failed("python", "host", version, ("the package needs Python 3.11", "sudo apt install python3.11"))
    return _passed("python", "host", f"{version}, {seen.executable or 'unknown executable'}")


def _machine(seen: Survey) -> Check:
    if not seen.machine_supported:
        return _failed("machine", "host", seen.facts.arch, ("no system call tables for it", "use 64-bit x86_64 or aarch64"))
    return _passed("machine", "host", seen.facts.arch)


def _kernel(seen: Survey) -> Check:
    if seen.missing_calls:
        return _failed("kernel", "host", f"{seen.release}, without {', '.join(seen.missing_calls)}", features.KERNEL)
    numbers = tuple(int(part) for part in seen.release.split("-")[0].split(".")[:2] if part.isdigit())
    if numbers < features.TESTED_KERNEL:
        return _caution("kernel", "host", seen.release, features.OLD_KERNEL)
    return _passed("kernel", "host", f"{seen.release}, every system call that a launcher needs")


def _userns(seen: Survey) -> Check:
    probe = seen.probe
    if not probe:
        words = ("nothing about namespaces can be told, as the probe did not answer", "check that python3 -I -S -B -c 0 works")
        return _failed("userns", "isolation", "the probe did not answer", words)
    step = next((name for name in ("userns", "map", "private") if probe.get(name, -1) != 0), "")
    if not step:
        return _passed("userns", "isolation", "can be made, with id maps and mounts inside")
    number = probe.get(step, 0)
    words = features.userns(number, seen.sysctls, filtered=seen.filtered, container=seen.container, executable=seen.executable)
    return _failed("userns", "isolation", f"step {step!r}: {os.strerror(number) if number else 'no answer'}", words)


def _namespaces(seen: Survey) -> Check:
    refused = [name for name in ("ipc", "uts", "net", "cgroup") if seen.probe.get(name)]
    if "cgroup" not in seen.probe:
        return _failed("namespaces", "isolation", "not tried", features.UNTRIED)
    if refused:
        words = ("no sandbox can be started: each run has its own", features.KERNEL[1])
        return _failed("namespaces", "isolation", f"refused: {', '.join(refused)}", words)
    if seen.probe.get("time", -1) != 0:
        words = ("profiles with namespaces.time are refused", "boot a kernel with CONFIG_TIME_NS=y")
        return _caution("namespaces", "isolation", "mount, pid, net, ipc, uts, cgroup; no time namespace", words)
    return _passed("namespaces", "isolation", "mount, pid, net, ipc, uts, cgroup, time")


def _procfs(seen: Survey) -> Check:
    number = seen.probe.get("proc")
    if number is None:
        return _failed("procfs", "isolation", "not tried", features.UNTRIED)
    if number:
        return _failed("procfs", "isolation", os.strerror(number), features.procfs(container=seen.container))
    return _passed("procfs", "isolation", "a private one can be mounted")


def _mounts(seen: Survey) -> Check:
    for step in ("tmpfs", "mount_setattr"):
        number = seen.probe.get(step)
        if number is None:
            return _failed("mounts", "isolation", "not tried", features.UNTRIED)
        if number:
            found = f"{step}: {os.strerror(number)}"
            return _failed(
                "mounts", "isolation", found, ("the private file system of a sandbox cannot be made", features.KERNEL[1])
            )
    return _passed("mounts", "isolation", "tmpfs and mount_setattr")


def _overlay(seen: Survey) -> Check:
    number = seen.probe.get("overlay")
    if number is None:
        return _caution("overlay", "isolation", "not tried", features.UNTRIED)
    if number:
        found = os.strerror(number)
        words = ("profiles with a writable root (rootfs.writable) are refused", "sudo modprobe overlay")
        return _caution("overlay", "isolation", found, words)
    return _passed("overlay", "isolation", "usable in a user namespace")


def _ids(seen: Survey) -> Check:
    known = seen.facts
    if known.uid == 0:
        return _passed("id-ranges", "identity", "root gives every sandbox a host uid of its own")
    if known.newuidmap and known.newgidmap and known.subuid and known.subgid:
        start, count = known.subuid[0]
        if seen.no_new_privs:
            words = ("newuidmap has no effect: runs are refused", "start the caller without no_new_privs, or set identity.id_map")
            return _failed("id-ranges", "identity", "no_new_privs is set on this process", words)
        return _passed("id-ranges", "identity", f"{known.newuidmap}, {count} host uids from {start}")
    absent = [name for name in ("newuidmap", "newgidmap", "subuid", "subgid") if not getattr(known, name)]
    return _caution("id-ranges", "identity", f"missing: {', '.join(absent)}", features.newuidmap())


def _caller(seen: Survey) -> Check:
    if seen.facts.uid == 0:
        return _caution("caller", "identity", f"root with {len(seen.capabilities)} capabilities", features.ROOT)
    if seen.capabilities:
        found = f"uid {seen.facts.uid} with {', '.join(seen.capabilities)}"
        words = ("the code that sets sandboxes up runs with more rights than it needs", "start the caller without capabilities")
        return _caution("caller", "identity", found, words)
    bits = f", securebits {', '.join(seen.securebits)}" if seen.securebits else ""
    return _passed("caller", "identity", f"uid {seen.facts.uid} without capabilities{bits}")


def _seccomp(seen: Survey) -> Check:
    missing = {"errno", "user_notif"} - seen.seccomp_actions
    if missing:
        return _failed("seccomp", "filter", f"missing actions: {', '.join(sorted(missing))}", features.SECCOMP)
    return _passed("seccomp", "filter", "filters with errno and user_notif")


def _libseccomp(seen: Survey) -> Check:
    if not seen.libseccomp:
        words = ("profiles cannot be compiled", "sudo apt install libseccomp2 && pip install pyseccomp")
        return _failed("libseccomp", "filter", seen.libseccomp_error or "not found", words)
    return _passed("libseccomp", "filter", seen.libseccomp)


def _landlock(seen: Survey) -> Check:
    abi = seen.facts.landlock_abi
    if not abi:
        return _failed("landlock", "filter", "not offered by this kernel", features.LANDLOCK)
    if abi < features.FULL_LANDLOCK:
        return _caution("landlock", "filter", f"ABI {abi}", features.OLD_LANDLOCK)
    return _passed("landlock", "filter", f"ABI {abi}")


def _cgroup(seen: Survey) -> Check:
    layout = seen.layout
    if layout.version == 1:
        if set(cgroups.REQUIRED_V1) <= seen.legacy.keys():
            return _passed("cgroup", "limits", f"version 1 as root: {', '.join(sorted(seen.legacy))}")
    else:
        place = _place(seen)
        if place is not None:
            where = place.directory or "a transient systemd scope for each launcher"
            return _passed("cgroup", "limits", f"version 2 ({place.kind}): {where}")
    words = features.cgroup(layout, seen.places, seen.legacy, systemd=seen.systemd)
    return _failed("cgroup", "limits", f"version {layout.version or 'unknown'}, nothing delegated", words)


def _place(seen: Survey) -> cgroups.Place | None:
    return next((place for place in seen.places if place.is_enough), None)


def _controllers(seen: Survey) -> Check:
    """The optional ones: a profile that asks for them is refused where they are missing."""
    place = _place(seen)
    if seen.layout.version == 1:
        wanted, have = set(cgroups.OPTIONAL_V1), set(seen.legacy)
    else:
        wanted, have = set(cgroups.OPTIONAL), set(place.controllers if place else ())
    missing = sorted(wanted - have)
    if missing:
        words = (
            "limits of CPU bandwidth (cpu), CPU sets (cpuset) or disk bandwidth (io) that need them are refused",
            _controllers_remedy(seen, usable=bool(have)),
        )
        return _caution("controllers", "limits", f"missing: {', '.join(missing)}", words)
    return _passed("controllers", "limits", ", ".join(sorted(have & wanted)))


def _controllers_remedy(seen: Survey, *, usable: bool) -> str:
    if not usable:
        return "cure the check `cgroup` first"
    return features.delegate_all() if seen.layout.version == 2 else "mount these v1 hierarchies below /sys/fs/cgroup"


def _swap(seen: Survey) -> Check:
    if not seen.swaps:
        return _passed("swap", "limits", "none in use")
    if not seen.swap_accounted:
        words = ("runs are refused, because swap would extend their memory limit", "sudo swapoff -a, or boot with swapaccount=1")
        return _failed("swap", "limits", f"{', '.join(seen.swaps)}, not accounted to control groups", words)
    return _passed("swap", "limits", f"{', '.join(seen.swaps)}, switched off for every run")


def _rlimits(seen: Survey) -> Check:
    low = []
    if 0 <= seen.open_files < features.OPEN_FILES:
        low.append(f"{seen.open_files} open files")
    if 0 <= seen.processes < features.PROCESSES:
        low.append(f"{seen.processes} processes")
    if low:
        remedy = f"ulimit -n {features.OPEN_FILES} -u {features.PROCESSES} before the caller starts (LimitNOFILE=, LimitNPROC=)"
        return _caution("rlimits", "limits", ", ".join(low), ("few runs at once fail with EMFILE or EAGAIN", remedy))
    return _passed("rlimits", "limits", "enough descriptors and processes")


def _oom_score(seen: Survey) -> Check:
    if seen.oom_score_adj < 0:
        return _caution("oom_score_adj", "limits", str(seen.oom_score_adj), features.OOM_SCORE)
    return _passed("oom_score_adj", "limits", str(seen.oom_score_adj))


def _smt(seen: Survey) -> Check:
    if seen.smt:
        return _caution("smt", "exposure", f"active on {seen.cpus} CPUs", features.SMT)
    return _passed("smt", "exposure", f"not active; {seen.cpus} CPUs usable")


def _core_pattern(seen: Survey) -> Check:
    pattern = seen.sysctls.get("kernel.core_pattern", "")
    if pattern.startswith(("|", "@")):
        return _caution("core_pattern", "exposure", pattern.split(" ")[0], features.CORE_PATTERN)
    return _passed("core_pattern", "exposure", f"no program is started for dumps ({pattern or 'empty'})")


def _yama(seen: Survey) -> Check:
    scope = seen.sysctls.get("kernel.yama.ptrace_scope")
    if scope is None or scope == "0":
        remedy = features.YAMA[1] if scope else "boot a kernel with CONFIG_SECURITY_YAMA=y and yama in lsm="
        found = "ptrace_scope 0" if scope else "not in this kernel"
        return _caution("yama", "exposure", found, (features.YAMA[0], remedy))
    return _passed("yama", "exposure", f"ptrace_scope {scope}")


def _io_uring(seen: Survey) -> Check:
    value = seen.sysctls.get("kernel.io_uring_disabled")
    if value == "0":
        return _caution("io_uring", "exposure", "on for everybody", features.IO_URING)
    return _passed("io_uring", "exposure", "not in this kernel's settings" if value is None else f"io_uring_disabled {value}")


CHECKS: tuple[Callable[[Survey], Check], ...] = (
    _python,
    _machine,
    _kernel,
    _userns,
    _namespaces,
    _procfs,
    _mounts,
    _overlay,
    _ids,
    _caller,
    _seccomp,
    _libseccomp,
    _landlock,
    _cgroup,
    _controllers,
    _swap,
    _rlimits,
    _oom_score,
    _smt,
    _core_pattern,
    _yama,
    _io_uring,
)
