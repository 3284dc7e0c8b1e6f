"""Where control groups are on this host and what of them is ours. Only looks; `sandbox.resources` makes the groups.

Source: Documentation/admin-guide/cgroup-v2.rst (delegation), cgroups(7), proc_pid_mountinfo(5), systemd's
CGROUP_DELEGATION.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from sandbox.model.data import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    Kind: TypeAlias = Literal["given", "empty", "own", "scope", "foreign"]

ENVIRONMENT = "SANDBOX_CGROUP"
REQUIRED = ("memory", "pids")
OPTIONAL = ("cpu", "cpuset", "io")
REQUIRED_V1 = ("memory", "pids", "cpuacct")
OPTIONAL_V1 = ("cpu", "cpuset", "blkio")

_SYSTEMD_RUNS = "/run/systemd/system"
_ASK_SECONDS = 10.0
_TOOLS = ("/usr/bin", "/bin", "/usr/local/bin")
_UNIT_SUFFIXES = (".service", ".scope", ".slice", ".socket", ".mount", ".swap")
_ESCAPED = {"\\040": " ", "\\011": "\t", "\\012": "\n", "\\043": "#", "\\134": "\\"}  # the backslash last


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One mounted hierarchy.

    Attributes:
        controllers: names; empty for the unified hierarchy (each of its groups has its own list) and for named ones.
        mount: its mount point.
        root: the group that is mounted there, as seen from our cgroup namespace.
        own: absolute directory of this process's group; "" where it lies outside of what is mounted.
    """

    controllers: frozenset[str]
    mount: str
    root: str
    own: str


