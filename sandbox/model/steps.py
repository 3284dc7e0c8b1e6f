"""The steps of a launch. A failure crosses process borders as (step, index, errno) and becomes words in the caller.

Numbers are part of the protocol: a new step takes the next free number, a retired number is never used again.
"""

from __future__ import annotations

# launcher start
TEMPLATE_NAMESPACES = 1
TEMPLATE_ID_MAP = 2
TEMPLATE_ROOT = 3
TEMPLATE_SOURCE = 4
TEMPLATE_MOUNT = 5
TEMPLATE_PROC = 6
TEMPLATE_PIVOT = 7
TEMPLATE_HARDEN = 8
TEMPLATE_PRIORITY = 9
WARM_EXEC = 10
WARM_INTERPRETER = 11
WARM_PLACES = 12
WARM_PRELOAD = 13
WARM_THREADS = 14
WARM_DESCRIPTORS = 15
# one run: launcher side
REQUEST = 20
CLONE = 21
RUN_ID_MAP = 22
COLLECT = 23
SERVE = 24
# one run: init
INIT_CGROUP = 30
INIT_IDENTITY = 31
INIT_SESSION = 32
INIT_NAMESPACES = 33
INIT_PROC = 34
INIT_SCRATCH = 35
INIT_OVERLAY = 36
INIT_MASK = 37
INIT_READ_ONLY = 38
INIT_HOSTNAME = 39
INIT_LOOPBACK = 40
INIT_USERNS_LIMIT = 41
INIT_FILES = 42
INIT_TTY = 43
INIT_CWD = 44
INIT_CAPABILITIES = 45
INIT_NO_NEW_PRIVS = 46
INIT_LANDLOCK = 47
INIT_NOTIFY_FILTER = 48
INIT_FORK = 49
INIT_DIED = 50
INIT_VERIFY = 51
# one run: the child that becomes the payload
CHILD_SESSION = 60
CHILD_STDIO = 61
CHILD_RLIMITS = 62
# 63 is retired: capabilities are given up by init
CHILD_DESCRIPTORS = 64
CHILD_FILTER = 65
CHILD_EXEC = 66
CHILD_DIED = 67

NAMES: dict[int, str] = {
    value: name.lower() for name, value in list(globals().items()) if name.isupper() and isinstance(value, int)
}


def name_of(step: int) -> str:
    """The name of a step number, such as "template_mount"."""
    return NAMES.get(step, f"unknown step {step}")


class Progress:
    """Where a launch is now, for the record of a failure."""

    __slots__ = ("index", "step")

    def __init__(self) -> None:
        self.step = 0
        self.index = 0

    def at(self, step: int, index: int = 0) -> None:
        """The next thing that may fail is item `index` of `step`."""
        self.step = step
        self.index = index
