"""The effective policy in plain words, each part with the file and line that it came from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sandbox.model.policy import Mount, Policy
from sandbox.policy.profile import Profile
from sandbox.policy.resolve import LIMITS
from sandbox.policy.seccomp.rules import decisions
from sandbox.policy.units import duration_text, size_text

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
    return tuple(
        Row(section, key, text + (f" — {reasons[key]}" if key in reasons else ""), origin(policy, key))
        for section, key, text in rows
    )


def origin(policy: Policy, key: str) -> str:
    """Where a key was said, as file:line; "" when it has no place of its own."""
    found = policy.origins.get(key)
    if found is None:
        return ""
    return f"{found.file}:{found.line}" if found.line else found.file


def limit_text(name: str, value: int) -> str:
    """A limit as it would be written in a file."""
    if name in ("cpu", "wall", "idle"):
        return duration_text(value) if value else "not watched"
    if name == "cpu_quota":
        return f"{value / 1000:g}" if value else "no bound"
    if name in ("pids", "scratch_inodes", "open_files", "collect_files"):
        return str(value)
    return size_text(value)


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
    for number, mount in enumerate(policy.mounts):
        yield "files", f"mounts[{number}]", _mount(mount, granted=mount.target in profile.granted)
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
    groups = dict.fromkeys(rule.group for rule in policy.seccomp.rules if not rule.group.startswith("profile:"))
    allowed = sum(1 for item in table.values() if item.base is None or item.base.action in ("allow", "log"))
    watched = sorted(name for name, item in table.items() if item.base is not None and item.base.action == "notify")
    deadly = sorted(name for name, item in table.items() if item.base is not None and item.base.action == "kill")
    yield (
        "system calls",
        "seccomp.groups",
        f"{allowed} of them, by the groups {', '.join(groups)}; unknown ones do not exist for it",
    )
    if watched:
        yield "system calls", "seccomp.groups", f"refused and recorded: {', '.join(watched)}"
    if deadly:
        yield "system calls", "seccomp.rules", f"end the run at once: {', '.join(deadly)}"
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
    yield "start", "process.cwd", f"starts in {policy.cwd} with umask {policy.umask:03o}"


def to_dict(profile: Profile) -> dict[str, Any]:
    """The JSON form of `explain`."""
    return {
        "name": profile.name,
        "description": profile.policy.description,
        "rows": [row.to_dict() for row in explain(profile)],
    }
