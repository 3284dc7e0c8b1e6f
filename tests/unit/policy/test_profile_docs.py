from __future__ import annotations

from pathlib import Path

import pydantic

from sandbox.policy.profile import available
from sandbox.policy.schema import MountSection, ProfileFile

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "profiles.md").read_text(encoding="utf-8")


def test_every_key_of_the_schema_is_documented() -> None:
    missing = []
    for section, field in ProfileFile.model_fields.items():
        kind = MountSection if section == "mounts" else field.annotation
        keys = kind.model_fields if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel) else {}
        missing += [f"{section}.{key}" for key in keys if f"`{section}.{key}`" not in TEXT and f"`.{key}`" not in TEXT]
        if not keys and f"`{section}`" not in TEXT:
            missing.append(section)
    assert missing == []


def test_every_shipped_profile_is_documented() -> None:
    assert [name for name in available() if f"`{name}`" not in TEXT] == []
