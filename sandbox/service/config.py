"""What the operator decides: one TOML file, and options of the command over it. Everything is bounded by default."""

from __future__ import annotations

import ipaddress
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from sandbox.model.errors import RequestError
from sandbox.policy import units
from sandbox.service import ceilings

MIB = 1 << 20
_MAX_FILE_BYTES = 256 << 10
# What a run may use at most, whatever its profile and its request say. Names and units of profiles.
_LIMITS: Mapping[str, str | int] = {
    "cpu": "15s",
    "wall": "30s",
    "memory": "512MiB",
    "pids": 128,
    "output": "1MiB",
    "scratch": "256MiB",
    "file_size": "256MiB",
    "stack": "512MiB",
    "collect": "16MiB",
    "collect_files": 256,
}
_COMPILE_LIMITS: Mapping[str, str | int] = {"cpu": "30s", "memory": "1GiB"}


def _runs_at_once() -> int:
    """As the library does: four for each CPU, at least 4, at most 32."""
    return min(32, max(4, 4 * len(os.sched_getaffinity(0))))


def _known_limits(given: Mapping[str, str | int]) -> Mapping[str, str | int]:
    ceilings.parse(given)
    return given


def _compile_limits(given: Mapping[str, str | int]) -> Mapping[str, str | int]:
    for name in ceilings.parse(given):
        if name not in ("cpu_ns", "memory_bytes"):
            raise ValueError("limits of compilers are cpu and memory")
    return {**_COMPILE_LIMITS, **given}


LimitMap = Annotated[Mapping[str, str | int], AfterValidator(_known_limits)]
_Count = Annotated[int, Field(ge=1, le=1_000_000)]
_Bytes = Annotated[int, BeforeValidator(units.size), Field(ge=1)]
_Seconds = Annotated[float, Field(gt=0, le=86_400)]


