"""Which host ids a payload can get: never root's, never the system's, never the caller's by accident."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sandbox.host.facts import HostFacts
from sandbox.model.errors import UnsupportedHostError
from sandbox.model.plan import ROOT_RANGE_START
from sandbox.model.policy import Identity
from sandbox.policy.idmaps import LEAST_ID, MAX_SLOTS, choose, needs_caller


def facts(**changes: object) -> HostFacts:
    import dataclasses

    from sandbox.host.facts import gather

    given = {"uid": 1001, "gid": 1001, "newuidmap": "/usr/bin/newuidmap", "newgidmap": "/usr/bin/newgidmap"}
    return dataclasses.replace(gather(), **{**given, "subuid": ((100000, 65536),), "subgid": ((100000, 65536),), **changes})


def identity(id_map: str = "auto") -> Identity:
    return Identity(uid=1000, gid=1000, hostname="sandbox", id_map=id_map)  # type: ignore[arg-type]


def test_an_ordinary_user_with_ranges_gets_an_id_for_every_run() -> None:
    maps = choose(identity(), facts(), as_caller=False)
    assert maps.launcher_uids == ((0, 1001, 1), (1, 100000, MAX_SLOTS))
    assert (maps.slots, maps.first_slot, maps.newuidmap) == (MAX_SLOTS, 1, b"/usr/bin/newuidmap")


BAD = {
    "root's": ((0, 65536),),
    "the system's users": ((LEAST_ID - 1, 65536),),
    "the caller": ((1000, 10),),
    "nothing": ((100000, 0),),
    "none": (),
}


@pytest.mark.parametrize("ranges", BAD.values(), ids=BAD.keys())
def test_a_range_with_other_peoples_ids_is_not_used(ranges: tuple[tuple[int, int], ...]) -> None:
    for part in ("subuid", "subgid"):
        maps = choose(identity(), facts(**{part: ranges}), as_caller=False)
        assert (maps.slots, maps.launcher_uids) == (0, ((0, 1001, 1),))
        with pytest.raises(UnsupportedHostError, match="newuidmap"):
            choose(identity("ranges"), facts(**{part: ranges}), as_caller=False)


def test_the_next_range_is_used_instead() -> None:
    maps = choose(identity(), facts(subuid=((0, 10), (200000, 500))), as_caller=False)
    assert maps.launcher_uids[1] == (1, 200000, 500)


def test_root_never_hands_out_low_ids() -> None:
    low = facts(uid=0, gid=0, subuid=((1, MAX_SLOTS),), subgid=((1, MAX_SLOTS),))
    maps = choose(identity(), low, as_caller=True)
    assert maps.launcher_uids[1][1] >= ROOT_RANGE_START
    with pytest.raises(UnsupportedHostError, match="root"):
        choose(identity("single"), low, as_caller=False)


def test_mounts_that_only_the_caller_can_use_decide_an_open_choice(tmp_path: Path) -> None:
    assert choose(identity(), facts(), as_caller=True).slots == 0
    assert choose(identity("ranges"), facts(), as_caller=True).slots == MAX_SLOTS
    private, public = tmp_path / "private", tmp_path / "public"
    private.mkdir(mode=0o700)
    public.mkdir()
    public.chmod(0o755)
    file = tmp_path / "file"
    file.write_text("x")
    file.chmod(0o600)
    uid = os.getuid()
    assert needs_caller([(str(private), False)], uid)
    assert needs_caller([(str(file), False)], uid)
    assert needs_caller([(str(public), True)], uid)
    assert not needs_caller([(str(public), False), (str(tmp_path / "missing"), True)], uid)
    assert not needs_caller([(str(private), False)], uid + 1)
