"""Which host ids a sandbox gets.

"single": the payload has the caller's own host uid (no privilege is needed). "ranges": every sandbox of a launcher has
a host uid of its own, from /etc/subuid through newuidmap, or from a block far above real users when the caller is root.
Host uid 0 never reaches a payload: the two-level map (host, launcher, sandbox) hands out ids from 1 on.
"""

from __future__ import annotations

import os

from sandbox.host.facts import HostFacts
from sandbox.model.errors import UnsupportedHostError
from sandbox.model.plan import IdMaps
from sandbox.model.policy import Identity

MAX_SLOTS = 4096
# Above every range that useradd, systemd (DynamicUser, nspawn) and containers hand out by default.
# Source: systemd UIDS-GIDS.md ("1879048192 … 2147483647: unused").
ROOT_RANGE_START = 1_879_048_192
ROOT_RANGE_BLOCKS = 65_000


def choose(identity: Identity, facts: HostFacts) -> IdMaps:
    """The maps for this caller. Raises UnsupportedHostError when ranges are demanded and cannot be had."""
    if facts.uid == 0:
        if identity.id_map == "single":
            raise UnsupportedHostError(
                "id_map", "root cannot map its own id alone: the payload would be host uid 0", 'set identity.id_map = "auto"'
            )
        start = _root_block(facts)
        lines = ((0, 0, 1), (1, start, MAX_SLOTS))
        return _ranges(identity, lines, lines, MAX_SLOTS, b"", b"")
    if identity.id_map != "single" and facts.newuidmap and facts.newgidmap and facts.subuid and facts.subgid:
        slots = min(facts.subuid[0][1], facts.subgid[0][1], MAX_SLOTS)
        uids = ((0, facts.uid, 1), (1, facts.subuid[0][0], slots))
        gids = ((0, facts.gid, 1), (1, facts.subgid[0][0], slots))
        return _ranges(identity, uids, gids, slots, os.fsencode(facts.newuidmap), os.fsencode(facts.newgidmap))
    if identity.id_map == "ranges":
        raise UnsupportedHostError(
            "newuidmap",
            "the profile wants a host uid of its own for every sandbox, which needs newuidmap and a range in /etc/subuid",
            "apt install uidmap && usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER",
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


_block = -1


def _root_block(facts: HostFacts) -> int:
    """root's range in /etc/subuid, else a block of ids chosen at random once for each process."""
    global _block
    for start, count in facts.subuid:
        if count >= MAX_SLOTS and (start, count) in facts.subgid:
            return int(start)
    if _block < 0:
        _block = ROOT_RANGE_START + int.from_bytes(os.urandom(4), "little") % ROOT_RANGE_BLOCKS * MAX_SLOTS
    return _block
