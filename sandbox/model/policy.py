"""`Policy`: a profile after `extends` and overrides are resolved. Absolute, in integers, nothing left open.

It does not depend on the host: two hosts resolve the same profile to the same Policy. What the host offers enters
when the planner turns it into a `Plan`.
"""

from __future__ import annotations

from collections.abc import Mapping

from sandbox.model.data import KW_ONLY, dataclass, field
from sandbox.model.limits import Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    Action: TypeAlias = Literal["allow", "errno", "kill", "log", "notify"]
    Requirement: TypeAlias = Literal["required", "if_present"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who the payload is inside. `uid` and `gid` are never 0.

    `id_map`: "single" maps only the caller's own ids; "ranges" gives every sandbox a host uid of its own (through
    newuidmap and /etc/subuid, or by root); "auto" takes ranges where the host offers them, else single.
    """

    uid: int
    gid: int
    hostname: str
    id_map: Literal["auto", "single", "ranges"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespaces:
    """User, mount, pid, net, ipc, uts and cgroup namespaces are always new; the time namespace is optional."""

    time: bool


@dataclass(frozen=True, slots=True)
class Mount:
    """One host file or directory made visible inside: `Mount("/srv/data")`, `Mount("/srv/data", "/data", executable=False)`.

    Attributes:
        source: absolute host path.
        target: absolute path inside; the same place as the source when it is not said.
        writable: False mounts it read-only, with everything mounted below it.
        executable: False adds noexec.
        requirement: "required" refuses the launch when the source is missing, "if_present" leaves the mount out.
        why: the reason, for `explain`.
    """

    source: str
    target: str = ""
    _: KW_ONLY
    writable: bool = False
    executable: bool = True
    requirement: Requirement = "required"
    why: str = ""

    def __post_init__(self) -> None:
        if not self.target:
            object.__setattr__(self, "target", self.source)


@dataclass(frozen=True, slots=True, kw_only=True)
class RootFS:
    """The root of the file system.

    `kind` "selected": an empty root in which `mounts` are placed. "directory": the host directory `source` is the root.
    `writable`: a private overlay takes all writes and is thrown away after the run; False is read-only.
    """

    kind: Literal["selected", "directory"]
    source: str
    writable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Scratch:
    """Private writable tmpfs places; their size is `limits.scratch_bytes` / `scratch_inodes` altogether."""

    tmp: bool
    shm: bool
    executable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The work directory: where `files=` are put in and `collect=` takes out; empty at the start of every run."""

    path: str
    executable: bool
    follow_symlinks: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgCondition:
    """One condition on a syscall argument. With "masked_eq" it is (argument & mask) == value."""

    index: int
    op: Literal["eq", "ne", "lt", "le", "gt", "ge", "masked_eq"]
    value: int
    mask: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SeccompRule:
    """What happens on some syscalls when all `args` conditions hold. A more specific layer comes later and wins.

    Attributes:
        syscalls: names.
        action: allow; errno (answer `errno`); kill (end the whole sandbox, outcome denied_syscall); log (allow and
            let the kernel audit it); notify (deny with EPERM and record it in the evidence).
        errno: the number for "errno", else 0.
        args: conditions, all of which must hold.
        group: the named group it came from, "" for a rule written in the profile.
        why: the reason.
    """

    syscalls: tuple[str, ...]
    action: Action
    errno: int
    args: tuple[ArgCondition, ...]
    group: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SeccompPolicy:
    """The filter as rules, before it is compiled for an architecture.

    `default_errno` answers every call that no rule names (ENOSYS in all shipped profiles). `socket_families` are the
    names allowed as first argument of socket and socketpair, such as "AF_UNIX".
    """

    default_errno: int
    rules: tuple[SeccompRule, ...]
    socket_families: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """`values` are set; the names in `inherit` are copied from the caller when it has them."""

    values: tuple[tuple[str, str], ...]
    inherit: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupPolicy:
    """`requirement` "required": no run without controllers. "best_effort": weaker stand-ins, listed in `degraded`.

    `cpus` are the CPU numbers of the cpuset (empty: all); `io_bytes_per_second` 0 means no io limit.
    """

    requirement: Literal["required", "best_effort"]
    cpus: tuple[int, ...]
    io_bytes_per_second: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Warm:
    """Python runs as forks of an interpreter that is up already.

    Attributes:
        interpreter: its absolute path inside; "" for none, every program is executed.
        preload: modules that it has imported before the first run.
    """

    interpreter: str
    preload: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a part of the policy was said: a file and line, or "<override>" for what the caller said."""

    file: str
    line: int


COLD = Warm(interpreter="", preload=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Everything that is enforced on one run, host-independent and complete.

    `exceptions` are reasons by key; `origins` say where each key was said, a mount as "mounts[/target]".
    """

    name: str
    description: str
    identity: Identity
    namespaces: Namespaces
    rootfs: RootFS
    mounts: tuple[Mount, ...]
    scratch: Scratch
    work: Work
    devices: tuple[str, ...]
    proc: Literal["full", "pids"]
    masked_paths: tuple[str, ...]
    readonly_paths: tuple[str, ...]
    capabilities: tuple[str, ...]
    seccomp: SeccompPolicy
    landlock: Requirement
    limits: Limits
    cgroup: CgroupPolicy
    network: Literal["none", "loopback"]
    environment: Environment
    cwd: str
    umask: int
    warm: Warm = COLD
    exceptions: tuple[tuple[str, str], ...] = ()
    origins: Mapping[str, Origin] = field(default_factory=dict, compare=False, hash=False)
