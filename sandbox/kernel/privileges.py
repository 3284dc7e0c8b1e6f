"""What the calling process itself may do, by name. Process: the caller, never the launcher (python-prctl is no stdlib).

Source: capabilities(7), prctl(2).
"""

from __future__ import annotations

import prctl


def capabilities() -> tuple[str, ...]:
    """Names of the effective capabilities, such as "sys_admin", sorted."""
    names = {name for name in dir(prctl.cap_effective) if f"CAP_{name.upper()}" in vars(prctl)} - {"last_cap"}
    return tuple(sorted(name for name in names if getattr(prctl.cap_effective, name)))


def securebits() -> tuple[str, ...]:
    """Names of the securebits that are set, such as "noroot"."""
    return tuple(name for name in prctl.Securebits.__slots__ if getattr(prctl.securebits, name))


def has_no_new_privs() -> bool:
    """Whether set-uid programs (newuidmap) have lost their effect for this process."""
    return bool(prctl.get_no_new_privs())
