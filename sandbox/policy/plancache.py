"""Compiled plans on disk, so that a short command compiles nothing (docs/decisions/0013-plan-cache.md).

An entry is opened by the words of a command line, which is quick, so that its launcher can be started; it is used only after
`confirmed`: everything that its plan was made of is still the same. That is a *state* (host, caller, this installation), and
*witnesses*: files and mount sources with what they were. Whatever is odd is a miss, never an error.
Nothing is imported here that a hit does not need.
"""

from __future__ import annotations

import os
import stat
import sys
import time

import sandbox
from sandbox.model import codec
from sandbox.model.digest import sha256
from sandbox.model.plan import random_block

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from sandbox.model.limits import Limits
    from sandbox.model.plan import Plan
    from sandbox.model.policy import Policy

FORMAT = 2
MAX_ENTRIES = 32
_OURS = frozenset("0123456789abcdef.")
MAX_BYTES = 4 << 20
OFF = "SANDBOX_NO_PLAN_CACHE"
# What changed since then, or just before (the kernel's time stamps are coarse), may differ from what was read.
BEGUN = time.time_ns() - 50_000_000
_PACKAGE = os.path.dirname(os.path.abspath(sandbox.__file__))
_DIGEST_BYTES = 32
_ENVIRONMENT = ("LD_LIBRARY_PATH", "LD_PRELOAD", "SANDBOX_CGROUP", "XDG_RUNTIME_DIR", "PYTHONPATH")
_HELPERS = tuple(f"{place}/{name}" for name in ("newuidmap", "newgidmap") for place in ("/usr/bin", "/bin", "/usr/sbin", "/sbin"))
_TABLES = ("/etc/subuid", "/etc/subgid", "/etc/ld.so.cache")
_SAME, _CONTENT, _FILE, _MOUNT = range(4)  # kinds of witnesses


class Entry:
    """A plan that was good once. Nothing may be run with it before `confirmed` has said that it still is.

    Attributes:
        plan: the encoded plan.
        degraded: it was made for runs without control groups.
    """

    def __init__(self, body: tuple[Any, ...]) -> None:
        self.plan: bytes
        self.degraded: bool
        self._state, self._witnesses, self._policy, self._limits, self.degraded, self.plan = body

    @property
    def policy(self) -> Policy:
        """What a run needs of the policy: without system call rules and origins."""
        from sandbox.policy import plandata

        found: Policy = plandata.restore(self._policy)
        return found

    @property
    def limits(self) -> Limits | None:
        """Those that the command line asked for, None for the policy's."""
        from sandbox.policy import plandata

        found: Limits | None = plandata.restore(self._limits)
        return found

    def confirmed(self) -> bool:
        """Whether everything that it was made of is still the same."""
        try:
            return self._state == _state() and all(_look(kind, path) == seen for kind, path, seen in self._witnesses)
        except (OSError, ValueError, TypeError):
            return False


