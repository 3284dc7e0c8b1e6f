"""Run untrusted programs on Linux, rootless and fail closed. See README.md and SECURITY.md.

Importing this package loads nothing else: every public name is found when it is first used (PEP 562).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sandbox.api import AsyncRun, AsyncSandbox, Chunk, MapItem, Request, Run, RunOptions, Sandbox, arun, run
    from sandbox.model.errors import (
        CapacityError,
        CgroupError,
        CommandNotFound,
        LauncherDied,
        LaunchError,
        NotExecutable,
        PolicyError,
        ProfileError,
        ProtocolError,
        RequestError,
        ResourceError,
        SandboxError,
        ScratchError,
        UnsupportedHostError,
    )
    from sandbox.model.policy import Mount
    from sandbox.model.result import Degraded, Evidence, Exited, Outcome, RunResult, Signaled, Timings, Usage
    from sandbox.policy.profile import Profile

__version__ = "0.1.0"

_HOMES = {
    "sandbox.api": "AsyncRun AsyncSandbox Chunk MapItem Request Run RunOptions Sandbox arun run",
    "sandbox.model.errors": (
        "CapacityError CgroupError CommandNotFound LaunchError LauncherDied NotExecutable PolicyError ProfileError"
        " ProtocolError RequestError ResourceError SandboxError ScratchError UnsupportedHostError"
    ),
    "sandbox.model.policy": "Mount",
    "sandbox.model.result": "Degraded Evidence Exited Outcome RunResult Signaled Timings Usage",
    "sandbox.policy.profile": "Profile",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "AsyncRun",
    "AsyncSandbox",
    "CapacityError",
    "CgroupError",
    "Chunk",
    "CommandNotFound",
    "Degraded",
    "Evidence",
    "Exited",
    "LaunchError",
    "LauncherDied",
    "MapItem",
    "Mount",
    "NotExecutable",
    "Outcome",
    "PolicyError",
    "Profile",
    "ProfileError",
    "ProtocolError",
    "Request",
    "RequestError",
    "ResourceError",
    "Run",
    "RunOptions",
    "RunResult",
    "Sandbox",
    "SandboxError",
    "ScratchError",
    "Signaled",
    "Timings",
    "UnsupportedHostError",
    "Usage",
    "__version__",
    "arun",
    "run",
]


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value: object = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
