"""Running a Python program in a forked interpreter as `python3 SCRIPT`, `-c CODE` or `-m MODULE` does.

Process: the payload's, in the place of exec: every right is given up, the filter is loaded, and the streams are the run's.
What is here stays reachable for the program (by its frames), so it is little, and knows nothing of the launcher.

Source: Modules/main.c, Python/pythonrun.c and Python/pylifecycle.c of CPython 3.11.
"""

from __future__ import annotations

import _signal
import atexit
import errno
import gc
import io
import os
import sys

from sandbox.kernel import interpreter
from sandbox.model import launch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sandbox.launcher.payload import Child

_FLUSH_FAILED = 120
_TELLS_MORE = (3, 13)  # keeps the source of -c for tracebacks, and says that it was flushing
_STREAMS = ("stdin", "stdout", "stderr")
# Set once, by `warmup`, before the first run
loaded: frozenset[str] = frozenset()  # the modules that were there before any program
own_environment: dict[bytes, bytes] = {}  # what the interpreter has added to its environment: a coerced locale


class Program:
    """One program, from the order to its exit code."""

    def __init__(self, order: launch.Program, executable: bytes) -> None:
        self.kind, place, self.switches = order.warm
        self.words = [os.fsdecode(word) for word in order.argv]
        self.name = self.words[0]
        self.what = self.words[place]
        self.executable = os.fsdecode(executable)
        self.environment = {**dict(entry.partition(b"=")[::2] for entry in order.environment), **own_environment}
        first = {launch.PY_CODE: "-c", launch.PY_MODULE: "-m"}.get(self.kind, self.what)
        self.argv = [first, *self.words[place + 1 :]]
        self.interrupted = False
        self.stopped = False

    def run(self) -> None:
        """Never returns."""
        try:
            self._furnish()
            code = self._guarded()
            if not self.stopped:
                for name in ("__file__", "__cached__"):
                    vars(sys.modules.get("__main__", sys)).pop(name, None)
            code = _finish(code)
            if self.interrupted:
                _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
                os.kill(os.getpid(), _signal.SIGINT)
            os._exit(code)
        except BaseException as error:  # a mistake of this file, or memory is out
            sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
            sys.__excepthook__(type(error), error, error.__traceback__)
        finally:
            os._exit(1)

    def _furnish(self) -> None:
        """Give the program everything that a fresh interpreter has of its own."""
        if list(os.environb.items()) != list(self.environment.items()):
            for name in list(os.environb):
                del os.environb[name]
            os.environb.update(self.environment)
            sys.modules["posix"].environ = dict(self.environment)  # type: ignore[attr-defined]
        sys.argv[:] = self.argv
        sys.orig_argv[:] = self.words
        sys.executable = self.executable
        if self.switches & launch.PY_NO_BYTECODE:
            sys.dont_write_bytecode = True
        _signal.signal(_signal.SIGPIPE, _signal.SIG_IGN)
        _signal.signal(_signal.SIGXFSZ, _signal.SIG_IGN)
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)
        _open_streams(unbuffered=bool(self.switches & launch.PY_UNBUFFERED or self.environment.get(b"PYTHONUNBUFFERED")))
        vars(sys.modules["__main__"]).clear()
        main = type(sys)("__main__")
        importer = sys.modules["_frozen_importlib"].BuiltinImporter
        vars(main).update(__loader__=importer, __annotations__={}, __builtins__=sys.modules["builtins"])
        sys.modules["__main__"] = main
        gc.enable()

    def _main(self) -> int:
        """The program itself. Returns its exit code when it comes to its end."""
        namespace = vars(sys.modules["__main__"])
        if self.kind == launch.PY_CODE:
            self._path("")
            if sys.version_info >= _TELLS_MORE and "linecache" in sys.modules:  # where it had our own
                lines = [line + "\n" for line in self.what.splitlines()]
                sys.modules["linecache"].cache["<string>"] = (len(self.what), None, lines, "<string>")
            exec(compile(self.what, "<string>", "exec", dont_inherit=True), namespace)  # noqa: S102
        elif self.kind == launch.PY_MODULE:
            import runpy

            self._path(os.getcwd())
            runpy._run_module_as_main(self.what, True)  # type: ignore[attr-defined]
        elif _is_importable(self._file()):  # a directory or an archive with a __main__
            import runpy

            sys.path.insert(0, self._file())
            runpy._run_module_as_main("__main__", False)  # type: ignore[attr-defined]
        else:
            return self._script(namespace)
        return 0

    def _path(self, first: str) -> None:
        if not (self.switches & launch.PY_SAFE_PATH or sys.flags.safe_path):
            sys.path.insert(0, first)

    def _file(self) -> str:
        return self.what if self.what.startswith("/") else f"{os.getcwd()}/{self.what}"

    def _script(self, namespace: dict[str, Any]) -> int:
        name = self._file()
        try:
            self._path(os.path.dirname(os.path.realpath(self.what)))
            if os.path.isdir(name):
                sys.stderr.write(f"{self.name}: {name!r} is a directory, cannot continue\n")
                return 1
            file = interpreter.open_script(os.fsencode(name))
        except OSError as error:
            number = error.errno or errno.EIO
            sys.stderr.write(f"{self.name}: can't open file {name!r}: [Errno {number}] {os.strerror(number)}\n")
            return 2
        loader = sys.modules["_frozen_importlib_external"].SourceFileLoader
        namespace.update(__file__=name, __cached__=None, __loader__=loader("__main__", name))
        interpreter.run_script(file, os.fsencode(name), namespace)
        return 0

    def _guarded(self) -> int:
        """As PyErr_Print: the exit code, after what was raised has been shown."""
        try:
            return self._main()
        except BaseException as error:
            raised = error
        self.interrupted = type(raised) is KeyboardInterrupt
        if isinstance(raised, SystemExit):
            self.stopped = True
            return _exit_code(raised)
        raised.__traceback__ = trace = _without_ours(raised.__traceback__)
        kind = type(raised)
        sys.last_type, sys.last_value, sys.last_traceback = kind, raised, trace
        try:
            sys.excepthook(kind, raised, trace)
        except SystemExit as stop:
            return _exit_code(stop)
        except BaseException as error:
            error.__traceback__ = _without_ours(error.__traceback__)
            sys.stderr.write("Error in sys.excepthook:\n")
            sys.__excepthook__(type(error), error, error.__traceback__)
            sys.stderr.write("\nOriginal exception was:\n")
            sys.__excepthook__(kind, raised, trace)
        return 1


