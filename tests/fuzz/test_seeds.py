"""Every seed and every former finding, and some thousand inputs by chance, without the fuzzer."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

SEEDS = Path(__file__).resolve().parent / "seeds"
FILES = sorted(path for path in SEEDS.glob("*/*") if path.is_file())


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_seed(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_bytes_by_chance(name: str) -> None:
    chance = random.Random(name)
    seeds = [path.read_bytes() for path in FILES if path.parent.name == name] or [b""]
    for _ in range(60 if name in ("override", "tree", "oci", "profile") else 600):
        data = bytearray(chance.choice(seeds) or chance.randbytes(chance.randrange(200)))
        for _ in range(chance.randrange(8)):
            at = chance.randrange(len(data) + 1)
            data[at : at + chance.randrange(4)] = chance.randbytes(chance.randrange(4))
        TARGETS[name](bytes(data))


def test_every_target_has_seeds() -> None:
    assert {path.parent.name for path in FILES} == set(TARGETS)
