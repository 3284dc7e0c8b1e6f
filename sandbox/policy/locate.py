"""Where the shipped profiles lie: beside the package in a checkout, inside it in an installed wheel."""

from __future__ import annotations

import functools
from pathlib import Path

import sandbox


@functools.cache
def profiles_dir() -> Path:
    """The directory with `*.toml`, `syscalls/` and `golden/`."""
    package = Path(sandbox.__file__).parent
    installed = package / "_profiles"
    return installed if installed.is_dir() else package.parent / "profiles"
