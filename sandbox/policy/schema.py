"""The profile file as a strict schema. Every key is optional: what a file does not say comes from what it extends.

Values keep the form of the file (lists, numbers, text with units already turned into numbers); `resolve` makes the
`Policy`. Unknown keys, wrong types, bad units and impossible values are refused here.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

from sandbox.policy import paths, units

NAME = r"[a-z0-9][a-z0-9_-]{0,63}"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_Size = Annotated[int, BeforeValidator(units.size)]
_Duration = Annotated[int, BeforeValidator(units.duration)]
_Count = Annotated[int, BeforeValidator(units.count)]
_Cpus = Annotated[int, BeforeValidator(units.cpus)]


def _absolute(value: object) -> object:
    if not isinstance(value, str) or not value.startswith("/"):
        raise ValueError(f"expected an absolute path, not {value!r}")
    if not paths.is_clean(value):
        raise ValueError(f"expected a clean absolute path without '.', '..' and double slashes, not {value!r}")
    return value


def _variable(value: object) -> object:
    if not isinstance(value, str) or not _VARIABLE.fullmatch(value):
        raise ValueError(f"expected the name of a variable (letters, digits, '_'), not {value!r}")
    return value


def _always(value: object) -> object:
    if value is not True:
        raise ValueError("is new for every run and cannot be shared: say true, or leave the key out")
    return value


def _number(first: int, last: int, form: str = "d") -> Callable[[object], object]:
    def check(value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int) or not first <= value <= last:
            raise ValueError(f"expected a whole number from {first:{form}} to {last:{form}}, not {value!r}")
        return value

    return check


def _interpreter(value: object) -> object:
    return value if value == "" else _absolute(value)


def _module(value: object) -> object:
    if not isinstance(value, str) or not all(part.isidentifier() for part in value.split(".")):
        raise ValueError(f"expected the name of a module such as numpy or package.module, not {value!r}")
    return value


_Path = Annotated[str, BeforeValidator(_absolute)]
_Variable = Annotated[str, BeforeValidator(_variable)]
_Always = Annotated[Literal[True], BeforeValidator(_always)]
_Id = Annotated[int, BeforeValidator(_number(1, units.MAX_ID))]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class IdentitySection(_Section):
    """Who the payload is."""

    uid: _Id | None = None
    gid: _Id | None = None
    hostname: Annotated[str, BeforeValidator(units.host_name)] | None = None
    id_map: Literal["auto", "single", "ranges"] | None = None


class NamespacesSection(_Section):
    """User, mount, pid, net, ipc, uts and cgroup are always new, and may be said so; only time is a choice."""

    user: _Always | None = None
    mount: _Always | None = None
    pid: _Always | None = None
    net: _Always | None = None
    ipc: _Always | None = None
    uts: _Always | None = None
    cgroup: _Always | None = None
    time: bool | None = None


class RootSection(_Section):
    """The root of the file system."""

    kind: Literal["selected", "directory"] | None = None
    source: _Path | None = None
    writable: bool | None = None


class MountSection(_Section):
    """One file or directory of the host inside. `target` is `source` when it is not said."""

    source: _Path
    target: _Path | None = None
    writable: bool = False
    executable: bool = True
    requirement: Literal["required", "if_present"] = "required"
    why: str = ""


class ScratchSection(_Section):
    """Private writable places."""

    tmp: bool | None = None
    shm: bool | None = None
    executable: bool | None = None


class WorkSection(_Section):
    """The work directory."""

    path: _Path | None = None
    executable: bool | None = None
    follow_symlinks: bool | None = None


class DevSection(_Section):
    """Device nodes in /dev."""

    devices: list[Literal["null", "zero", "full", "random", "urandom"]] | None = None


class PathsSection(_Section):
    """Covered and read-only paths. `masked` and `readonly` add to what is extended, `unmasked` takes away."""

    proc: Literal["full", "pids"] | None = None
    masked: list[_Path] | None = None
    readonly: list[_Path] | None = None
    unmasked: list[_Path] | None = None


class CapabilitiesSection(_Section):
    """Capabilities that the payload keeps, inside its own user namespace."""

    keep: list[str] | None = None


class SeccompSection(_Section):
    """System calls. `groups` add to what is extended, `without` takes groups away."""

    groups: list[str] | None = None
    without: list[str] | None = None
    rules: list[dict[str, Any]] | None = None
    socket_families: list[str] | None = None
    default_errno: str | None = None
    oci: str | None = None


class LandlockSection(_Section):
    """The second net under the mounts."""

    requirement: Literal["required", "if_present"] | None = None


class LimitsSection(_Section):
    """What one run may use."""

    cpu: _Duration | None = None
    wall: _Duration | None = None
    idle: _Duration | None = None
    memory: _Size | None = None
    pids: _Count | None = None
    cpu_quota: _Cpus | None = None
    output: _Size | None = None
    scratch: _Size | None = None
    scratch_inodes: _Count | None = None
    file_size: _Size | None = None
    open_files: _Count | None = None
    stack: _Size | None = None
    collect: _Size | None = None
    collect_files: _Count | None = None


class CgroupSection(_Section):
    """Control groups."""

    requirement: Literal["required", "best_effort"] | None = None
    cpus: list[Annotated[int, BeforeValidator(_number(0, 4095))]] | None = None
    io_per_second: _Size | None = None


class NetworkSection(_Section):
    """The sandbox's own network namespace: its loopback is down ("none") or up ("loopback")."""

    mode: Literal["none", "loopback"] | None = None


class EnvironmentSection(_Section):
    """`set` gives values, `inherit` names what is copied from the caller."""

    set: dict[_Variable, str] | None = None
    inherit: list[_Variable] | None = None


class ProcessSection(_Section):
    """The payload's start."""

    cwd: _Path | None = None
    umask: Annotated[int, BeforeValidator(_number(0, 0o777, "#o"))] | None = None


class WarmSection(_Section):
    """Python runs as forks of an interpreter that has its modules loaded."""

    interpreter: Annotated[str, BeforeValidator(_interpreter)] | None = None
    preload: list[Annotated[str, BeforeValidator(_module)]] | None = None


class ProfileFile(_Section):
    """A whole profile file. `why` gives the reason for each setting that is weaker than the hardened defaults."""

    description: str = ""
    extends: str | None = None
    identity: IdentitySection = IdentitySection()
    namespaces: NamespacesSection = NamespacesSection()
    rootfs: RootSection = RootSection()
    mounts: list[MountSection] = []
    scratch: ScratchSection = ScratchSection()
    work: WorkSection = WorkSection()
    dev: DevSection = DevSection()
    paths: PathsSection = PathsSection()
    capabilities: CapabilitiesSection = CapabilitiesSection()
    seccomp: SeccompSection = SeccompSection()
    landlock: LandlockSection = LandlockSection()
    limits: LimitsSection = LimitsSection()
    cgroup: CgroupSection = CgroupSection()
    network: NetworkSection = NetworkSection()
    environment: EnvironmentSection = EnvironmentSection()
    process: ProcessSection = ProcessSection()
    warm: WarmSection = WarmSection()
    why: dict[str, str] = {}


@functools.cache
def every_key() -> tuple[str, ...]:
    """The keys of all sections, such as "limits.memory"."""
    found = []
    for section, field in ProfileFile.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found += [f"{section}.{name}" for name in kind.model_fields]
    return tuple(found)
