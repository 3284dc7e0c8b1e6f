"""The outermost frame of every command: the one place where an exception becomes an exit code."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable

from sandbox.cli import errors
from sandbox.model.errors import SandboxError


def guarded(action: Callable[[], int], *, as_json: bool) -> int:
    """The exit code of `action`, or of what it raises."""
    try:
        return action()
    except SandboxError as error:
        return errors.show(error, as_json=as_json)
    except KeyboardInterrupt:
        return errors.INTERRUPTED
    except (BrokenPipeError, errors.ReaderGone):
        _forget_stdout()
        return errors.BROKEN_PIPE
    except Exception as error:  # noqa: BLE001 - the outermost frame: a traceback is printed, and the code is ours
        return _bug(error, as_json=as_json)


def finish(code: int, *, at_once: bool = False) -> None:
    """Leave with this code, `at_once` without taking the interpreter apart: the kernel does that faster. Never returns."""
    if not _stdout_works():
        _forget_stdout()
    if at_once:
        os._exit(code)
    sys.exit(code)


def _bug(error: Exception, *, as_json: bool) -> int:
    """Python would exit with 1, which a caller takes for the payload's code."""
    if isinstance(error, OSError):
        from sandbox.model.errors import ResourceError

        exhausted = ResourceError.exhausted("sandbox cannot go on", error.errno)
        if exhausted is not None and error.errno != errno.ENOSPC:
            return errors.show(exhausted, as_json=as_json)
    import traceback

    if isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None:  # help, which click writes
        errors.complain(f"standard output cannot be written: {error.strerror}")
        return errors.OWN_ERROR
    traceback.print_exception(error)
    message = f"internal error: {type(error).__name__}: {error}; this is a bug, please report it"
    if as_json:
        errors.show(error, as_json=True)
    errors.complain(message)
    return errors.OWN_ERROR


def _stdout_works() -> bool:
    """Whether what is left in the buffer can be written."""
    try:
        sys.stdout.flush()
    except OSError:
        return False
    return True


def _forget_stdout() -> None:
    """What is buffered goes nowhere, instead of failing once more at exit; that it failed has been said."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
