from __future__ import annotations

import re
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


def test_the_example_of_mounts_works(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    found: dict[str, object] = {}
    exec(code.replace("/srv/course", str(tmp_path)), found)
    assert found["profile"].granted == ("/data",)  # type: ignore[attr-defined]


def test_the_files_of_etc_are_documented() -> None:
    from sandbox import Profile
    from sandbox.policy.explain import explain
    from sandbox.policy.rootfs import etc_files

    policy = Profile.load("default").policy
    assert [name for name in etc_files(policy) if f"`/etc/{name}`" not in TEXT] == []
    (row,) = [row for row in explain(Profile.load("default")) if row.text.startswith("/etc has")]
    assert all(name in row.text for name in etc_files(policy))
    mounted = Profile.parse('extends = "default"\n[[mounts]]\nsource = "/etc/hosts"\nwhy = "x"\n')
    (row,) = [row for row in explain(mounted) if row.text.startswith("/etc has")]
    assert "hosts" not in row.text
    whole = Profile.parse('extends = "default"\n[[mounts]]\nsource = "/srv"\ntarget = "/etc"\nwhy = "x"\n')
    assert not [row for row in explain(whole) if row.text.startswith("/etc has")]
