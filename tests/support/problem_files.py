"""Problem packages for tests, written from a mapping of names to text; and zip archives with entries of any kind."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path


def write(root: Path, files: Mapping[str, str | bytes]) -> Path:
    """Writes files below `root`; a name that ends with "/" is an empty folder."""
    root.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def cases(*names: str) -> dict[str, str]:
    """Input and answer of cases such as "secret/1"."""
    found = {}
    for name in names:
        found[f"data/{name}.in"] = f"{name}\n"
        found[f"data/{name}.ans"] = f"{name}\n"
    return found


def zipped(path: Path, files: Mapping[str, str | bytes], *, modes: Mapping[str, int] | None = None) -> Path:
    """A zip archive; `modes` gives entries the type and permissions of a Unix file."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            if modes and name in modes:
                entry.external_attr = modes[name] << 16
            archive.writestr(entry, content)
    return path
