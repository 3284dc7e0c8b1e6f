"""Every attack is contained, every claim is attacked, every knock-out still fits the source. `make escape` does the rest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.escape import arena, evidence, layers
from tests.escape.model import CATEGORIES, PROFILES, Attack
from tests.support.require import require

ATTACKS = arena.load()


@pytest.fixture(scope="module")
def ground(degraded: bool) -> Iterator[arena.Arena]:
    require("gcc")
    with arena.Arena(degraded=degraded) as made:
        yield made


@pytest.mark.vm
@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_contained(attack: Attack, ground: arena.Arena) -> None:
    require(*attack.needs)
    trial = ground.run(attack, "default" if "default" in attack.profiles else attack.profiles[0], ())
    assert trial.verdict in ("contained", "void"), trial


def test_every_claim_is_attacked_and_every_attack_is_against_a_claim() -> None:
    sentences = evidence.claims()
    assert len(sentences) > 30
    attacked = {claim for attack in ATTACKS.values() for claim in attack.claims}
    from_outside, knocked_out = (evidence.tested(knocked_out=only).keys() for only in (False, True))
    assert attacked | from_outside <= set(sentences), "attacks name claims that SECURITY.md does not make"
    unproven = "claims without an attack that was seen to succeed without their layers"
    assert set(sentences) <= attacked | knocked_out, unproven


def test_every_knock_out_fits_the_source(tmp_path: Path) -> None:
    for name, layer in layers.LAYERS.items():
        if layer.patches:
            assert layers.launcher_without([name], tmp_path), name


def test_attacks_are_complete() -> None:
    for attack in ATTACKS.values():
        assert attack.layers, attack.id
        assert attack.claims, attack.id
        assert set(attack.profiles) <= set(PROFILES), attack.id
    assert set(CATEGORIES) == set(ATTACKS)


def test_the_page_is_current() -> None:
    kept = evidence.all_kept()
    assert evidence.PAGE.read_text() == evidence.page(kept, evidence.claims())
    for name, entry in kept.items():
        assert not evidence.complaints(entry, ATTACKS), f"{name}: run make escape"
