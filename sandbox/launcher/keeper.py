"""The keeper: the one process of a launcher that stays in the host's namespaces.

It clones the launcher proper (pid 1 of its own user, mount and pid namespaces), writes its id maps, waits until it is
dead, which means that every sandbox is dead too, and removes the control groups that were left. It holds no descriptor
that could keep anything alive: if it is killed, the launcher dies with it.
"""

from __future__ import annotations

import _signal
import _socket
import gc
import os
import select
import sys
import time

from sandbox.kernel import namespaces, process
from sandbox.kernel.namespaces import CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER
from sandbox.launcher import loop, template, warmup, wire
from sandbox.model import launch, steps
from sandbox.model.plan import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket

    from sandbox.model.plan import IdMaps

_REMOVE_SECONDS = 5.0
_STAYS, _STAY_MS = 8, 8


def main(control_fd: int, plan_fd: int, caller_pidfd: int, package: int = -1) -> None:
    """Serve one caller, then exit. Process: the keeper (and, after the clone, the launcher)."""
    _occupy_standard_streams()
    process.default_signals(ignore=_signal.SIGPIPE)  # until the payload
    _signal.pthread_sigmask(_signal.SIG_SETMASK, [])
    os.umask(0o077)
    os.chdir("/")
    control = _socket.socket(fileno=control_fd)
    os.set_inheritable(control_fd, False)
    process.close_all_but((control_fd, plan_fd, caller_pidfd, package))
    plan = Plan.decode(wire.read_memory_file(plan_fd))
    os.close(plan_fd)
    try:
        process.ordinary_priority()
        process.raise_open_files()
    except OSError as error:
        _refuse(control, steps.TEMPLATE_PRIORITY, error)
    gc.disable()
    gc.freeze()
    ours, theirs = wire.pair()
    try:
        pid, pidfd = namespaces.clone(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID)
    except OSError as error:
        _refuse(control, steps.TEMPLATE_NAMESPACES, error)
    if pid == 0:
        ours.close()
        _launcher(plan, control, theirs, caller_pidfd, package)
    theirs.close()
    wire.close_all((package,))
    directories, stay = _introduce(plan, control, ours, pid)
    control.close()
    _await_end(pidfd, caller_pidfd, stay)
    _remove_groups(directories)
    os._exit(0)


def _introduce(plan: Plan, control: Socket, launcher: Socket, pid: int) -> tuple[tuple[bytes, ...], bytes]:
    """Tell the caller the launcher's pid, wait until it is in its control group, write its maps, let it go on.

    Returns the directories of its control groups, and where `_await_end` stays.
    """
    try:
        wire.send(control, (launch.HELLO, pid))
        answer = wire.receive(control)
    except (OSError, wire.WireError):
        answer = None
    if answer is None:  # the caller is gone: ending here ends the launcher
        os._exit(1)
    _, directories, stay = answer[0]
    try:
        _write_maps(plan.ids, pid)
        launcher.send(b"go")
    except OSError as error:
        _refuse(control, steps.TEMPLATE_ID_MAP, error)
    launcher.close()
    return directories, stay


def _await_end(launcher: int, caller: int, stay: bytes) -> None:
    """Until the launcher is dead. It ends when its caller does; one that is stopped, or stuck in the kernel, is ended.

    The first run comes soon, and its init moves into control groups. On version 1 the first move after 15 ms without one waits
    5 to 15 ms for the kernel (cgroup_threadgroup_rwsem and its grace period of RCU), the next ones do not. So we write
    ourselves into the group that we are in, `stay`, meanwhile: that moves nothing, and has that wait begin now.
    """
    poll = select.poll()
    for fd in (launcher, caller):
        poll.register(fd, select.POLLIN)
    for _ in range(_STAYS if stay else 0):
        _write_ourselves(os.fsdecode(stay))
        if poll.poll(_STAY_MS):
            break
    if launcher not in dict(poll.poll()):
        namespaces.send_signal(launcher, _signal.SIGKILL)
    os.waitid(os.P_PIDFD, launcher, os.WEXITED)


def _write_ourselves(procs: str) -> None:
    try:
        namespaces.write_file(procs, b"0")
    except OSError:
        return  # then the first run takes longer


def _launcher(plan: Plan, control: Socket, keeper: Socket, caller_pidfd: int, package: int) -> None:
    """Process: the launcher, from its first instruction to its last."""
    progress = steps.Progress()
    progress.step = steps.TEMPLATE_ID_MAP
    try:
        process.prctl(process.PR_SET_PDEATHSIG, _signal.SIGKILL)
        if keeper.recv(8) != b"go":
            os._exit(1)
        keeper.close()
        template.build(plan, progress)
        if plan.warm.interpreter:
            warmup.enter(plan, control, caller_pidfd, package, progress)
        wire.send(control, (launch.READY,))
    except OSError as error:
        _refuse(control, progress.step, error, progress.index)
    except BaseException:
        os._exit(1)
    try:
        loop.Launcher(plan, control, caller_pidfd).serve()
    finally:
        os._exit(0)


def _refuse(control: Socket, step: int, error: OSError, index: int = 0) -> None:
    """Tell the caller which step failed, and end."""
    try:
        wire.send(control, (launch.START_FAILED, step, index, error.errno or 0))
    except OSError:
        os._exit(2)  # nobody listens any more
    os._exit(1)


def _write_maps(ids: IdMaps, pid: int) -> None:
    """Write the launcher's id maps, by ourselves or through newuidmap and newgidmap (user_namespaces(7))."""
    if ids.newuidmap:
        _run_helper(ids.newuidmap, pid, ids.launcher_uids)
        _run_helper(ids.newgidmap, pid, ids.launcher_gids)
        return
    if ids.deny_setgroups:
        namespaces.write_file(f"/proc/{pid}/setgroups", b"deny")
    namespaces.write_file(f"/proc/{pid}/uid_map", _map_text(ids.launcher_uids))
    namespaces.write_file(f"/proc/{pid}/gid_map", _map_text(ids.launcher_gids))


def _map_text(lines: tuple[tuple[int, int, int], ...]) -> bytes:
    return b"".join(b"%d %d %d\n" % line for line in lines)


def _run_helper(path: bytes, pid: int, lines: tuple[tuple[int, int, int], ...]) -> None:
    words = [b"%d" % number for line in lines for number in line]
    helper = os.posix_spawn(path, [path, b"%d" % pid, *words], {})
    _, status = os.waitpid(helper, 0)
    if status != 0:
        raise PermissionError(1, "newuidmap or newgidmap refused")


def _occupy_standard_streams() -> None:
    """0, 1 and 2 are always open, so that no other descriptor can take their place."""
    null = os.open("/dev/null", os.O_RDWR)
    while null <= 2:
        null = os.dup(null)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.close(null)


def _remove_groups(directories: tuple[bytes, ...]) -> None:
    """Remove the launcher's control groups with the leaves in them; everything in them is dead by now."""
    deadline = time.monotonic() + _REMOVE_SECONDS
    for directory in directories:
        while not _remove_tree(directory) and time.monotonic() < deadline:
            time.sleep(0.005)


def _remove_tree(directory: bytes) -> bool:
    try:
        with os.scandir(directory) as entries:
            below = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        for path in below:
            _remove_tree(path)
        os.rmdir(directory)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit("start sandbox/launcher/__main__.py instead")
