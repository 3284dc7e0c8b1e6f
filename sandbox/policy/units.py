"""Sizes and durations as people write them."""

from __future__ import annotations

import re

_SIZES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_DURATIONS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9}
_HOST_NAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9.-]{0,62}[a-zA-Z0-9])?")
_FORM = re.compile(r"(\d{1,15}(?:\.\d{1,6})?) ?([A-Za-z]+)")
MAX_BYTES = 1 << 50
MAX_ID = 65_533  # 65534 is nobody
MAX_NS = 30 * 24 * 3600 * 10**9


def size(value: object) -> int:
    """Bytes of "256MiB", "1.5GiB", "4096B" or a plain number of bytes. Raises ValueError that says what was expected."""
    return _parse(value, _SIZES, MAX_BYTES, "a size such as 256MiB", plain=True)


def duration(value: object) -> int:
    """Nanoseconds of "2s", "500ms", "1.5min". A number without a unit is refused. Raises ValueError."""
    return _parse(value, _DURATIONS, MAX_NS, "a duration with its unit such as 2s or 500ms", plain=False)


def count(value: object, *, most: int = 1 << 40) -> int:
    """A number of things, at most `most`. Raises ValueError."""
    if isinstance(value, str) and value.isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise ValueError(f"expected a whole number up to {most}, not {value!r}")
    return value


def cpus(value: object) -> int:
    """Thousandths of a CPU of 1.5 or "1.5". Raises ValueError."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise ValueError(f"expected a number of CPUs such as 1.5, not {value!r}") from None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 4096:
        raise ValueError(f"expected a number of CPUs such as 1.5, not {value!r}")
    return round(value * 1000)


def user_id(value: object) -> int:
    """A user or group id inside: 1 to MAX_ID. Raises ValueError."""
    number = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= MAX_ID:
        raise ValueError(f"expected a whole number from 1 to {MAX_ID}, not {value!r}")
    return number


def host_name(value: object) -> str:
    """A host name. Raises ValueError."""
    if not isinstance(value, str) or not _HOST_NAME.fullmatch(value):
        raise ValueError(f"expected a host name (up to 64 letters, digits, '-' and '.'), not {value!r}")
    return value


def directory(value: object) -> str:
    """An absolute path inside. Raises ValueError."""
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value or ".." in value.split("/"):
        raise ValueError(f"expected an absolute path without '..', not {value!r}")
    return value


def umask(value: object) -> int:
    """The bits of 0o077 or "0o077" or "077". Raises ValueError."""
    number = int(value, 8) if isinstance(value, str) and re.fullmatch(r"(0o)?[0-7]{1,4}", value) else value
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= 0o777:
        raise ValueError(f"expected a number such as 0o077, not {value!r}")
    return number


def _parse(value: object, units: dict[str, int], most: int, expected: str, *, plain: bool) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and (plain or value == 0):
        number = value
    elif isinstance(value, str) and (match := _FORM.fullmatch(value.strip())) and match[2] in units:
        number = round(float(match[1]) * units[match[2]]) if "." in match[1] else int(match[1]) * units[match[2]]
    elif plain and isinstance(value, str) and value.isdigit():
        number = int(value)
    else:
        raise ValueError(f"expected {expected}, not {value!r} (units: {', '.join(units)})")
    if not 0 <= number <= most:
        last = size_text(most) if plain else duration_text(most)
        raise ValueError(f"expected {expected}, from 0 to {last}, not {value!r}")
    return number


def size_text(number: int) -> str:
    """The shortest exact text of a number of bytes."""
    for unit in ("GiB", "MiB", "KiB"):
        if number and number % _SIZES[unit] == 0:
            return f"{number // _SIZES[unit]}{unit}"
    return f"{number}B"


def duration_text(number: int) -> str:
    """The shortest exact text of a number of nanoseconds."""
    for unit in ("h", "min", "s", "ms", "us"):
        if number and number % _DURATIONS[unit] == 0:
            return f"{number // _DURATIONS[unit]}{unit}"
    return f"{number}ns"


def limit_text(name: str, value: int) -> str:
    """A limit, by its name in the file, as it would be written there."""
    if name in ("cpu", "wall", "idle"):
        return duration_text(value) if value else "not watched"
    if name == "cpu_quota":
        return f"{value / 1000:g}" if value else "no bound"
    if name in ("pids", "scratch_inodes", "open_files", "collect_files"):
        return str(value)
    return size_text(value)
