"""The effective policy in plain words, each part with the file and line that it came from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sandbox.model.policy import Mount, Policy
from sandbox.policy.origins import OVERRIDE, place
from sandbox.policy.profile import Profile
from sandbox.policy.resolve import LIMITS
from sandbox.policy.rootfs import etc_files
from sandbox.policy.seccomp.rules import decisions
from sandbox.policy.seccomp.tables import errno_name
from sandbox.policy.units import limit_text, size_text

_MEANING = {
    "cpu": "CPU time of all processes together",
    "wall": "elapsed time",
    "idle": "elapsed time without CPU use",
    "memory": "memory of all processes together, no swap",
    "pids": "processes and threads at one time",
    "cpu_quota": "CPUs used at one time",
    "output": "bytes kept of stdout and of stderr; more ends the run",
    "scratch": "bytes in all private writable places together",
    "scratch_inodes": "files in them",
    "file_size": "bytes of one file",
    "open_files": "open descriptors of one process",
    "stack": "stack of one thread",
    "collect": "bytes of collected files",
    "collect_files": "collected files",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One sentence about the policy: its section, its key in the file, the sentence, where it was said."""

    section: str
    key: str
    text: str
    origin: str

    def to_dict(self) -> dict[str, str]:
        """The JSON form."""
        return {"section": self.section, "key": self.key, "text": self.text, "origin": self.origin}


def explain(profile: Profile) -> tuple[Row, ...]:
    """Every part of the policy, in the order a reader asks: who, what is seen, what may be called, how much."""
    policy = profile.policy
    rows = [*_who(policy), *_sees(profile), *_calls(policy), *_uses(policy)]
    reasons = dict(policy.exceptions)
    found = []
    for section, key, text in rows:
        why = reasons.pop(key, "")  # said once, at the first sentence about it; the reason of the profile is not the caller's
        why = "" if policy.origins.get(key) == OVERRIDE else why
        found.append(Row(section, key, f"{text} — {why}" if why else text, place(policy, key)))
    return tuple(found)


def _who(policy: Policy) -> Iterator[tuple[str, str, str]]:
    who = policy.identity
    ways = {
        "auto": "a host user of its own where the host has ranges for it, else the caller's",
        "single": "the caller's own host user",
        "ranges": "a host user of its own for every run",
    }
    yield "identity", "identity.uid", f"runs as user {who.uid}, group {who.gid}, without any right of root"
    yield "identity", "identity.id_map", f"on the host this is {ways[who.id_map]}, never root"
    yield "identity", "identity.hostname", f"the host name is {who.hostname!r}"
    kept = ", ".join(policy.capabilities)
    yield "identity", "capabilities.keep", f"keeps the capabilities {kept}" if kept else "has no capability and can gain none"
    extra = " and time" if policy.namespaces.time else ""
    yield "namespaces", "namespaces.time", f"own user, mount, pid, net, ipc, uts and cgroup{extra} namespaces"
    reach = {"none": "reaches no network, its loopback is down", "loopback": "reaches only its own loopback"}
    yield "network", "network.mode", reach[policy.network]


def _sees(profile: Profile) -> Iterator[tuple[str, str, str]]:
    policy = profile.policy
    root = policy.rootfs
    if root.kind == "directory":
        how = "with a private overlay that takes all writes" if root.writable else "read-only"
        yield "files", "rootfs.source", f"the root is the directory {root.source}, {how}"
    else:
        yield "files", "rootfs.kind", "the root is empty and read-only but for the mounts below"
    for mount in policy.mounts:
        yield "files", f"mounts[{mount.target}]", _mount(mount, granted=mount.target in profile.granted)
    taken = {mount.target for mount in policy.mounts}
    made = [name for name in etc_files(policy) if f"/etc/{name}" not in taken]
    if root.kind == "selected" and "/etc" not in taken and made:
        yield "files", "rootfs.kind", f"/etc has {', '.join(made)}, made anew: they name the sandbox's own user and host"
    places = [policy.work.path] + (["/tmp"] if policy.scratch.tmp else []) + (["/dev/shm"] if policy.scratch.shm else [])
    yield "files", "work.path", f"may write in {', '.join(places)}: private, empty at the start, thrown away at the end"
    runs = "may" if policy.work.executable else "may not"
    links = "followed" if policy.work.follow_symlinks else "not followed"
    yield "files", "work.executable", f"{runs} execute what it writes in {policy.work.path}; links there are {links}"
    runs = "may" if policy.scratch.executable else "may not"
    yield "files", "scratch.executable", f"{runs} execute what it writes in the other writable places"
    yield "files", "dev.devices", f"/dev has {', '.join(policy.devices) or 'no device'}"
    yield (
        "files",
        "paths.proc",
        f"/proc shows {'processes only' if policy.proc == 'pids' else 'the system'}, and only its own processes",
    )
    yield "files", "paths.masked", f"{len(policy.masked_paths)} paths are covered: {', '.join(policy.masked_paths)}"
    yield "files", "paths.readonly", f"read-only: {', '.join(policy.readonly_paths) or 'nothing more'}"
    yield "files", "landlock.requirement", f"Landlock as a second layer: {policy.landlock.replace('_', ' ')}"