def rehearse() -> None:
    """What can be done before it is known what to run: fresh random numbers, and a first touch of what every program touches.

    Memory that is shared with the launcher is copied at the first touch: better while nobody waits.
    """
    gc.collect(0)  # what the launcher had lately, before a number of its descriptors means another one
    for module in ("random", "numpy.random"):
        if module in sys.modules:
            sys.modules[module].seed()
    kept = {name: getattr(sys, name) for stream in _STREAMS for name in (stream, f"__{stream}__")}
    _open_streams(unbuffered=False)
    vars(sys).update(kept)
    exec(compile("pass", "<string>", "exec", dont_inherit=True), {})  # noqa: S102
    list(os.environb.items())


class Start(BaseException):
    """Thrown in the child of init, when nothing is open any more: leaves what it has inherited of launcher and init behind.

    It is caught where the launcher was started (`warmup`), and there the child waits for its order.
    """

    def __init__(self, child: Child) -> None:
        super().__init__()
        self.child = child
        sys.stderr = None  # nobody is to hear of sockets that were never closed


def _without_ours(trace: Any) -> Any:
    """What is below the frames of this file."""
    while trace is not None and trace.tb_frame.f_globals is globals():
        trace = trace.tb_next
    while trace is not None and trace.tb_frame.f_globals is vars(interpreter):
        trace = trace.tb_next
    return trace


def _exit_code(stop: SystemExit) -> int:
    code = stop.code
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF if -(1 << 63) <= code < 1 << 63 else 0xFF
    sys.stderr.write(f"{code}\n")
    return 1


def _is_importable(path: str) -> bool:
    """As CPython decides: whether one of the path hooks takes it."""
    for hook in sys.path_hooks:
        try:
            hook(path)
        except ImportError:
            continue
        return True
    return False


def _open_streams(*, unbuffered: bool) -> None:
    """New sys.stdin, sys.stdout, sys.stderr, with the encodings and error handlers that this interpreter found at its start."""
    for number, name in enumerate(_STREAMS):
        old = getattr(sys, f"__{name}__")
        mode = "w" if number else "r"
        raw = unbuffered and mode == "w"
        binary: Any = open(number, mode + "b", buffering=0 if raw else -1, closefd=False)  # noqa: SIM115
        inner = binary if raw else binary.raw
        inner.name = f"<{name}>"
        stream: Any = io.TextIOWrapper(
            binary,
            encoding=old.encoding,
            errors=old.errors,
            newline="\n",
            line_buffering=not unbuffered and (number == 2 or inner.isatty()),
            write_through=unbuffered,
        )
        stream.mode = mode
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _finish(code: int) -> int:
    """As Py_FinalizeEx, but the interpreter stays whole: threads, exit functions, streams, the program's objects."""
    if "threading" in sys.modules:
        threading = sys.modules["threading"]
        try:
            threading._shutdown()
        except BaseException as error:
            _complain(threading, error)
        del threading
    atexit._run_exitfuncs()
    flushed = _flush_streams()
    sys.last_type = sys.last_value = sys.last_traceback = None
    for name in _STREAMS:
        setattr(sys, name, getattr(sys, f"__{name}__"))
    for name in [name for name in sys.modules if name not in loaded]:
        sys.modules.pop(name, None)
    sys.modules.pop("__main__", None)
    gc.collect()  # finalizers run, files that were left open are written
    flushed = _flush_streams(again=True) and flushed
    interpreter.flush_c_streams()
    return code if flushed else _FLUSH_FAILED


def _flush_streams(*, again: bool = False) -> bool:
    """False when something that was written cannot be delivered."""
    flushed = True
    for stream in (sys.stdout, sys.stderr):
        if stream is None or getattr(stream, "closed", False):
            continue
        try:
            stream.flush()
        except BaseException as error:
            if stream is sys.stdout and not again:
                _complain(stream, error)
            flushed = False
    return flushed


def _complain(what: object, error: BaseException) -> None:
    """As PyErr_WriteUnraisable. It goes to nobody where there is no stderr."""
    try:
        flushing = what is sys.stdout and sys.version_info >= _TELLS_MORE
        where = "on flushing sys.stdout:" if flushing else f"in: {what!r}"
        sys.stderr.write(f"Exception ignored {where}\n")
        error.__traceback__ = _without_ours(error.__traceback__)
        sys.__excepthook__(type(error), error, error.__traceback__)
    except BaseException:
        return
