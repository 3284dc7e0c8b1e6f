"""Checking what the caller asks for, and turning it into a `LaunchRequest`."""

from __future__ import annotations

import functools
import os
import resource
import stat
from collections.abc import Iterable, Mapping, Sequence

from sandbox.model import codec
from sandbox.model.data import dataclass
from sandbox.model.errors import RequestError
from sandbox.model.launch import LaunchRequest, Program
from sandbox.model.limits import Limits
from sandbox.model.policy import Policy
from sandbox.runtime import warm

# Source: execve(2), "Limits on size of arguments and environment".
MAX_STRING_BYTES = 131_071
MAX_TOTAL_BYTES = 2 * 1024 * 1024 - 64 * 1024
MAX_FILES_BYTES = 1 << 30
_IN_FLIGHT = 320  # SCM_MAX_FD (253) beyond the limit can be on their way, and some of our own
_LEAST_FILES = 32
_DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
# Loaders, interpreters and tools take orders from these; only a profile may set them (CVE-2016-10122 and kin).
_GUARDED = ("LD_", "PYTHON", "GIT_")
_GUARDED_SUFFIX = "_PROXY"

Word = str | bytes | os.PathLike[str]
FileContent = bytes | tuple[bytes, int] | os.PathLike[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A checked request: what goes on the wire, the input files, and the limits that hold."""

    program: Program
    launch: LaunchRequest
    files: tuple[tuple[bytes, int, bytes], ...]
    collect: tuple[str, ...]
    limits: Limits


def prepare(
    policy: Policy,
    limits: Limits,
    argv: Sequence[Word],
    *,
    env: Mapping[str, str] | None,
    cwd: str | None,
    files: Mapping[str, FileContent] | None,
    collect: Sequence[str],
    tty: tuple[int, int] | None,
    degraded: bool,
    shares_user: bool,
) -> Prepared:
    """Check everything and build the request. Raises RequestError."""
    words = _words(argv)
    environment = _environment(policy, env)
    _check_size(words, environment)
    checked = tuple(_collect_name(name) for name in collect)
    program = Program(
        argv=words,
        candidates=_candidates(words[0], dict(policy.environment.values).get("PATH", _DEFAULT_PATH)),
        environment=environment,
        cwd=os.fsencode(_cwd(policy, cwd)),
        rlimits=_rlimits(limits, degraded=degraded, shares_user=shares_user),
        warm=warm.form(policy, words, environment),
    )
    launch = terms(policy, limits, degraded=degraded).replace(
        program=codec.encode(program.as_tuple()),
        tty=_tty(tty),
        collect=tuple(sorted({_prefix(name) for name in checked})),
    )
    return Prepared(program=program, launch=launch, files=_files(files, limits), collect=checked, limits=limits)


def terms(policy: Policy, limits: Limits, *, degraded: bool) -> LaunchRequest:
    """A request without a program and a control group: as much as is known when a sandbox is parked."""
    return LaunchRequest(
        program=b"",
        wall_ns=limits.wall_ns,
        cpu_ns=limits.cpu_ns,
        idle_ns=limits.idle_ns,
        cpus=len(policy.cgroup.cpus) or _cpus(),
        scratch_bytes=limits.scratch_bytes,
        scratch_inodes=limits.scratch_inodes,
        joins=0,
        tty=(),
        collect=(),
        collect_bytes=limits.collect_bytes,
        collect_files=limits.collect_files,
        oom_bytes=0,
        pids=limits.pids if degraded else 0,
        memory_bytes=limits.memory_bytes if degraded else 0,
    )


@functools.cache
def _cpus() -> int:
    """CPUs of this host, as the process found them: asking reads a file."""
    return os.cpu_count() or 1


def _words(argv: Sequence[Word]) -> tuple[bytes, ...]:
    if isinstance(argv, str | bytes) or not isinstance(argv, Sequence):
        raise RequestError(f"argv must be a list of words, not {type(argv).__name__}", hint='write ["python3", "script.py"]')
    if not argv:
        raise RequestError("argv is empty", hint="name the program to run")
    out = []
    for number, word in enumerate(argv):
        try:
            raw = os.fsencode(word)
        except (TypeError, UnicodeError) as error:
            raise RequestError(f"argv[{number}] is no str, bytes or path: {error}") from None
        if b"\0" in raw:
            raise RequestError(f"argv[{number}] contains a NUL byte")
        out.append(raw)
    if not out[0]:
        raise RequestError("argv[0] is empty", hint="name the program to run")
    return tuple(out)


def _environment(policy: Policy, env: Mapping[str, str] | None) -> tuple[bytes, ...]:
    values = {name: os.environ[name] for name in policy.environment.inherit if name in os.environ}
    values.update(policy.environment.values)
    for name, value in (env or {}).items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise RequestError(f"env: {name!r} and its value must be str")
        if not name or "=" in name or "\0" in name or "\0" in value:
            raise RequestError(f"env: {name!r} is empty, or it or its value contains '=' or NUL")
        if (name.startswith(_GUARDED) or name.upper().endswith(_GUARDED_SUFFIX)) and name not in values:
            raise RequestError(f"env: {name} steers loaders and tools", hint="set it in the profile's [environment]")
        values[name] = value
    return tuple(os.fsencode(f"{name}={value}") for name, value in values.items())


def _check_size(words: Iterable[bytes], environment: Iterable[bytes]) -> None:
    total = 0
    for kind, items in (("argv", words), ("env", environment)):
        for number, item in enumerate(items):
            total += len(item) + 9
            if len(item) > MAX_STRING_BYTES:
                raise RequestError(
                    f"{kind}[{number}] has {len(item)} bytes, the kernel takes at most {MAX_STRING_BYTES}",
                    hint="pass it as stdin or with files=",
                )
    if total > MAX_TOTAL_BYTES:
        raise RequestError(
            f"argv and env have {total} bytes together, at most {MAX_TOTAL_BYTES} fit", hint="pass them as stdin or with files="
        )


def _cwd(policy: Policy, cwd: str | None) -> str:
    if cwd is None:
        return policy.cwd
    if not isinstance(cwd, str) or not cwd.startswith("/") or "\0" in cwd or ".." in cwd.split("/"):
        raise RequestError(f"cwd {cwd!r} must be an absolute path inside, without '..'")
    return cwd


def _tty(tty: tuple[int, int] | None) -> tuple[int, ...]:
    if tty is None:
        return ()
    if len(tty) != 2 or not all(isinstance(value, int) and 0 < value < 65536 for value in tty):
        raise RequestError(f"tty must be (rows, columns), each from 1 to 65535, not {tty!r}")
    return tuple(tty)


def _candidates(word: bytes, path: str) -> tuple[bytes, ...]:
    if b"/" in word:
        return (word,)
    return tuple(os.fsencode(directory or ".") + b"/" + word for directory in path.split(":"))


def _rlimits(limits: Limits, *, degraded: bool, shares_user: bool) -> tuple[tuple[int, int, int], ...]:
    """The rlimits that follow from limits; in degraded mode they also stand in for the control group.

    `shares_user`: the payload's host user is the caller's. The kernel counts descriptors in flight for the user, and
    refuses to send more than RLIMIT_NOFILE (unix(7), ETOOMANYREFS): the payload's share must stay below the caller's.
    """
    cpu_seconds = limits.cpu_ns // 1_000_000_000 + 2
    wanted = {
        resource.RLIMIT_CPU: cpu_seconds,
        resource.RLIMIT_FSIZE: limits.file_bytes,
        resource.RLIMIT_STACK: limits.stack_bytes,
        resource.RLIMIT_NOFILE: limits.open_files,
    }
    if degraded:
        wanted[resource.RLIMIT_NPROC] = limits.pids + 1  # init counts too
        wanted[resource.RLIMIT_DATA] = 2 * limits.memory_bytes  # the sampled limit is hit first
    if shares_user:
        own = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        wanted[resource.RLIMIT_NOFILE] = max(_LEAST_FILES, min(limits.open_files, own - _IN_FLIGHT))
    out = []
    for number, value in wanted.items():
        hard = resource.getrlimit(number)[1]
        capped = value if hard == resource.RLIM_INFINITY else min(value, hard)
        out.append((number, capped, capped))
    return tuple(out)


def clean_name(name: str, what: str) -> str:
    """A relative name inside the work directory. Raises RequestError for anything that could point elsewhere."""
    if not isinstance(name, str):
        raise RequestError(f"{what}: {name!r} is not a str")
    parts = name.split("/")
    if not name or name.startswith("/") or "\0" in name or any(part in ("", "..") for part in parts) or len(name) > 4096:
        raise RequestError(f"{what}: {name!r} must be a relative name inside the work directory, without '..'")
    if any(len(os.fsencode(part)) > 255 for part in parts):
        raise RequestError(f"{what}: a part of {name!r} is longer than 255 bytes")
    return name


def _collect_name(name: str) -> str:
    if name == ".":
        return name
    name = name.removesuffix("/")
    return clean_name(name, "collect")


def _prefix(pattern: str) -> bytes:
    """The part of a pattern before its first component with a wildcard: that is what the launcher walks."""
    parts: list[str] = []
    for part in pattern.split("/"):
        if any(sign in part for sign in "*?["):
            break
        parts.append(part)
    return os.fsencode("/".join(parts) or ".")


def _content(name: str, content: FileContent, room: int) -> tuple[bytes, int]:
    """Content and mode; of a path here it is read, if it is a regular file that fits."""
    if isinstance(content, tuple):
        return content
    if not isinstance(content, os.PathLike):
        return content, 0o644
    try:
        fd = os.open(content, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        with open(fd, "rb") as file:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise RequestError(f"files: {os.fspath(content)!r} is not a regular file")
            return file.read(room + 1), 0o755 if found.st_mode & 0o111 else 0o644
    except (OSError, ValueError) as error:
        raise RequestError(f"files: {name!r} cannot be read from {os.fspath(content)!r}: {error}") from None


def _files(files: Mapping[str, FileContent] | None, limits: Limits) -> tuple[tuple[bytes, int, bytes], ...]:
    out: list[tuple[bytes, int, bytes]] = []
    for name, content in (files or {}).items():
        data, mode = _content(name, content, limits.scratch_bytes)
        if not isinstance(data, bytes | bytearray | memoryview) or not isinstance(mode, int):
            raise RequestError(
                f"files: {name!r} must be bytes, (bytes, mode) or a path",
                hint="encode text with .encode(), paths are pathlib.Path",
            )
        checked = clean_name(name, "files")
        if "." in checked.split("/"):
            raise RequestError(f"files: {name!r} must not contain '.' as a component")
        out.append((os.fsencode(checked), mode & 0o777, bytes(data)))
    taken = {raw for raw, _, _ in out}
    for raw in taken:
        parts = raw.split(b"/")
        if any(b"/".join(parts[:count]) in taken for count in range(1, len(parts))):
            raise RequestError(f"files: {os.fsdecode(raw)!r} lies below another file")
    total = sum(len(data) for _, _, data in out)
    if total > min(limits.scratch_bytes, MAX_FILES_BYTES) or len(out) > limits.scratch_inodes:
        raise RequestError(
            f"files: {total} bytes in {len(out)} files do not fit the scratch space"
            f" ({limits.scratch_bytes} bytes, {limits.scratch_inodes} files)",
            hint="raise limits.scratch in the profile, or mount them",
        )
    return tuple(out)