def _mount(mount: Mount, *, granted: bool) -> str:
    source = "" if mount.source == mount.target else f" (the host's {mount.source})"
    rights = ("read and write" if mount.writable else "read") + (" and execute" if mount.executable else "")
    words = f"{rights} {mount.target}{source}"
    if mount.requirement == "if_present":
        words += ", if it is there"
    if granted:
        words += ", granted by the caller"
    return words + (f" — {mount.why}" if mount.why else "")


def _calls(policy: Policy) -> Iterator[tuple[str, str, str]]:
    table = decisions(policy.seccomp)
    groups = dict.fromkeys(rule.group for rule in policy.seccomp.rules if ":" not in rule.group)
    allowed = sum(1 for item in table.values() if item.base is None or item.base.action in ("allow", "log"))
    watched = sorted(name for name, item in table.items() if item.base is not None and item.base.action == "notify")
    deadly = sorted(name for name, item in table.items() if item.base is not None and item.base.action == "kill")
    default = errno_name(policy.seccomp.default_errno)
    rest = "unknown ones do not exist for it" if default == "ENOSYS" else f"all others answer {default}"
    if "seccomp.oci" in policy.origins:
        yield "system calls", "seccomp.oci", f"{allowed} of them, by a Docker or OCI file; {rest}"
    else:
        yield "system calls", "seccomp.groups", f"{allowed} of them, by the groups {', '.join(groups)}; {rest}"
    if watched:
        yield "system calls", "seccomp.groups", f"refused and recorded: {', '.join(watched)}"
    if deadly:
        yield "system calls", "seccomp.rules", f"end the run at once: {', '.join(deadly)}"
    for key in ("seccomp.deny", "seccomp.kill"):
        denied = sorted({name for rule in policy.seccomp.rules if rule.group == f"override:{key}" for name in rule.syscalls})
        if denied:
            yield "system calls", key, f"refused on the caller's word, wholly or in part: {', '.join(denied)}"
    families = ", ".join(policy.seccomp.socket_families)
    yield "system calls", "seccomp.socket_families", f"sockets: {families}" if families else "no sockets"


def _uses(policy: Policy) -> Iterator[tuple[str, str, str]]:
    for name, field in LIMITS.items():
        yield "limits", f"limits.{name}", f"{limit_text(name, getattr(policy.limits, field))}: {_MEANING[name]}"
    if policy.cgroup.cpus:
        yield "limits", "cgroup.cpus", f"only the CPUs {', '.join(map(str, policy.cgroup.cpus))}"
    if policy.cgroup.io_bytes_per_second:
        yield "limits", "cgroup.io_per_second", f"{size_text(policy.cgroup.io_bytes_per_second)} a second from and to each disk"
    needed = "refused" if policy.cgroup.requirement == "required" else "run with weaker stand-ins"
    yield "limits", "cgroup.requirement", f"without control groups a run is {needed}"
    names = ", ".join(name for name, _ in policy.environment.values)
    yield "start", "environment.set", f"environment: {names or 'empty'}"
    if policy.environment.inherit:
        yield "start", "environment.inherit", f"copied from the caller: {', '.join(policy.environment.inherit)}"
    if policy.warm.interpreter:
        loaded = f" with {', '.join(policy.warm.preload)} loaded" if policy.warm.preload else ""
        shared = "they share its address-space layout and its hash seed"
        yield "start", "warm.interpreter", f"Python runs are forks of {policy.warm.interpreter}{loaded}: {shared}"
    yield "start", "process.cwd", f"starts in {policy.cwd} with umask {policy.umask:03o}"


def to_dict(profile: Profile) -> dict[str, Any]:
    """The JSON form of `explain`."""
    return {
        "name": profile.name,
        "description": profile.policy.description,
        "rows": [row.to_dict() for row in explain(profile)],
    }
