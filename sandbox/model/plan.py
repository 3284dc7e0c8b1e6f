"""`Plan`: everything the launcher executes for one policy on one host, as bytes and integers.

The launcher decides nothing. A Plan can be encoded (its digest is the SHA-256 of that), printed and compared.
"""

from __future__ import annotations

import os

from sandbox.model import codec
from sandbox.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = 2

# Above every range that useradd, systemd (DynamicUser, nspawn) and containers hand out by default.
# Source: systemd UIDS-GIDS.md ("1879048192 … 2147483647: unused").
ROOT_RANGE_START = 1_879_048_192
ROOT_RANGE_BLOCKS = 65_000

# kinds of MountOp
MKDIR = 1  # target, mode
MKFILE = 2  # target, mode, data
SYMLINK = 3  # target, data: where it points
TMPFS = 4  # target, mode, size_bytes, inodes, attrs
BIND = 5  # source, beneath, target, attrs, is_dir
DEVICE = 6  # source, target, major, minor: verified to be that character device
PROC = 7  # target
COVER = 8  # target, attrs: bound over itself with these attributes


def random_block(size: int) -> int:
    """The first of `size` host ids for a launcher of root that has no range: at random, so that two rarely get the same."""
    return ROOT_RANGE_START + int.from_bytes(os.urandom(4), "little") % ROOT_RANGE_BLOCKS * size


class MountOp(Record):
    """One step of building the template root. Which fields count depends on `kind` (see the constants).

    Attributes:
        attrs: MOUNT_ATTR_* bits that are set (mount_setattr(2)), recursively for BIND.
        source: without any link on the way; relative to `beneath` where that is said.
    """

    kind: int
    target: bytes
    source: bytes = b""
    data: bytes = b""
    mode: int = 0o755
    attrs: int = 0
    size_bytes: int = 0
    inodes: int = 0
    is_dir: bool = False
    major: int = 0
    minor: int = 0
    beneath: bytes = b""


class IdMaps(Record):
    """How ids map, in two levels: host ↔ launcher ↔ sandbox.

    Attributes:
        launcher_uids, launcher_gids: lines (inside, outside, count) of the launcher's own user namespace.
        newuidmap, newgidmap: absolute paths of the set-uid helpers that write them; b"" = the keeper writes itself.
        deny_setgroups: setgroups must be given up before the gid map can be written (no privilege at all).
        first_slot: launcher-side id of the first sandbox's payload; sandbox k gets first_slot + k.
        slots: how many sandboxes at once have an id of their own; 0 = all share the launcher's id 0.
        uid, gid: the payload's ids inside.
    """

    launcher_uids: tuple[tuple[int, int, int], ...]
    launcher_gids: tuple[tuple[int, int, int], ...]
    newuidmap: bytes = b""
    newgidmap: bytes = b""
    deny_setgroups: bool
    first_slot: int
    slots: int
    uid: int
    gid: int


class Landlock(Record):
    """A Landlock ruleset. `rules` are (path inside, access bits). `abi` 0 means none is applied.

    Attributes:
        abi: the ABI version the bits were chosen for.
        handled_fs, handled_net, scoped: as in struct landlock_ruleset_attr.
    """

    abi: int
    handled_fs: int
    handled_net: int
    scoped: int
    rules: tuple[tuple[bytes, int], ...]


class Filters(Record):
    """The two compiled seccomp programs (arrays of struct sock_filter, native byte order).

    `main` is loaded by the child: just before exec, or `early`, before it waits for its order, where it allows all that
    is left to do then. `notify` is loaded by init (b"" = none); a call it reports that is in `kill` ends the sandbox,
    any other is answered with EPERM and recorded. `names` are (number, name) of these.
    """

    main: bytes
    notify: bytes
    kill: tuple[int, ...]
    names: tuple[tuple[int, str], ...]
    early: bool = False


class Warm(Record):
    """The interpreter that the launcher becomes when its root is built.

    Attributes:
        interpreter: path inside; b"" for none: the launcher stays what it is.
        preload: names of modules.
        environment: NAME=value, the profile's own.
    """

    interpreter: bytes
    preload: tuple[str, ...]
    environment: tuple[bytes, ...]


COLD = Warm(interpreter=b"", preload=(), environment=())


class Plan(Record):
    """See the module. Paths are bytes; ids, sizes and flags are ints.

    Attributes:
        template: mount operations, once per launcher.
        overlay: every run gets a private writable overlay over the directory bound at /.lower.
        carried: mount points that are carried into that overlay.
        tmp, shm: /tmp and /dev/shm are private writable places of the run.
        scratch_attrs: MOUNT_ATTR_* of them.
        work: the work directory; `work_attrs` its attributes.
        proc_pids: procfs shows processes only (subset=pid).
        masks: paths covered with something empty, where they are there.
        readonly: paths bound over themselves read-only.
        clone_flags: CLONE_NEW* of a run; `time_namespace` is made by unshare.
        capabilities: numbers that are kept (none in shipped profiles).
        rlimits: (resource, soft, hard).
        max_notifications: the notify listener is closed after this many reports (calls then answer ENOSYS).
    """

    version: int = VERSION
    name: str
    ids: IdMaps
    template: tuple[MountOp, ...]
    overlay: bool
    carried: tuple[bytes, ...]
    tmp: bool
    shm: bool
    scratch_attrs: int
    work: bytes
    work_attrs: int
    proc_pids: bool
    masks: tuple[bytes, ...]
    readonly: tuple[bytes, ...]
    hostname: bytes
    clone_flags: int
    time_namespace: bool
    loopback_up: bool
    capabilities: tuple[int, ...]
    filters: Filters
    landlock: Landlock
    rlimits: tuple[tuple[int, int, int], ...]
    cwd: bytes
    umask: int
    max_notifications: int = 64
    warm: Warm = COLD

    def encode(self) -> bytes:
        """The canonical bytes; the digest is taken of these."""
        return codec.encode(self.as_tuple())

    @classmethod
    def decode(cls, data: bytes) -> Plan:
        """The inverse of `encode`. Raises ValueError when the bytes are no plan of this version."""
        values = codec.decode(data)
        if not isinstance(values, tuple) or not values or values[0] != VERSION:
            raise ValueError("not a plan of this version")
        fields: dict[str, Any] = dict(zip(cls.FIELDS, values, strict=True))
        fields["ids"] = IdMaps.from_tuple(fields["ids"])
        fields["template"] = tuple(MountOp.from_tuple(item) for item in fields["template"])
        fields["filters"] = Filters.from_tuple(fields["filters"])
        fields["landlock"] = Landlock.from_tuple(fields["landlock"])
        fields["warm"] = Warm.from_tuple(fields["warm"])
        return cls(**fields)
