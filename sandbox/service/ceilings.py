"""Limits as requests give them, held against those of the server. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sandbox.model.errors import PolicyError
from sandbox.model.limits import Limits
from sandbox.policy import units
from sandbox.policy.resolve import LIMITS

OFF_IS_ZERO = ("idle_ns", "cpu_quota_millicpus")
_NAMES = {field: name for name, field in LIMITS.items()}
_PARSERS: Mapping[str, Callable[[object], int]] = {
    **dict.fromkeys(("cpu", "wall", "idle"), units.duration),
    **dict.fromkeys(("memory", "output", "scratch", "file_size", "stack", "collect"), units.size),
    **dict.fromkeys(("pids", "scratch_inodes", "open_files", "collect_files"), units.count),
    "cpu_quota": units.cpus,
}
_MAY_BE_ZERO = {*OFF_IS_ZERO, "collect_bytes", "collect_files"}


def parse(given: Mapping[str, str | int]) -> dict[str, int]:
    """Limits by the names of profiles ("memory": "64MiB") or of the fields ("memory_bytes": 1 << 26) → field → number.

    Raises ValueError.
    """
    out: dict[str, int] = {}
    for key, value in given.items():
        name = _NAMES.get(key, key)
        if name not in LIMITS:
            raise ValueError(f"there is no limit {key!r}; there are {', '.join(LIMITS)}")
        field = LIMITS[name]
        try:
            number = units.count(value, most=units.MAX_NS) if key == field else _PARSERS[name](value)
        except ValueError as error:
            raise ValueError(f"limit {key}: {error}") from None
        if number < 1 and field not in _MAY_BE_ZERO:
            raise ValueError(f"limit {key}: must be more than nothing")
        out[field] = number
    return out


def lowest(*parts: Mapping[str, int]) -> dict[str, int]:
    """Of each limit the tightest that one of `parts` has."""
    out: dict[str, int] = {}
    for part in parts:
        for field, number in part.items():
            there = out.get(field)
            looser = there is None or (field in OFF_IS_ZERO and there == 0)
            off = field in OFF_IS_ZERO and number == 0
            if looser or (number < there and not off):  # type: ignore[operator]  # there is one
                out[field] = number
    return out


def of(limits: Limits) -> dict[str, int]:
    """The limits of a profile as a mapping."""
    return {field: getattr(limits, field) for field in _NAMES}


def within(ceiling: Mapping[str, int], asked: Mapping[str, str | int]) -> dict[str, int]:
    """What a request asks for. Raises PolicyError for what is above `ceiling`, or no limit."""
    try:
        wanted = parse(asked)
    except ValueError as error:
        raise PolicyError(str(error), path="limits") from None
    for field, number in wanted.items():
        most = ceiling.get(field)
        unbounded = field in OFF_IS_ZERO and number == 0
        if most is not None and (number > most or unbounded) and not (field in OFF_IS_ZERO and most == 0):
            name = _NAMES[field]
            raise PolicyError(
                f"{units.limit_text(name, number)} is more than the {units.limit_text(name, most)} that this server allows",
                path=f"limits.{name}",
                hint=f"ask for at most {units.limit_text(name, most)}",
            )
    return wanted
