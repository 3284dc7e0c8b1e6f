"""What was really applied, and what only stands in for something stronger. Pure functions of plan and lease."""

from __future__ import annotations

from sandbox.kernel.flags import CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER, CLONE_NEWUTS
from sandbox.model import plan as plans
from sandbox.model.digest import sha256
from sandbox.model.limits import Limits
from sandbox.model.plan import Plan
from sandbox.model.policy import Policy
from sandbox.model.result import Degraded
from sandbox.resources.groups import Base

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NAMES = (
    (CLONE_NEWUSER, "user"),
    (CLONE_NEWNS, "mount"),
    (CLONE_NEWPID, "pid"),
    (CLONE_NEWNET, "net"),
    (CLONE_NEWIPC, "ipc"),
    (CLONE_NEWUTS, "uts"),
)


def enforced(policy: Policy, plan: Plan, base: Base | None) -> dict[str, Any]:
    """The static part of `RunResult.enforced`: the launch has failed if any of it could not be applied.

    `read_back` names what the launcher has asked the kernel for again in every run, before the program was started.
    """
    ids = plan.ids
    landlock = plan.landlock
    namespaces = [name for bit, name in _NAMES if plan.clone_flags & bit] + ["cgroup"]
    return {
        "namespaces": namespaces + (["time"] if plan.time_namespace else []),
        "identity": {
            "uid": ids.uid,
            "gid": ids.gid,
            "id_map": "ranges" if ids.slots else "single",
            "host_uids": list(ids.launcher_uids[-1][1:]) if ids.slots else [ids.launcher_uids[0][1], 1],
            "groups": "kept" if ids.deny_setgroups else "cleared",
        },
        "capabilities": list(policy.capabilities),
        "no_new_privs": True,
        "read_back": ["uid", "gid", "groups", "capabilities", "no_new_privs", "seccomp"],
        "seccomp": {
            "main_sha256": sha256(plan.filters.main).hexdigest(),
            "notify_sha256": sha256(plan.filters.notify).hexdigest() if plan.filters.notify else None,
            "instructions": len(plan.filters.main) // 8,
        },
        "landlock": {
            "abi": landlock.abi,
            "filesystem": bool(landlock.handled_fs),
            "tcp": bool(landlock.handled_net),
            "scoped": bool(landlock.scoped),
        },
        "rootfs": {
            "kind": policy.rootfs.kind,
            "read_only": not plan.overlay,
            "mounts": sum(1 for operation in plan.template if operation.kind == plans.BIND),
            "writable_mounts": [mount.target for mount in policy.mounts if mount.writable],
        },
        "masked_paths": [path.decode("utf-8", "replace") for path in plan.masks],
        "readonly_paths": [path.decode("utf-8", "replace") for path in plan.readonly],
        "network": policy.network,
        "cgroup": {"version": base.version, "controllers": sorted(base.controllers)} if base else None,
    }


def limits_applied(limits: Limits) -> dict[str, int]:
    """The limits of one run by name."""
    return {name: getattr(limits, name) for name in Limits.__slots__}


def degraded(policy: Policy, base: Base | None) -> tuple[Degraded, ...]:
    """The controls that are weaker than the profile asks for."""
    if base is None:
        weaker = [
            Degraded(
                "memory",
                "RLIMIT_DATA and sampling every 20 ms; memfd_create, shmget, msgget and semget are refused",
                "the total can pass the limit for a moment; kernel memory and files in private places are not counted",
            ),
            Degraded("pids", "RLIMIT_NPROC and sampling", "counted for the user namespace, not for a control group"),
            Degraded(
                "cpu_time", "sampling every 20 ms and RLIMIT_CPU", "processes that live shorter than a sample may be missed"
            ),
        ]
        if policy.limits.cpu_quota_millicpus:
            weaker.append(Degraded("cpu_quota", "nothing", "a run may use every CPU of the host"))
        if policy.cgroup.cpus:
            weaker.append(Degraded("cpuset", "nothing", "a run may use every CPU of the host"))
        if policy.cgroup.io_bytes_per_second:
            weaker.append(Degraded("io", "nothing", "disk bandwidth is not limited"))
        return tuple(weaker)
    missing = []
    if policy.limits.cpu_quota_millicpus and "cpu" not in base.controllers:
        missing.append(Degraded("cpu_quota", "nothing", "the cpu controller is not delegated: a run may use every CPU"))
    if policy.cgroup.cpus and "cpuset" not in base.controllers:
        missing.append(Degraded("cpuset", "nothing", "the cpuset controller is not delegated: a run may use every CPU"))
    if policy.cgroup.io_bytes_per_second and not {"io", "blkio"} & base.controllers:
        missing.append(Degraded("io", "nothing", "the io controller is not delegated: disk bandwidth is not limited"))
    return tuple(missing)
