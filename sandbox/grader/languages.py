"""Languages as data: one TOML file each, which may extend another. Being rewritten."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Language:
    """One language."""

    id: str
    name: str = ""
