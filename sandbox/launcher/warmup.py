"""The launcher as a warm interpreter: it becomes the profile's Python, inside its template root, and goes on as that.

`enter` is the last that the keeper's clone does; `serve` is called by the interpreter that it executes. The launcher's code comes
from a sealed memfd with an archive, as no file of the host is there any more; nothing of it is left among the modules.
"""

from __future__ import annotations

import _signal
import _socket
import errno
import gc
import os
import sys

from sandbox.kernel import process
from sandbox.launcher import loop, payload, warm, wire
from sandbox.model import launch, steps
from sandbox.model.plan import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket

    from sandbox.model.steps import Progress

# Its frame is the lowest one of every program.
_BOOT = "import sys; sys.path[0] = '/proc/self/fd/%d'; from sandbox.launcher.warmup import serve; serve(%d, %d, %d, %d).run()"
_OLDEST = (3, 11)
# Set while modules are loaded: numerical libraries would start a thread for each CPU, and threads do not survive a fork.
_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_OURS = "sandbox"


def enter(plan: Plan, control: Socket, caller_pidfd: int, package: int, progress: Progress) -> None:
    """Execute the interpreter. Process: the launcher, when its template is built. Raises OSError at `progress`.

    The plan goes with it as far as it is still needed: paths of the host are not.
    """
    progress.at(steps.WARM_EXEC)
    ids = plan.ids.replace(launcher_uids=(), launcher_gids=(), newuidmap=b"", newgidmap=b"")
    rest = wire.memory_file(b"plan", (plan.replace(name="", ids=ids, template=()).encode(),))
    fds = (control.fileno(), rest, caller_pidfd, package)
    for fd in fds:
        os.set_inheritable(fd, True)
    interpreter = plan.warm.interpreter
    environment = dict(entry.partition(b"=")[::2] for entry in plan.warm.environment)
    os.execve(interpreter, [interpreter, b"-c", os.fsencode(_BOOT % (package, *fds))], environment)


def serve(control_fd: int, plan_fd: int, caller_pidfd: int, package: int) -> warm.Program:
    """Load the modules and serve, to the end of this process. Returns in a payload's, with the program that it is to run."""
    progress = steps.Progress()
    control = _socket.socket(fileno=control_fd)
    try:
        progress.at(steps.WARM_INTERPRETER)
        process.default_signals(ignore=_signal.SIGPIPE)  # until the payload
        process.prctl(process.PR_SET_PDEATHSIG, _signal.SIGKILL)
        process.prctl(process.PR_SET_DUMPABLE, 1)
        for fd in (control_fd, plan_fd, caller_pidfd):
            os.set_inheritable(fd, False)
        if sys.implementation.name != "cpython" or sys.version_info < _OLDEST:
            raise OSError(errno.ENOEXEC, "not a CPython that is new enough")
        plan = Plan.decode(wire.read_memory_file(plan_fd))
        os.close(plan_fd)
        _forget_package(package)
        _load(plan, progress)
        wire.send(control, (launch.READY,))
    except OSError as error:
        _refuse(control, progress, error.errno or 0)
    except BaseException:
        _refuse(control, progress, 0)
    return _serve(plan, control, caller_pidfd)


def _refuse(control: Socket, progress: Progress, number: int) -> None:
    """Tell the caller which step failed, and end."""
    try:
        wire.send(control, (launch.START_FAILED, progress.step, progress.index, number))
    finally:
        os._exit(1)


def _serve(plan: Plan, control: Socket, caller_pidfd: int) -> warm.Program:
    child = None
    try:
        loop.Launcher(plan, control, caller_pidfd).serve()
    except warm.Start as start:  # we are a child of its init, without any right
        child = start.child
    finally:
        if child is None:
            os._exit(0)
    warm.rehearse()
    return payload.go(child)


def _forget_package(package: int) -> None:
    """Our modules have been found: nothing else is looked up among them."""
    place = sys.path.pop(0)
    os.close(package)
    for name in [name for name in sys.modules if name.partition(".")[0] == _OURS]:
        del sys.modules[name]
    for cache in (sys.path_importer_cache, sys.modules["zipimport"]._zip_directory_cache):
        for path in [path for path in cache if path.startswith(place)]:
            del cache[path]


def _load(plan: Plan, progress: Progress) -> None:
    """Import what is to be there. Raises OSError at `progress`: the errno says what was wrong, as far as a number can."""
    _check_places(progress)
    count = len(os.listdir("/proc/self/fd"))
    kept = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    for index, name in enumerate(plan.warm.preload):
        progress.at(steps.WARM_PRELOAD, index)
        try:
            __import__(name)
        except ModuleNotFoundError:
            raise FileNotFoundError(errno.ENOENT, name) from None
        except SystemExit:
            raise OSError(errno.ECANCELED, name) from None
        progress.at(steps.WARM_THREADS, index)
        if len(os.listdir("/proc/self/task")) != 1:
            raise OSError(errno.EBUSY, name)
        progress.at(steps.WARM_DESCRIPTORS, index)
        if len(os.listdir("/proc/self/fd")) != count:
            raise OSError(errno.EBUSY, name)
    for name, value in kept.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    process.default_signals(ignore=_signal.SIGPIPE)  # of this process; the program's are set when it begins
    _forget_places(plan)
    gc.collect()
    gc.disable()
    gc.freeze()
    warm.loaded = frozenset(sys.modules)
    given = {entry.partition(b"=")[0] for entry in plan.warm.environment}
    warm.own_environment = {name: value for name, value in os.environb.items() if name not in given}


def _check_places(progress: Progress) -> None:
    """A run must not be able to write what the next launcher executes: everything is imported from read-only places."""
    for path in (sys.executable, sys.prefix, sys.base_prefix, *sys.path):
        progress.at(steps.WARM_PLACES)
        try:
            found = os.statvfs(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if not found.f_flag & os.ST_RDONLY:
            raise OSError(errno.EROFS, path)


def _forget_places(plan: Plan) -> None:
    """What was not there, or lies in the private places of a run, is looked for again by every run."""
    private = tuple(os.fsdecode(path) for path in (plan.work, b"/tmp", b"/dev/shm"))
    for path, finder in list(sys.path_importer_cache.items()):
        if finder is None or path.startswith(private):
            del sys.path_importer_cache[path]
