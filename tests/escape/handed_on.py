"""Layers against what a payload could have from its caller, and from us: descriptors, environment, signals, priorities."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.runtime import request
from tests.escape import layers
from tests.escape.layers import Layer
from tests.escape.spawning import spawning

DESCRIPTORS = tuple(f"descriptors: {who}" for who in ("caller", "keeper", "init", "child", "payload"))


def _leave_open(options: dict[str, Any]) -> None:
    for fd in options.pop("pass_fds"):
        os.set_inheritable(fd, True)
    options["close_fds"] = False


@contextlib.contextmanager
def _unguarded() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(request, "_GUARDED", ())
        patch.setattr(request, "_GUARDED_SUFFIX", "\0")
        yield


_EXECVE = "os.execve(path, program.argv, environment)"
_SPAWN = "Spawner(program.argv, program.environment, streams)"
_SPAWNED = "        child, self.file_limit, began = payload.spawn("
_ALL_VARIABLES = "(*(name + b'=' + value for name, value in os.environb.items()), *program.environment)"
_SET_DEFAULTS, _SET_NONE = "_SETSIGDEF, _SETSID = 0x04, 0x80", "_SETSIGDEF, _SETSID = 0, 0x80"
HAND_ON_NONE = "    process.hand_on_none()\n"
_FORK = "        child = os.fork()\n        if child == 0:\n"
_INITS_DESCRIPTORS = "        process.close_all_but((*self.joins, self.status.fileno()))\n"
CHILDS_DESCRIPTORS = "    process.close_all_but((child.orders.fileno(), child.work, child.terminal, child.failure))\n"
_CWD = 'if not os.getcwdb().startswith(b"/"):'
layers.register(
    Layer(name="descriptors: caller", caller=spawning(_leave_open), executed="the launcher is executed again"),
    Layer(
        name="descriptors: keeper",
        patches=(("launcher/keeper.py", "    process.close_all_but((control_fd, plan_fd, caller_pidfd, package))\n", ""),),
    ),
    Layer(name="descriptors: init", patches=(("launcher/init.py", _INITS_DESCRIPTORS, ""),)),
    Layer(name="descriptors: child", patches=(("launcher/payload.py", CHILDS_DESCRIPTORS, ""),)),
    Layer(
        name="descriptors: payload",
        patches=(
            ("launcher/payload.py", "    process.close_all_but((failure,))\n", ""),
            ("launcher/payload.py", HAND_ON_NONE, ""),
        ),
    ),
    Layer(
        name="close-on-exec",
        patches=(
            ("launcher/init.py", _FORK, _FORK + "            os.set_inheritable(self.status.fileno(), True)\n"),
            ("launcher/init.py", _SPAWNED, "        os.set_inheritable(self.status.fileno(), True)\n" + _SPAWNED),
        ),
    ),
    Layer(name="path of the cwd", patches=(("launcher/payload.py", _CWD, "if False:"),)),
    Layer(name="environment: caller", caller=spawning(lambda options: options.pop("env"))),
    Layer(
        name="environment: payload",
        patches=(
            ("launcher/payload.py", _EXECVE, "os.execve(path, program.argv, {**os.environb, **environment})"),
            ("launcher/payload.py", _SPAWN, _SPAWN.replace("program.environment", _ALL_VARIABLES)),
        ),
        executed="it is a matter of exec",
    ),
    Layer(name="guarded variables", caller=_unguarded, executed="such a variable is for an interpreter of its own"),
    Layer(name="umask: payload", patches=(("launcher/payload.py", "    os.umask(plan.umask)\n", ""),)),
    Layer(
        name="umask: launcher",
        patches=(
            ("launcher/keeper.py", "    os.umask(0o077)\n", ""),
            ("launcher/template.py", "    os.umask(0)\n", ""),
            ("launcher/template.py", "    os.umask(0o077)\n", ""),
        ),
    ),
    Layer(
        name="default signals",
        patches=(("launcher/keeper.py", "    process.default_signals(ignore=_signal.SIGPIPE)  # until the payload\n", ""),),
        executed="the interpreter sets them itself",
    ),
    Layer(name="every signal", patches=(("kernel/process.py", "_UNCHANGEABLE = (9, 19)", "_UNCHANGEABLE = (9, 19, 32, 33)"),)),
    Layer(
        name="default signals of the program",
        patches=(("kernel/spawn.py", _SET_DEFAULTS, _SET_NONE),),
        executed="the interpreter sets them itself",
    ),
    Layer(
        name="default SIGPIPE",
        patches=(
            ("launcher/payload.py", "    _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)\n", ""),
            ("kernel/spawn.py", _SET_DEFAULTS, _SET_NONE),
        ),
        executed="the interpreter sets it itself",
    ),
    Layer(
        name="signal mask",
        patches=(("launcher/keeper.py", "    _signal.pthread_sigmask(_signal.SIG_SETMASK, [])\n", ""),),
    ),
    Layer(name="ordinary priority", patches=(("launcher/keeper.py", "        process.ordinary_priority()\n", ""),)),
    Layer(name="groups: launcher", patches=(("launcher/template.py", "        os.setgroups([])\n", "        pass\n"),)),
    Layer(name="groups: init", patches=(("launcher/init.py", "            os.setgroups([])\n", "            pass\n"),)),
    Layer(
        name="groups: read back",
        patches=(("launcher/runs.py", 'groups = plan.ids.deny_setgroups or not found[b"Groups"].split()', "groups = True"),),
    ),
    Layer(name="rlimits", plan=lambda plan: plan.replace(rlimits=())),
)
