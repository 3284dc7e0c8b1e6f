"""Bits of clone(2) and unshare(2), for who names namespaces and enters none: loads nothing.

Source: linux/sched.h.
"""

from __future__ import annotations

CLONE_NEWTIME = 0x80
CLONE_PIDFD = 0x1000
CLONE_NEWNS = 0x20000
CLONE_NEWCGROUP = 0x2000000
CLONE_NEWUTS = 0x4000000
CLONE_NEWIPC = 0x8000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_INTO_CGROUP = 0x200000000
