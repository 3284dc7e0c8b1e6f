"""What was built, kept by what it was made of: a content-addressed store below `$XDG_CACHE_HOME/sandbox/artefacts`.

    <key>/manifest.json     what every file is: name → [SHA-256, mode]
    <key>/files/…           what is bound into runs, read-only

An entry appears whole, by one rename, or not at all; it is verified before each use, and what is odd is thrown away and made
anew. Who uses an entry holds a shared lock on it; only what nobody holds is removed, the least recently used first. Only the
store's owner can get into it. Safe for any number of processes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import json
import os
import stat
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox.grader.removal import remove
from sandbox.model.errors import RequestError, ResourceError
from sandbox.runtime.request import clean_name

MAX_BYTES = 1 << 30
MAX_ENTRIES = 4096
_MANIFEST = "manifest.json"
_MANIFEST_BYTES = 16 << 20
_DRAFT = ".draft-"
_TRASH = ".trash-"
_DRAFT_AGE_S = 3600
_PATIENCE = 100  # turns in which others may make and remove the same entry


class Held:
    """A shared lock on an entry, until the last reference to this object is gone."""

    def __init__(self, fd: int) -> None:
        self.release = weakref.finalize(self, os.close, fd)


@dataclass(frozen=True, slots=True)
class Entry:
    """Something in the store.

    Attributes:
        files: the directory to bind.
        size: bytes of all files.
        held: keeps it from being removed.
    """

    files: Path
    names: Mapping[str, str]
    size: int
    held: Held = field(repr=False, compare=False)

    def read(self, name: str) -> bytes:
        """One of its files."""
        return (self.files / name).read_bytes()


class Store:
    """A directory of entries.

    Args:
        root: where; made when it is not there.
        max_bytes, max_entries: more is removed, the least recently used first, after each `put`.
    """

    def __init__(self, root: Path, *, max_bytes: int = MAX_BYTES, max_entries: int = MAX_ENTRIES) -> None:
        self.root = root
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._sizes: dict[tuple[str, int], int] = {}  # (name, inode) → bytes: an entry stays as it was made

    def get(self, key: str) -> Entry | None:
        """The entry of `key`, verified and locked; None when there is none that is whole."""
        with opened(self.root) as root:
            fd = locked(root, key, fcntl.LOCK_SH)
            if fd is None:
                return None
            held = Held(fd)
            with contextlib.suppress(OSError):
                os.utime(fd)
            try:
                return self._verified(key, held)
            except (OSError, ValueError, TypeError, KeyError):
                held.release()
                self._discard(root, key)
                return None

    def put(self, key: str, files: Mapping[str, tuple[bytes, int]]) -> Entry:
        """Keep files (relative name → content and mode) as `key`; what is there stays. Raises ResourceError, RequestError."""
        with opened(self.root) as root:
            draft = f"{_DRAFT}{os.urandom(8).hex()}"
            try:
                _write(self.root / draft, files)
                found = self._settle(root, draft, key)
            except (OSError, RequestError) as error:
                remove(root, draft)
                raise _failed(self.root, error) if isinstance(error, OSError) else error from error
            self._evict(root)
            return found

    def _settle(self, root: int, draft: str, key: str) -> Entry:
        """Give a draft its name; when there is an entry that is whole, take that. It is held before anybody else can see it."""
        fd = os.open(draft, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
        held = Held(fd)
        fcntl.flock(fd, fcntl.LOCK_SH)
        for _ in range(_PATIENCE):
            try:
                os.rename(draft, key, src_dir_fd=root, dst_dir_fd=root)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
            else:
                return self._verified(key, held)
            found = self.get(key)
            if found is not None:
                remove(root, draft)
                return found
            _let_others_end(root, key)
        raise OSError(errno.EBUSY, "an entry that is spoiled is in use, and cannot be made anew")

    def _verified(self, key: str, held: Held) -> Entry:
        """The held entry. Raises OSError, ValueError… when not each file is what the manifest says, or there are others."""
        place = self.root / key
        manifest = _manifest(place / _MANIFEST)
        size = 0
        for name, (digest, mode) in manifest.items():
            data = _regular(place / "files" / name, mode)
            if hashlib.sha256(data).hexdigest() != digest:
                raise ValueError("not what was written")
            size += len(data)
        if _count(place / "files") != len(manifest):
            raise ValueError("there is more than was written")
        return Entry(place / "files", {name: digest for name, (digest, _) in manifest.items()}, size, held)

    def _evict(self, root: int) -> None:
        """Remove what is too much, and drafts that were left by processes that died."""
        kept: list[tuple[int, str, int]] = []
        before, now = self._sizes, {}
        for name in os.listdir(root):
            with contextlib.suppress(OSError):
                found = os.stat(name, dir_fd=root, follow_symlinks=False)
                if name.startswith("."):
                    if _now(root) - found.st_mtime > _DRAFT_AGE_S:
                        remove(root, name)
                    continue
                item = name, found.st_ino
                size = now[item] = before[item] if item in before else _size(root, name)
                kept.append((found.st_mtime_ns, name, size))
        self._sizes = now
        total, count = sum(size for _, _, size in kept), len(kept)
        for _, name, size in sorted(kept):
            if total <= self._max_bytes and count <= self._max_entries:
                return
            if self._discard(root, name):
                total, count = total - size, count - 1

    def _discard(self, root: int, key: str) -> bool:
        """Remove an entry that nobody holds."""
        try:
            fd = os.open(key, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            trash = f"{_TRASH}{os.urandom(8).hex()}"
            os.rename(key, trash, src_dir_fd=root, dst_dir_fd=root)
        except OSError:
            return False
        finally:
            os.close(fd)
        remove(root, trash)
        return True


@contextlib.contextmanager
def opened(root: Path) -> Iterator[int]:
    """A descriptor of a directory that is ours alone; it is made when it is not there. Raises ResourceError."""
    try:
        os.makedirs(root, mode=0o700, exist_ok=True)
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise _failed(root, error) from error
    try:
        found = os.fstat(fd)
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise ResourceError(
                f"{root}: what is built is kept here, but it belongs to, or is open to, somebody else",
                hint=f"remove it, or chmod 700 {root}",
            )
        yield fd
    finally:
        os.close(fd)


def default() -> Store:
    """The store of this user."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return _at(Path(cache).absolute() / "sandbox" / "artefacts")


