"""posix_spawn(3): a new program without a copy of this process in between.

Source: posix_spawn(3), posix_spawnattr_setflags(3), posix_spawnattr_setsigdefault(3). Not by `os.posix_spawn`: the C library
leaves the signals 32 and 33, which it keeps for itself, ignored in the new program, unless their default is asked for, and
that function knows no such signals.
"""

from __future__ import annotations

import ctypes

from sandbox.kernel import libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_OPAQUE_BYTES = 1024  # more than posix_spawnattr_t and posix_spawn_file_actions_t of any C library
_SETSIGDEF, _SETSID = 0x04, 0x80
_EVERY_SIGNAL = b"\xff" * 128  # sigset_t
_FUNCTIONS = tuple(
    libc.function(f"posix_spawn{name}")
    for name in ("", "attr_init", "attr_setflags", "attr_setsigdefault", "_file_actions_init", "_file_actions_adddup2")
)  # found here, in the process that all others are copies of


class Spawner:
    """What is the same for all candidates of one program: the streams, its own session, the default action of all signals."""

    def __init__(self, argv: Sequence[bytes], environment: Sequence[bytes], streams: Sequence[int]) -> None:
        self._spawn, attr_init, attr_setflags, attr_setsigdefault, actions_init, actions_adddup2 = _FUNCTIONS
        self._argv = (ctypes.c_char_p * (len(argv) + 1))(*argv, None)
        self._environment = (ctypes.c_char_p * (len(environment) + 1))(*environment, None)
        self._actions = ctypes.create_string_buffer(_OPAQUE_BYTES)
        self._attributes = ctypes.create_string_buffer(_OPAQUE_BYTES)
        libc.check(actions_init(self._actions))
        for number, fd in enumerate(streams):
            libc.check(actions_adddup2(self._actions, ctypes.c_int(fd), ctypes.c_int(number)))
        libc.check(attr_init(self._attributes))
        libc.check(attr_setflags(self._attributes, ctypes.c_short(_SETSIGDEF | _SETSID)))
        libc.check(attr_setsigdefault(self._attributes, _EVERY_SIGNAL))

    def start(self, path: bytes) -> int:
        """Its pid, when `path` is executed. Raises OSError as execve(2) does; nothing is left then.

        Safety: until exec it shares the memory of this process, which waits for that, and runs nothing but the C library's.
        """
        pid = ctypes.c_int(0)
        libc.check(self._spawn(ctypes.byref(pid), path, self._actions, self._attributes, self._argv, self._environment))
        return pid.value
