"""The local API over HTTP: `Sandbox("http://…", token=…)` and `AsyncSandbox`, with the same results and errors.

Needs httpx, and websockets for runs with a terminal, callbacks or a stream as standard input: the extra `client`.
"""

from __future__ import annotations

try:
    from sandbox.client.asynchronous import AsyncRun, AsyncSandbox
    from sandbox.client.blocking import Run, Sandbox
except ModuleNotFoundError as error:
    if error.name != "httpx":
        raise
    raise ModuleNotFoundError("sandbox.client needs httpx; install sandbox[client]", name="httpx") from None
from sandbox.client.errors import (
    AccessDenied,
    BadAnswer,
    RemoteCapacityError,
    RemoteCommandNotFound,
    RemoteError,
    RemoteHostError,
    RemoteLauncherDied,
    RemoteLaunchError,
    RemoteNotExecutable,
    RemotePolicyError,
    RemoteProblemError,
    RemoteProfileError,
    RemoteRequestError,
    RemoteResourceError,
    Unreachable,
)
from sandbox.client.results import Answer, Language, Stage
from sandbox.client.retries import Retries

__all__ = [
    "AccessDenied",
    "Answer",
    "AsyncRun",
    "AsyncSandbox",
    "BadAnswer",
    "Language",
    "RemoteCapacityError",
    "RemoteCommandNotFound",
    "RemoteError",
    "RemoteHostError",
    "RemoteLaunchError",
    "RemoteLauncherDied",
    "RemoteNotExecutable",
    "RemotePolicyError",
    "RemoteProblemError",
    "RemoteProfileError",
    "RemoteRequestError",
    "RemoteResourceError",
    "Retries",
    "Run",
    "Sandbox",
    "Stage",
    "Unreachable",
]
