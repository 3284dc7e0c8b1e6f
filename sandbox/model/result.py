"""`RunResult` and its parts: what happened, with the evidence for it. Schema: `docs/result.schema.json`."""

from __future__ import annotations

from enum import StrEnum

from sandbox.model.data import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any


class Outcome(StrEnum):
    """Why the run ended. Only `exited` and `signaled` are the payload's own doing."""

    EXITED = "exited"
    SIGNALED = "signaled"
    CPU_TIME = "cpu_time"
    WALL_TIME = "wall_time"
    IDLE_TIME = "idle_time"
    MEMORY = "memory"
    PIDS = "pids"
    OUTPUT = "output"
    DISK = "disk"
    DENIED_SYSCALL = "denied_syscall"
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True)
class Exited:
    """The program returned `code`."""

    code: int

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {"code": self.code}


@dataclass(frozen=True, slots=True)
class Signaled:
    """The program was ended by `signal`."""

    signal: int

    @property
    def name(self) -> str:
        """Such as "SIGSEGV"; "SIG35" for a number without a name."""
        import signal

        try:
            return signal.Signals(self.signal).name
        except ValueError:
            return f"SIG{self.signal}"

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {"signal": self.signal, "name": self.name}


ExitStatus = Exited | Signaled


@dataclass(frozen=True, slots=True)
class Evidence:
    """One fact behind the outcome: who says it (a kernel file, "seccomp", "deadline"…), what, and the value."""

    source: str
    key: str
    value: int | str

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {"source": self.source, "key": self.key, "value": self.value}


@dataclass(frozen=True, slots=True)
class Degraded:
    """One control that is weaker than the profile asks for: which, what stands in, what that cannot do."""

    control: str
    stand_in: str
    consequence: str

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {"control": self.control, "stand_in": self.stand_in, "consequence": self.consequence}


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the run used. `output_bytes` counts all bytes read from stdout and stderr, also those not kept."""

    cpu_user_ns: int
    cpu_system_ns: int
    wall_ns: int
    memory_peak_bytes: int
    pids_peak: int
    output_bytes: int
    throttled_ns: int = 0

    def to_dict(self) -> dict[str, int]:
        """The JSON form."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Where the time went: waiting for a slot, set-up to the payload's exec, the payload, clean-up and collection."""

    queue_ns: int
    setup_ns: int
    run_ns: int
    teardown_ns: int

    def to_dict(self) -> dict[str, int]:
        """The JSON form."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class CollectedFile:
    """A regular file of the work directory. Its content stays hostile: never import, unpickle or execute it."""

    data: bytes
    mode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How one run ended.

    Attributes:
        outcome: why it ended.
        exit: how the main process ended (also present when a limit ended it: then a signal).
        stdout, stderr: the bytes kept; head and tail when `truncated`.
        truncated: names among "stdout", "stderr" of which the middle was dropped.
        files: collected files, relative name to content.
        evidence: the facts behind `outcome`.
        enforced: what was really applied (namespaces, ids, filter hash, controllers, Landlock ABI…).
        degraded: controls weaker than the profile asks for; empty unless the caller allowed it.
        plan_digest: SHA-256 of the plan, hex.
    """

    outcome: Outcome
    exit: ExitStatus
    usage: Usage
    timings: Timings
    stdout: bytes
    stderr: bytes
    truncated: tuple[str, ...]
    files: dict[str, CollectedFile]
    evidence: tuple[Evidence, ...]
    enforced: dict[str, Any]
    degraded: tuple[Degraded, ...]
    plan_digest: str
    refused_files: tuple[tuple[str, str], ...] = field(default=())

    @property
    def ok(self) -> bool:
        """The program ended by itself with exit code 0."""
        return self.outcome is Outcome.EXITED and self.exit == Exited(0)

    def text(self) -> str:
        """stdout as text; bytes that are not UTF-8 become U+FFFD."""
        return self.stdout.decode("utf-8", "replace")

    def to_dict(self) -> dict[str, Any]:
        """The stable JSON form. Text that is not UTF-8 has its exact bytes beside it as `…_base64`, so nothing is lost."""
        import base64

        out: dict[str, Any] = {
            "outcome": self.outcome.value,
            "exit": self.exit.to_dict(),
            "usage": self.usage.to_dict(),
            "timings": self.timings.to_dict(),
        }
        for name in ("stdout", "stderr"):
            raw: bytes = getattr(self, name)
            out[name] = raw.decode("utf-8", "replace")
            try:
                raw.decode("utf-8")
            except UnicodeDecodeError:
                out[f"{name}_base64"] = base64.b64encode(raw).decode("ascii")
        out["truncated"] = list(self.truncated)
        shown = _shown(self.files)
        out["files"] = {shown[name]: base64.b64encode(item.data).decode("ascii") for name, item in self.files.items()}
        if self.files:
            out["file_modes"] = {shown[name]: item.mode for name, item in self.files.items()}
        if exact := {key: _exact(name) for name, key in shown.items() if key != name}:
            out["file_names_base64"] = exact
        out["refused_files"] = [
            {"name": _text(name), "reason": reason} | ({} if _text(name) == name else {"name_base64": _exact(name)})
            for name, reason in self.refused_files
        ]
        out["evidence"] = [item.to_dict() for item in self.evidence]
        out["enforced"] = self.enforced
        out["degraded"] = [item.to_dict() for item in self.degraded]
        out["plan_digest"] = self.plan_digest
        return out


def _text(name: str) -> str:
    """A file name as text that every JSON parser takes: bytes that are not UTF-8 are written as escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _exact(name: str) -> str:
    import base64

    return base64.b64encode(name.encode("utf-8", "surrogateescape")).decode("ascii")


def _shown(names: Collection[str]) -> dict[str, str]:
    """Each name with the text that stands for it. A program that names a file as another's escapes hides neither."""
    shown = {name: name for name in names if _text(name) == name}
    taken = set(shown)
    for name in names:
        if name not in shown:
            text = _text(name)
            while text in taken:
                text = "\\" + text
            shown[name] = text
            taken.add(text)
    return {name: shown[name] for name in names}