@functools.lru_cache(maxsize=8)
def _at(root: Path) -> Store:
    """One for each root: it remembers sizes."""
    return Store(root)


def key_of(*parts: object) -> str:
    """The key of what was made of `parts`: text, bytes, and mappings and lists of them. Unlike parts have unlike keys."""
    hasher = hashlib.sha256()
    _feed(hasher, parts)
    return hasher.hexdigest()


def _feed(hasher: Any, value: object) -> None:
    if isinstance(value, bytes):
        hasher.update(b"b%d:" % len(value) + value)
    elif isinstance(value, str):
        raw = value.encode("utf-8", "surrogateescape")
        hasher.update(b"s%d:" % len(raw) + raw)
    elif isinstance(value, Mapping):
        hasher.update(b"m%d:" % len(value))
        for name in sorted(value):
            _feed(hasher, name)
            _feed(hasher, value[name])
    elif isinstance(value, list | tuple):
        hasher.update(b"l%d:" % len(value))
        for item in value:
            _feed(hasher, item)
    else:
        raise TypeError(f"{type(value).__name__} has no place in a key")


def locked(root: int, key: str, how: int) -> int | None:
    """A directory with a lock (LOCK_SH: for use; LOCK_EX: its maker's); None when it is not there, about to go, or taken."""
    try:
        fd = os.open(key, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
    except OSError:
        return None
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
        there = os.stat(key, dir_fd=root, follow_symlinks=False)
        mine = os.fstat(fd)
        if (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino):
            return fd
    except OSError:
        pass
    os.close(fd)
    return None


def _let_others_end(root: int, key: str) -> None:
    """Wait while somebody is just taking the entry away, who may be kept from running for longer than all our turns take."""
    with contextlib.suppress(OSError):
        fd = os.open(key, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH)
        finally:
            os.close(fd)


def _write(place: Path, files: Mapping[str, tuple[bytes, int]]) -> None:
    """A whole entry. Everything in it may be read by anybody who gets to it: a run has a user of its own."""
    os.mkdir(place, 0o755)
    base = place / "files"
    base.mkdir(mode=0o755)
    manifest = {}
    for name, (data, mode) in files.items():
        path = base / clean_name(name, "store")
        for parent in [*reversed(path.relative_to(base).parents)][1:]:
            with contextlib.suppress(FileExistsError):
                (base / parent).mkdir(mode=0o755)
        permissions = 0o555 if mode & 0o111 else 0o444
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, permissions)
        with open(fd, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), permissions)  # whatever the umask
        manifest[name] = [hashlib.sha256(data).hexdigest(), permissions]
    for _, _, _, fd in os.fwalk(place):
        os.fchmod(fd, 0o755)
    (place / _MANIFEST).write_text(json.dumps(manifest), encoding="ascii")


def _manifest(path: Path) -> dict[str, tuple[str, int]]:
    if path.stat().st_size > _MANIFEST_BYTES:
        raise ValueError("too large")
    return {str(name): (str(digest), int(mode)) for name, (digest, mode) in json.loads(path.read_bytes()).items()}


def _regular(path: Path, mode: int) -> bytes:
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or stat.S_IMODE(found.st_mode) != mode:
            raise ValueError("not what was written")
        return file.read()


def _count(place: Path) -> int:
    """Everything below that is no real folder, links to folders too."""
    return sum(
        len(names) + sum(stat.S_ISLNK(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode) for name in folders)
        for _, folders, names, fd in os.fwalk(place)
    )


def _size(root: int, key: str) -> int:
    """Bytes of an entry; of one that is just being removed what is left."""
    total = 0
    for _, _, names, fd in os.fwalk(key, dir_fd=root):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.stat(name, dir_fd=fd, follow_symlinks=False).st_size
    return total


def _now(root: int) -> float:
    """The clock of the file system that the store is on, as its drafts have it."""
    os.utime(root)
    return os.fstat(root).st_mtime


def _failed(root: Path, error: OSError) -> ResourceError:
    what = f"{root}: what was built cannot be kept"
    return ResourceError.exhausted(what, error.errno) or ResourceError(
        f"{what}: {error.strerror}", hint="set XDG_CACHE_HOME to a directory of yours"
    )