class Lookup:
    """What names an entry: the options of a command line that shape its plan."""

    def __init__(
        self, profile: str, overrides: Iterable[str], limits: Iterable[str], mounts: Iterable[str], *, allow_degraded: bool
    ) -> None:
        self._profile = profile
        wanted = (profile, tuple(overrides), tuple(limits), tuple(mounts), allow_degraded)
        by_path = "/" in profile or profile.endswith(".toml") or bool(wanted[3])
        self._key = b""
        if os.environ.get(OFF) or (os.getuid(), os.getgid()) != (os.geteuid(), os.getegid()):
            return  # no cache
        try:
            self._key = codec.encode((FORMAT, *wanted, os.getcwd() if by_path else "", os.getuid(), sys.executable, _PACKAGE))
        except (OSError, UnicodeError, codec.CodecError):
            return

    @property
    def enabled(self) -> bool:
        """Whether this command may use the cache."""
        return bool(self._key)

    @property
    def name(self) -> str:
        """The file name of the entry."""
        return str(sha256(self._key).hexdigest())

    def load(self) -> Entry | None:
        """The entry, if there is one that only we can have written."""
        if not self._key:
            return None
        try:
            place = _open_directory()
            try:
                data = _read(place, self.name)
            finally:
                os.close(place)
            if sha256(data[_DIGEST_BYTES:]).digest() != data[:_DIGEST_BYTES]:
                return None
            key, block, *body, plan = codec.decode(data[_DIGEST_BYTES:])
            if key != self._key:
                return None
            return Entry((*body, _with_block(plan, *block) if block else plan))
        except (OSError, ValueError, TypeError, IndexError):
            return None

    def store(self, policy: Policy, limits: Limits | None, plan: Plan, *, degraded: bool, files: tuple[str, ...]) -> None:
        """Keep a plan that was made for this lookup from the profile `files`. Does nothing where that cannot be done safely."""
        from sandbox.policy import plandata

        if not self._key or policy.warm.interpreter or policy.rootfs.kind != "selected":  # too much to be watched
            return
        try:
            witnesses = tuple((kind, path, _look(kind, path)) for kind, path in plandata.watched(self._profile, policy, files))
            paths = [os.fsdecode(path) for _, path, _ in witnesses]
            if _changed_lately([*paths, *_package_files()]) or not plandata.agrees(plan, witnesses):
                return
            body = codec.encode(
                (
                    self._key,
                    plandata.block_of(plan),
                    _state(),
                    witnesses,
                    plandata.of_policy(policy),
                    plandata.plain(limits),
                    degraded,
                    plan.encode(),
                )
            )
            place = _open_directory(make=True)
            try:
                _write(place, self.name, sha256(body).digest() + body)
                _prune(place, self.name)
            finally:
                os.close(place)
        except (OSError, ValueError):
            return


def directory() -> str:
    """Where entries are: $XDG_CACHE_HOME/sandbox/plans, ~/.cache/sandbox/plans by default."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return os.path.join(base if os.path.isabs(base) else os.path.expanduser("~/.cache"), "sandbox", "plans")


def search_directories() -> tuple[str, ...]:
    """Where profiles are looked up (`load.search_path`)."""
    configured = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return f"{configured}/sandbox/profiles", "/etc/sandbox/profiles", shipped_profiles()


def shipped_profiles() -> str:
    """As `locate.profiles_dir`."""
    installed = os.path.join(_PACKAGE, "_profiles")
    return installed if os.path.isdir(installed) else os.path.join(os.path.dirname(_PACKAGE), "profiles")


def _state() -> bytes:
    """Digest of what else a plan depends on: this installation, the kernel, the caller and what it may use."""
    import pwd
    import resource

    limits = tuple(resource.getrlimit(number) for number in range(resource.RLIMIT_RTPRIO + 1))
    spaces = tuple(os.readlink(f"/proc/self/ns/{name}") for name in ("user", "mnt", "cgroup"))
    environment = tuple(os.environ.get(name) for name in _ENVIRONMENT)
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = ""
    who = (os.getuid(), os.getgid(), user, search_directories(), directory())
    rights = [line for line in _text("/proc/self/status").splitlines() if line.startswith(("Cap", "NoNewPrivs", "Seccomp"))]
    boot = (tuple(os.uname()), _text("/proc/sys/kernel/random/boot_id"), _text("/sys/devices/system/cpu/online"))
    files = sorted(f"{path} {_signature(found)}" for path, found in _package_files().items())
    everything = repr((sandbox.__version__, sys.version, boot, spaces, who, rights, limits, environment, files))
    return bytes(sha256(everything.encode("utf-8", "surrogateescape")).digest())


def _package_files() -> dict[str, os.stat_result]:
    found = {}
    waiting = [_PACKAGE, shipped_profiles()]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.name in ("__pycache__", "golden"):
                    continue
                if entry.is_dir():
                    waiting.append(entry.path)
                else:
                    found[entry.path] = entry.stat()
    return found


def _signature(found: os.stat_result) -> tuple[int, ...]:
    """ctime cannot be set back by who writes a file."""
    return (found.st_dev, found.st_ino, found.st_mode, found.st_uid, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _look(kind: int, raw: bytes) -> tuple[Any, ...]:
    """What a witness says now."""
    path = os.fsdecode(raw)
    if kind == _FILE:
        return (os.path.isfile(path),)
    try:
        found = os.stat(path)
    except OSError as error:
        return (error.errno or 0, os.fsencode(os.path.realpath(path)))
    if kind == _SAME:
        return _signature(found)
    if kind == _MOUNT:
        link = os.readlink(raw) if os.path.islink(raw) else b""
        return (found.st_dev, found.st_ino, found.st_mode, found.st_uid, found.st_gid, link, os.path.realpath(raw))
    with open(path, "rb") as file:
        return (sha256(file.read(MAX_BYTES)).digest(), stat.S_ISREG(found.st_mode))


def _changed_lately(paths: Iterable[str]) -> bool:
    """Whether one of them may have changed while this process read it."""
    for path in paths:
        for look in (os.stat, os.lstat):
            try:
                if look(path).st_ctime_ns >= BEGUN:
                    return True
            except OSError:
                continue
    return False


def _with_block(plan: bytes, old: bytes, first: int, count: int) -> bytes:
    """The plan with host ids of its own: root's launchers take a block at random, as without a cache."""
    start = random_block(count)
    lines = ((0, 0, 1), (1, start, count))
    new = old.replace(codec.encode(((0, 0, 1), (1, first, count))), codec.encode(lines))
    if plan.count(old) != 1 or len(new) != len(old):
        raise ValueError("no place for the ids")
    return plan.replace(old, new)


