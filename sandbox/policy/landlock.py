"""The Landlock ruleset of a policy: a second net under the mounts.

Source: Documentation/userspace-api/landlock.rst; the access bits by ABI version.
"""

from __future__ import annotations

import os

from sandbox.host.facts import HostFacts
from sandbox.model.errors import UnsupportedHostError
from sandbox.model.plan import Landlock
from sandbox.model.policy import Policy
from sandbox.policy.rootfs import Root

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
MAKE_CHAR, MAKE_BLOCK = 1 << 6, 1 << 11
_ALL_FS_ABI1 = (1 << 13) - 1
_READ = READ_FILE | READ_DIR
_FILE_BITS = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
_NET_TCP = 0b11
_SCOPES = 0b11


def ruleset(policy: Policy, root: Root, facts: HostFacts) -> Landlock:
    """The rules for the ABI that this host has. Raises UnsupportedHostError when Landlock is required and missing."""
    abi = facts.landlock_abi
    if abi == 0:
        if policy.landlock == "required":
            raise UnsupportedHostError(
                "landlock",
                "the kernel does not offer Landlock, the second layer of file system rules",
                'boot with lsm=landlock,… or say landlock = "if_present" in the profile',
            )
        return Landlock(abi=0, handled_fs=0, handled_net=0, scoped=0, rules=())
    handled = _ALL_FS_ABI1 | (REFER if abi >= 2 else 0) | (TRUNCATE if abi >= 3 else 0) | (IOCTL_DEV if abi >= 5 else 0)
    full = handled & ~(MAKE_CHAR | MAKE_BLOCK | IOCTL_DEV)
    rules: dict[bytes, int] = {b"/": READ_DIR, b"/etc": _READ, b"/proc": _READ}
    rules[b"/dev"] = (_READ | WRITE_FILE | IOCTL_DEV | TRUNCATE) & handled
    if root.overlay:
        rules[b"/"] = full
    for place in root.places:
        access = _READ | (EXECUTE if place.executable else 0) | (full & ~EXECUTE if place.writable else 0)
        rules[os.fsencode(place.target)] = access if place.is_directory else access & handled & _FILE_BITS
    private = [(policy.work.path, policy.work.executable)]
    private += [("/tmp", policy.scratch.executable)] if policy.scratch.tmp else []
    private += [("/dev/shm", policy.scratch.executable)] if policy.scratch.shm else []
    for path, executable in private:
        rules[os.fsencode(path)] = full if executable else full & ~EXECUTE
    if not root.has_etc:
        del rules[b"/etc"]
    return Landlock(
        abi=abi,
        handled_fs=handled,
        handled_net=_NET_TCP if abi >= 4 and policy.network == "none" else 0,
        scoped=_SCOPES if abi >= 6 else 0,
        rules=tuple(sorted(rules.items())),
    )
