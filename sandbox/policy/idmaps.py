"""Which host ids a sandbox gets.

"single": the payload has the caller's own host uid (no privilege is needed). "ranges": every sandbox of a launcher has
a host uid of its own, from /etc/subuid through newuidmap, or from a block far above real users when the caller is root.
Host uid 0 never reaches a payload: the two-level map (host, launcher, sandbox) hands out ids from 1 on.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence

from sandbox.host.facts import HostFacts
from sandbox.model.errors import UnsupportedHostError
from sandbox.model.plan import IdMaps, random_block
from sandbox.model.policy import Identity

MAX_SLOTS = 4096
LEAST_ID = 1000  # below are root and the system's own users


def choose(identity: Identity, facts: HostFacts, *, as_caller: bool) -> IdMaps:
    """The maps for this caller. Raises UnsupportedHostError when ranges are demanded and cannot be had.

    `as_caller`: the profile mounts what only the caller's own user can use, so "auto" means "single" (except for root).
    """
    if facts.uid == 0:
        if identity.id_map == "single":
            raise UnsupportedHostError(
                "id_map", "root cannot map its own id alone: the payload would be host uid 0", 'set identity.id_map = "auto"'
            )
        start = _root_block(facts)
        lines = ((0, 0, 1), (1, start, MAX_SLOTS))
        return _ranges(identity, lines, lines, MAX_SLOTS, b"", b"")
    single = identity.id_map == "single" or (identity.id_map == "auto" and as_caller)
    uid_range, gid_range = _first_usable(facts.subuid, facts.uid), _first_usable(facts.subgid, facts.gid)
    if not single and facts.newuidmap and facts.newgidmap and uid_range and gid_range:
        slots = min(uid_range[1], gid_range[1], MAX_SLOTS)
        uids = ((0, facts.uid, 1), (1, uid_range[0], slots))
        gids = ((0, facts.gid, 1), (1, gid_range[0], slots))
        return _ranges(identity, uids, gids, slots, os.fsencode(facts.newuidmap), os.fsencode(facts.newgidmap))
    if identity.id_map == "ranges":
        raise UnsupportedHostError(
            "newuidmap",
            "the profile wants a host uid of its own for every sandbox, which needs newuidmap and a range in /etc/subuid",
            "apt install uidmap && usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER"
            f" (ranges that begin below {LEAST_ID} or hold the caller's own id are not used)",
        )
    return IdMaps(
        launcher_uids=((0, facts.uid, 1),),
        launcher_gids=((0, facts.gid, 1),),
        deny_setgroups=True,
        first_slot=0,
        slots=0,
        uid=identity.uid,
        gid=identity.gid,
    )


def _first_usable(ranges: Sequence[tuple[int, int]], own: int) -> tuple[int, int] | None:
    """The first range that holds no id of the system or of the caller: a payload with such an id would be that user."""
    for start, count in ranges:
        if start >= LEAST_ID and count > 0 and not start <= own < start + count:
            return start, count
    return None


def _ranges(
    identity: Identity,
    uids: tuple[tuple[int, int, int], ...],
    gids: tuple[tuple[int, int, int], ...],
    slots: int,
    newuidmap: bytes,
    newgidmap: bytes,
) -> IdMaps:
    return IdMaps(
        launcher_uids=uids,
        launcher_gids=gids,
        newuidmap=newuidmap,
        newgidmap=newgidmap,
        deny_setgroups=False,
        first_slot=1,
        slots=slots,
        uid=identity.uid,
        gid=identity.gid,
    )


def needs_caller(sources: Iterable[tuple[str, bool]], uid: int) -> bool:
    """Whether any (source, writable) can be used by its owner alone, and `uid` is that owner."""
    return any(closed_to_others(source, writable=writable) == uid for source, writable in sources)


def closed_to_others(source: str, *, writable: bool) -> int | None:
    """The owner, if nobody else can read (and enter, and write) a file or directory; None otherwise."""
    try:
        found = os.stat(source)
    except OSError:
        return None
    wanted = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(found.st_mode) else 0) | (stat.S_IWOTH if writable else 0)
    return found.st_uid if found.st_mode & wanted != wanted else None


_block = -1


def own_block() -> int:
    """The block that this process has taken at random, -1 if it has not."""
    return _block


def _root_block(facts: HostFacts) -> int:
    """root's range in /etc/subuid, else a block of ids chosen at random once for each process."""
    global _block
    for start, count in facts.subuid:
        if start >= LEAST_ID and count >= MAX_SLOTS and (start, count) in facts.subgid:
            return int(start)
    if _block < 0:
        _block = random_block(MAX_SLOTS)
    return _block