@dataclass(frozen=True, slots=True)
class Layout:
    """All hierarchies. `version` is 2 where the unified one has the memory controller, 1 where others have it, else 0."""

    version: int
    unified: Hierarchy | None
    legacy: tuple[Hierarchy, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """One way to get groups of version 2.

    Attributes:
        kind: "given" (by SANDBOX_CGROUP), "empty" (a group of ours without processes), "own" (our own group: its
            processes must be moved down first), "scope" (from systemd, for each launcher), "foreign" (like "own", but
            systemd has not said that it is ours; the last resort).
        directory: absolute; "" for a scope.
        controllers: what can be enabled there.
        prefix: for a scope: the words before the launcher's command.
    """

    kind: Kind
    directory: str
    controllers: frozenset[str]
    prefix: tuple[str, ...] = ()

    @property
    def is_enough(self) -> bool:
        """Whether memory and pids can be limited there."""
        return self.controllers >= set(REQUIRED)


def layout() -> Layout:
    """Read /proc/self/mountinfo and /proc/self/cgroup."""
    return parse_layout(_read("/proc/self/mountinfo"), _read("/proc/self/cgroup"))


def parse_layout(mountinfo: str, own: str) -> Layout:
    """The layout told by these two files. Of several mounts of one hierarchy the first that shows our group is taken."""
    paths = _own_paths(own)
    unified: Hierarchy | None = None
    legacy: dict[frozenset[str], Hierarchy] = {}
    for line in mountinfo.splitlines():
        before, separator, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if not separator or len(fields) < 6 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        root, mount = _unescape(fields[3]), _unescape(fields[4])
        if kind[0] == "cgroup2":
            found = Hierarchy(frozenset(), mount, root, _below(mount, root, paths.get(frozenset(), "")))
            if unified is None or (not unified.own and found.own):
                unified = found
            continue
        options = set(kind[2].split(","))
        for names, path in paths.items():
            if names and names <= options:
                found = Hierarchy(names, mount, root, _below(mount, root, path))
                if names not in legacy or (not legacy[names].own and found.own):
                    legacy[names] = found
    groups = tuple(legacy.values())
    version = 0
    if unified is not None and "memory" in _words(f"{unified.mount}/cgroup.controllers"):
        version = 2
    elif any("memory" in group.controllers for group in groups):
        version = 1
    elif unified is not None and not groups:
        version = 2
    return Layout(version, unified, groups)


def _own_paths(text: str) -> dict[frozenset[str], str]:
    """Path of our group by the controllers of its hierarchy; no controllers for the unified one."""
    out = {}
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        names, separator, path = rest.partition(":")
        if not separator or names.startswith("name="):
            continue
        if names or number == "0":
            out[frozenset(names.split(",")) if names else frozenset()] = path
    return out


def _below(mount: str, root: str, path: str) -> str:
    """Directory of the group `path` where `root` is mounted on `mount`; "" when it is not below it."""
    if not path.startswith("/") or ".." in path.split("/"):
        return ""
    if root == "/":
        rest = path
    elif path == root or path.startswith(root + "/"):
        rest = path[len(root) :]
    else:
        return ""
    return (mount + rest).rstrip("/")


def group_of(pid: int) -> str:
    """Directory of a process's group of version 2; "" when it is gone or not visible."""
    unified = layout().unified
    path = _own_paths(_read(f"/proc/{pid}/cgroup")).get(frozenset(), "")
    return _below(unified.mount, unified.root, path) if unified and path else ""


def places(found: Layout, *, spawn_scope: bool = True) -> Iterator[Place]:
    """Ways to get groups of version 2, best first; lazily, as a caller mostly stops at the first."""
    given = os.environ.get(ENVIRONMENT, "")
    if given:
        if os.path.isabs(given):
            directory = os.path.realpath(given)
            yield Place("given", directory, _words(f"{directory}/cgroup.controllers"))
        return
    if found.unified is None:
        return
    ours, foreign = _delegated(found.unified)
    yield from sorted(ours, key=lambda place: place.kind != "empty")
    if spawn_scope and (scope := _scope(found.unified)):
        yield scope
    yield from foreign


def _delegated(unified: Hierarchy) -> tuple[list[Place], list[Place]]:
    """Groups from our own upwards that we may use: (surely ours, perhaps systemd's)."""
    systemd = systemd_runs()
    ours: list[Place] = []
    directory = unified.own
    while directory and may_manage(directory):
        unit = directory.endswith(_UNIT_SUFFIXES)
        kind: Kind = "own" if has_processes(directory) else "empty"
        if directory == unified.own or kind == "empty":
            ours.append(Place(kind, directory, _words(f"{directory}/cgroup.controllers")))
        if unit or directory == unified.mount:
            if not systemd or not unit or is_delegated_unit(directory):
                return ours, []
            # Groups below a unit that was not delegated are systemd's, whoever may write there.
            return [], [Place("foreign", place.directory, place.controllers) for place in ours if place.kind == "own"]
        directory = os.path.dirname(directory)
    return ours, []


def may_manage(directory: str) -> bool:
    """Whether this process may make groups in `directory`, enable controllers there and move processes within."""
    if _read(f"{directory}/cgroup.type").strip() not in ("", "domain"):  # threaded groups have no memory controller
        return False
    files = ("", "/cgroup.procs", "/cgroup.subtree_control")
    return all(os.access(directory + name, os.W_OK, effective_ids=True) for name in files)


def has_processes(directory: str) -> bool:
    """Whether processes are directly in the group. The root of all groups may have some and controllers too."""
    if not os.path.exists(f"{directory}/cgroup.type"):
        return False
    return bool(_read(f"{directory}/cgroup.procs").strip())


def is_delegated_unit(directory: str) -> bool:
    """Whether systemd has given the group away (Delegate=yes; CGROUP_DELEGATION.md).

    The system's manager marks such groups. A user's manager of older versions does not, so it is asked.
    """
    for name in ("user.delegate", "trusted.delegate"):
        try:
            if os.getxattr(directory, name) == b"1":
                return True
        except OSError:
            continue
    ask = _tool("systemctl")
    if ask is None or os.geteuid() == 0 or f"/user@{os.geteuid()}.service/" not in directory or not has_manager():
        return False
    import subprocess

    command = [ask, "--user", "show", "--property=Delegate", "--value", "--", os.path.basename(directory)]
    environment = {"XDG_RUNTIME_DIR": runtime_directory(), "LC_ALL": "C"}
    try:
        answer = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=_ASK_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.stdout.strip() == b"yes"


def systemd_runs() -> bool:
    """Whether systemd is the init of this host (sd_booted(3))."""
    return os.path.isdir(_SYSTEMD_RUNS)


def runtime_directory() -> str:
    """XDG_RUNTIME_DIR, or the place where it is by convention."""
    return os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"


def has_manager() -> bool:
    """Whether a systemd manager that this user may ask is there."""
    if os.geteuid() == 0:
        return systemd_runs()
    return os.path.exists(f"{runtime_directory()}/systemd/private")


def scope_prefix() -> tuple[str, ...]:
    """The words that start a command in a delegated scope of its own; empty where nobody can give one."""
    run, env = _tool("systemd-run"), _tool("env")
    if run is None or env is None or not has_manager():
        return ()
    options = ("--scope", "-p", "Delegate=yes", "--quiet", "--collect", "--description=sandbox launcher", "--")
    if os.geteuid() == 0:
        return (run, *options)
    # systemd-run finds the manager by this variable only, and services often run without it.
    return (env, f"XDG_RUNTIME_DIR={runtime_directory()}", run, "--user", *options)


def _scope(unified: Hierarchy) -> Place | None:
    prefix = scope_prefix()
    if not prefix:
        return None
    return Place("scope", "", manager_controllers(unified), prefix)


def manager_controllers(unified: Hierarchy) -> frozenset[str]:
    """What the manager can hand on: root's has everything, a user's what the system delegates to it."""
    uid = os.geteuid()
    group = "" if uid == 0 else f"/user.slice/user-{uid}.slice/user@{uid}.service"
    return _words(f"{unified.mount}{group}/cgroup.controllers")


def legacy_places(found: Layout) -> dict[str, str]:
    """Controller → directory of our group, for those of version 1 in which we may make groups."""
    out = {}
    for group in found.legacy:
        if group.own and os.access(group.own, os.W_OK, effective_ids=True):
            out.update(dict.fromkeys(group.controllers, group.own))
    return out


def _tool(name: str) -> str | None:
    """Path of a program of the system."""
    for directory in _TOOLS:
        path = f"{directory}/{name}"
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def _words(path: str) -> frozenset[str]:
    return frozenset(_read(path).split())


def _unescape(text: str) -> str:
    for escape, character in _ESCAPED.items():
        text = text.replace(escape, character)
    return text


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""