class Config(BaseModel):
    """The settings of one service."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    host: str = "127.0.0.1"
    """The address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """0: any that is free."""
    tokens_file: Path | None = None
    """Where `sandbox serve token` keeps the tokens; `~/.config/sandbox/tokens.json` by default."""
    no_auth: bool = False
    """Serve everybody who can connect. Only on loopback; the service does not start elsewhere."""
    hosts: tuple[str, ...] = ()
    """Names that requests may give in `Host`, beside the address itself; empty: any, but with `no_auth` only loopback's."""
    cors_origins: tuple[str, ...] = ()
    """Origins of web pages of others that may call; none by default."""
    proxies: tuple[str, ...] = ()
    """Addresses of reverse proxies whose `X-Forwarded-For` and `-Proto` are believed."""
    callback_hosts: tuple[str, ...] = ()
    """Hosts that Judge0 callbacks may go to; none by default."""
    audit_file: Path | None = None
    """One line for each run is appended here."""
    audit_required: bool = False
    """A run whose line cannot be written is not answered."""
    allow_degraded: bool = False
    """Run also where the host has no control groups. Each answer tells what stood in (`degraded`)."""

    profiles: tuple[str, ...] = ("default", "strict", "native", "python", "node")
    """Profiles that plain commands may ask for; the first is what they get."""
    languages: tuple[str, ...] = ()
    """Ids of languages; empty: all that this host has."""
    warm: bool = False
    """Run programs as forks of a warm interpreter where their language has one (Python): they start sooner."""
    limits: LimitMap = Field(default_factory=lambda: dict(_LIMITS))
    """What one run may use at most. What is not named has the limit of the profile."""
    compile_limits: Annotated[Mapping[str, str | int], AfterValidator(_compile_limits)] = Field(
        default_factory=lambda: dict(_COMPILE_LIMITS)
    )
    """What one compiler may use at most: cpu, memory."""
    source_bytes: _Bytes = 256 << 10
    """All sources of one program together."""

    max_concurrency: Annotated[int, Field(ge=1, le=1024)] = Field(default_factory=_runs_at_once)
    """Runs at once."""
    per_tenant_concurrency: Annotated[int, Field(ge=0, le=1024)] = 0
    """Runs at once of one tenant, unless its token says other; 0: as many as there are."""
    max_queue: Annotated[int, Field(ge=0, le=100_000)] = 256
    """Requests that wait for a turn; more are refused, or take the place of the one who waits with most."""
    queue_seconds: _Seconds = 30.0
    """The longest wait for a turn."""
    package_bytes: _Bytes = 256 * MIB
    """What a problem package may unpack to."""
    grade_seconds: _Seconds = 300.0
    """The longest grading of one submission."""
    drain_seconds: _Seconds = 60.0
    """How long a stop waits for what was accepted."""
    max_sandboxes: Annotated[int, Field(ge=1, le=256)] = 16
    """Launchers that are kept warm, one for each profile."""

    body_bytes: _Bytes = 16 * MIB
    """The longest body of a request."""
    bodies_bytes: _Bytes = 256 * MIB
    """All bodies that are held at once."""
    request_seconds: _Seconds = 30.0
    """The time for a whole request to arrive: its head, and then its body."""
    connections: _Count = 1024
    """Open connections."""
    connections_of_peer: Annotated[int, Field(ge=0, le=1_000_000)] = 256
    """Of them, those of one address; 0: all, for a reverse proxy in front."""
    websockets: Annotated[int, Field(ge=0, le=100_000)] = 64
    """Open WebSockets."""
    message_bytes: _Bytes = MIB
    """The longest message of a WebSocket."""
    stream_bytes: _Bytes = 4 * MIB
    """What is held for a client that reads its stream slowly; the run is ended beyond."""
    stream_seconds: _Seconds = 30.0
    """How long a client may read nothing of what is sent."""
    kept_results: Annotated[int, Field(ge=0, le=1_000_000)] = 1000
    """Answers that are kept for GET /v1/runs/{id} and for idempotency keys."""
    kept_bytes: _Bytes = 64 * MIB
    """All of them together."""
    kept_seconds: _Seconds = 600.0
    """How long."""

    @field_validator("profiles")
    @classmethod
    def _named(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        from sandbox.policy import profile

        known = profile.available()
        for name in value:
            if name not in known:
                raise ValueError(f"there is no profile {name!r}; there are {', '.join(sorted(known))}")
        if not value:
            raise ValueError("offer at least one profile")
        return value

    @model_validator(mode="after")
    def _closed(self) -> Self:
        if self.no_auth and not is_loopback(self.host):
            raise ValueError(f"no_auth is for loopback only, and the service would listen on {self.host}")
        if self.bodies_bytes < self.body_bytes:
            raise ValueError("bodies_bytes must leave room for one body of body_bytes")
        return self

    @property
    def tokens(self) -> Path:
        """Where the tokens are."""
        if self.tokens_file is not None:
            return self.tokens_file
        home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
        return Path(home) / "sandbox" / "tokens.json"

    @property
    def tenant_concurrency(self) -> int:
        """Runs at once of a tenant whose token says nothing."""
        return self.per_tenant_concurrency or self.max_concurrency


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it. Names are not looked up: they may mean something else tomorrow."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def load(path: str | None, options: Mapping[str, Any] | None = None) -> Config:
    """The settings of a file, and `options` over them. Raises RequestError, naming the file and the key."""
    given: dict[str, Any] = _read(Path(path)) if path is not None else {}
    try:
        return Config.model_validate({**given, **(options or {})})
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, item['loc'])) or 'settings'}: {_said(item)}" for item in error.errors())
        raise RequestError(f"{path or 'the options'}: {said}", hint="docs/service.md lists the settings") from None


def _said(item: Any) -> str:
    return "there is no such setting" if item["type"] == "extra_forbidden" else str(item["msg"]).removeprefix("Value error, ")


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise RequestError(f"{path}: cannot be read: {error.strerror}") from None
    if len(raw) > _MAX_FILE_BYTES:
        raise RequestError(f"{path}: a file of settings has at most {_MAX_FILE_BYTES >> 10} KiB")
    try:
        return tomllib.loads(raw.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RequestError(f"{path}: is not TOML: {error}") from None
