"""Policy + host facts → `Plan`. The only place that knows both; the launcher executes what comes out.

Reads the host's file system (which sources exist, what is a link) but changes nothing.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence

from sandbox.host.facts import HostFacts
from sandbox.kernel.flags import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
)
from sandbox.model.errors import UnsupportedHostError
from sandbox.model.plan import COLD, Filters, Plan, Warm
from sandbox.model.policy import Policy
from sandbox.policy import capabilities, idmaps, landlock, rootfs
from sandbox.policy.origins import OVERRIDE, place
from sandbox.policy.rootfs import HARD, NOEXEC, NOSYMFOLLOW

_RUN_NAMESPACES = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET
_MEMLOCK_BYTES = 64 * 1024
_SIGNALS = 512


def build_plan(policy: Policy, facts: HostFacts, filters: Filters) -> Plan:
    """The plan of `policy` on this host.

    Raises ProfileError (RequestError for a mount that the caller granted) when a required source is missing or a target
    cannot be made, UnsupportedHostError when the host lacks what the policy requires.
    """
    _check_cpus(policy, facts)
    root = rootfs.build(policy)
    scratch = 0 if policy.scratch.executable else NOEXEC
    work = (0 if policy.work.executable else NOEXEC) | (0 if policy.work.follow_symlinks else NOSYMFOLLOW)
    return Plan(
        name=policy.name,
        ids=idmaps.choose(policy.identity, facts, as_caller=idmaps.needs_caller(_sources(policy, root), facts.uid)),
        template=root.operations,
        overlay=root.overlay,
        carried=root.carried,
        tmp=policy.scratch.tmp,
        shm=policy.scratch.shm,
        scratch_attrs=HARD | scratch,
        work=os.fsencode(policy.work.path),
        work_attrs=HARD | work,
        proc_pids=policy.proc == "pids",
        masks=tuple(os.fsencode(path) for path in policy.masked_paths),
        readonly=tuple(os.fsencode(path) for path in policy.readonly_paths),
        hostname=policy.identity.hostname.encode(),
        clone_flags=_RUN_NAMESPACES,
        time_namespace=policy.namespaces.time,
        loopback_up=policy.network == "loopback",
        capabilities=tuple(capabilities.number(name) for name in policy.capabilities),
        filters=filters,
        landlock=landlock.ruleset(policy, root, facts),
        rlimits=_rlimits(policy),
        cwd=os.fsencode(policy.cwd),
        umask=policy.umask,
        warm=_warm(policy),
    )


def _warm(policy: Policy) -> Warm:
    if not policy.warm.interpreter:
        return COLD
    return Warm(
        interpreter=os.fsencode(policy.warm.interpreter),
        preload=policy.warm.preload,
        environment=tuple(os.fsencode(f"{name}={value}") for name, value in policy.environment.values),
    )


def _sources(policy: Policy, root: rootfs.Root) -> list[tuple[str, bool]]:
    """(source, writable) of all that is seen of the host."""
    sources = [(place.source, place.writable) for place in root.places]
    return [*sources, (policy.rootfs.source, True)] if root.overlay else sources


def _check_cpus(policy: Policy, facts: HostFacts) -> None:
    missing = sorted(set(policy.cgroup.cpus) - set(facts.cpus))
    if missing and facts.cpus:
        said = place(policy, "cgroup.cpus")
        who = "the caller" if said == OVERRIDE.file else f"the profile ({said})" if said else "the profile"
        raise UnsupportedHostError(
            "cgroup.cpus",
            f"{who} asks for CPU {', '.join(map(str, missing))}, this host has {cpu_text(facts.cpus)}",
            "name CPUs of this host in cgroup.cpus, or none",
        )


def cpu_text(numbers: Sequence[int]) -> str:
    """Numbers of CPUs as the kernel writes them: "0-3,8"."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _rlimits(policy: Policy) -> tuple[tuple[int, int, int], ...]:
    """Fixed rlimits of every run, never above what this process has itself (setrlimit(2))."""
    limits = policy.limits
    wanted = {
        resource.RLIMIT_FSIZE: limits.file_bytes,
        resource.RLIMIT_STACK: limits.stack_bytes,
        # 1, not 0: a piped core_pattern ignores 0 but not 1 (core(5))
        resource.RLIMIT_CORE: 1,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_MEMLOCK: _MEMLOCK_BYTES,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_SIGPENDING: _SIGNALS,  # timers too; the kernel counts them for the host's user
        resource.RLIMIT_NICE: 0,
        resource.RLIMIT_RTPRIO: 0,
    }
    out = []
    for number, value in wanted.items():
        hard = resource.getrlimit(number)[1]
        capped = value if hard == resource.RLIM_INFINITY else min(value, hard)
        out.append((number, capped, capped))
    return tuple(out)