def _open_directory(*, make: bool = False) -> int:
    """A descriptor of the directory: ours, and closed to everybody else. Raises OSError."""
    path = directory()
    _check_above(path)
    if make:
        os.makedirs(path, mode=0o700, exist_ok=True)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    found = os.fstat(fd)
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        os.close(fd)
        raise PermissionError(1, "the plan cache belongs to, or is open to, somebody else")
    return fd


def _check_above(path: str) -> None:
    """The way there belongs to us and root alone: root may have taken over the home of another user. Raises OSError."""
    while path != "/":
        path = os.path.dirname(path)
        try:
            owner = os.lstat(path).st_uid
        except FileNotFoundError:
            continue
        if owner not in (0, os.geteuid()):
            raise PermissionError(1, "the plan cache would lie in a directory of somebody else")


def _read(place: int, name: str) -> bytes:
    """An entry's bytes. Raises OSError for one that somebody else could have written."""
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=place)
    with open(fd, "rb", buffering=0) as file:
        found = os.fstat(fd)
        mine = found.st_uid == os.geteuid() and found.st_nlink == 1 and not found.st_mode & 0o077
        if not mine or not stat.S_ISREG(found.st_mode) or found.st_size > MAX_BYTES:
            raise PermissionError(1, "this entry is not ours alone")
        return file.read(MAX_BYTES)


def _write(place: int, name: str, data: bytes) -> None:
    """All of it or nothing. Raises OSError."""
    draft = f".{name}.{os.urandom(8).hex()}"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=place)
    try:
        with open(fd, "wb") as file:
            file.write(data)
        os.rename(draft, name, src_dir_fd=place, dst_dir_fd=place)
    except OSError:
        os.unlink(draft, dir_fd=place)
        raise


def _prune(place: int, name: str) -> None:
    """Remove the oldest entries, and drafts that were left, above MAX_ENTRIES."""
    ages = []
    for other in os.listdir(place):
        if len(other) < 64 or not _OURS.issuperset(other):  # nothing of ours: 64 digits, or a draft of it
            continue
        try:
            ages.append((os.stat(other, dir_fd=place, follow_symlinks=False).st_mtime_ns, other))
        except FileNotFoundError:
            continue
    for _, other in sorted(ages)[: max(0, len(ages) - MAX_ENTRIES)]:
        if other != name:
            try:
                os.unlink(other, dir_fd=place)
            except OSError:
                continue


def _text(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()


def always() -> tuple[tuple[int, bytes], ...]:
    """Witnesses of every entry: id tables, helpers, the loader's cache; directories and names of profiles."""
    found = [(_SAME, path) for path in (*_TABLES, *_HELPERS)] + [(_MOUNT, path) for path in search_directories()]
    return tuple((kind, os.fsencode(path)) for kind, path in found)
