"""Absolute paths inside the sandbox, as text."""

from __future__ import annotations


def is_clean(path: object) -> bool:
    """Whether it is an absolute path without '.', '..', double slashes and NUL."""
    if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
        return False
    return path == "/" or not any(part in ("", ".", "..") for part in path.split("/")[1:])


def within(path: str, place: str) -> bool:
    """Whether `path` is `place` or lies in it."""
    return path == place or path.startswith(place.rstrip("/") + "/")
