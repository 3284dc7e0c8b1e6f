"""Tests in one process, completions under test in others: only plain data passes between them (`wire`).

Process: a sandbox's payload, of three kinds. The judge reads standard input, runs the tests, and knows the tokens that prove
verdicts. The nursery is forked from it before it has read anything, and forks one process for each completion: nothing of tests
and tokens was ever in the memory of those. They have no descriptor but one end of a socket, and cannot look into the judge: it
is not dumpable.

Stand-alone: only the standard library, because this folder is mounted into the sandbox alone.
"""

from __future__ import annotations

import ast
import builtins
import ctypes
import gc
import json
import linecache
import os
import signal
import socket
import struct
import sys
import time
import types
from collections.abc import Mapping
from typing import Any, NoReturn

from .wire import ENDED, Ended, Peer, Remote

_PLACES = (".", "/tmp", "/dev/shm")  # that can be written
_MOST_DESCRIPTORS = os.sysconf("SC_OPEN_MAX")
# Exit code or negative signal, whether nothing was left behind, CPU time in µs, peak memory in bytes
_ENDING = struct.Struct("<i?QQ")
_PR_GET_DUMPABLE, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 3, 4, 36


def _nurse(control: socket.socket) -> NoReturn:
    """Process: the nursery. A process for each program that the judge sends, until one of them leaves something behind."""
    try:
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(2, 1)
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # whoever is left by a completion becomes a child of this process
        tables = [os.open(f"/proc/sysvipc/{table}", os.O_RDONLY) for table in ("shm", "sem", "msg")]
        clean = _left_behind(tables)
        while (source := _receive_part(control)) is not None:
            ours, theirs = socket.socketpair()
            child = os.fork()
            if child == 0:
                _complete(theirs.fileno(), source.decode("utf-8", "surrogatepass"))
            theirs.close()
            socket.send_fds(control, [b"+"], [ours.fileno()])
            ours.close()
            if control.recv(1) != b"-":
                break
            os.kill(child, signal.SIGKILL)  # changes nothing about one that has ended
            _, status, used = os.wait4(child, 0)
            orderly = not _has_children() and _left_behind(tables) == clean
            cpu_us = round((used.ru_utime + used.ru_stime) * 1e6)
            control.sendall(_ENDING.pack(os.waitstatus_to_exitcode(status), orderly, cpu_us, used.ru_maxrss << 10))
            if not orderly:
                break
    finally:
        os._exit(0)


def _has_children() -> bool:
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return False
    return True


def _left_behind(tables: list[int]) -> list[object]:
    """Files, rights of places, and shared memory, semaphores and queues of System V: they outlive the process that made them."""
    found: list[object] = [os.pread(table, 1 << 16, 0) for table in tables]
    for place in _PLACES:
        if os.path.isdir(place):
            found += [os.stat(place).st_mode, os.listxattr(place), sorted(os.listdir(place))]
    return found


def _complete(end: int, source: str) -> NoReturn:
    """Process: the completion's. It never returns."""
    try:
        os.dup2(end, 3)
        os.closerange(4, _MOST_DESCRIPTORS)
        peer = Peer(3, trusting=True)
        module = types.ModuleType("solution")
        sys.modules["solution"] = module
        linecache.cache["solution.py"] = (len(source), None, source.splitlines(keepends=True), "solution.py")
        failure = _executed(source, module)
        peer.send(["ready", failure, [] if failure else sorted(vars(module))])
        peer.serve([module])
    except Ended:
        os._exit(0)
    except BaseException as error:  # noqa: BLE001 - nothing of the nursery's code may run on in this process
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
    os._exit(1)


def _executed(source: str, module: types.ModuleType) -> list[str] | None:
    """Run the completion's definitions. Returns [verdict, reason] when that fails."""
    try:
        code = compile(source, "solution.py", "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return ["CE", _words(error)]
    try:
        exec(code, vars(module))  # noqa: S102 - it is what this process is for
    except Exception as error:  # noqa: BLE001 - whatever the completion raises
        return ["RTE", f"its definitions raised {_words(error)}"]
    except BaseException as error:  # noqa: BLE001 - as above
        return ["RTE", f"its definitions raised {type(error).__name__}"]
    return None


def _words(error: BaseException) -> str:
    """An exception in words, with the line of the tests or of the completion where it was raised."""
    lines = [frame for frame in _frames(error) if frame[0] in ("tests.py", "solution.py")]
    text = "".join(str(error).splitlines()[:1])[:400]
    return f"{type(error).__name__}{': ' if text else ''}{text}" + (f" (line {lines[-1][1]}{_text(*lines[-1])})" if lines else "")


def _text(name: str, number: int) -> str:
    text = linecache.getline(name, number).strip()
    return f": {text[:200]}" if text else ""


def _frames(error: BaseException) -> list[tuple[str, int]]:
    found, trace = [], error.__traceback__
    while trace is not None:
        found.append((trace.tb_frame.f_code.co_filename, trace.tb_lineno))
        trace = trace.tb_next
    return found


def _helpers(prompt: str, namespace: dict[str, Any]) -> None:
    """What the prompt defines before and beside the function to complete; a prompt that is prose defines nothing."""
    for text in (prompt, f"{prompt}\n    pass\n"):
        try:
            code = compile(text, "prompt.py", "exec", dont_inherit=True, optimize=0)
        except (SyntaxError, ValueError):
            continue
        exec(code, namespace)  # noqa: S102 - the task's own code, as the tests are
        return


def _unknown(tree: ast.AST, known: Mapping[str, Any]) -> list[str]:
    """Names that the tests use and nobody has defined."""
    used = {node.id: None for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    bound = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
    return [name for name in used if name not in bound and name not in known and not hasattr(builtins, name)]


def _names(code: types.CodeType) -> set[str]:
    """Every global name and attribute in a code object and those within it."""
    inner = [_names(value) for value in code.co_consts if isinstance(value, types.CodeType)]
    return set(code.co_names).union(*inner)


class _Judge:
    """The asserting side.

    Attributes:
        peer: the wire to the completion.
        namespace: globals of the tests.
    """

    def __init__(self, peer: Peer, task: dict[str, Any]) -> None:
        self.peer = peer
        self.task = task
        sys.modules["tests"] = module = types.ModuleType("tests")
        self.namespace = vars(module)
        linecache.cache["tests.py"] = (len(task["tests"]), None, task["tests"].splitlines(keepends=True), "tests.py")

    def verdict(self) -> tuple[str, str]:
        """(verdict, reason)."""
        try:
            ready = self.peer.receive()
            match ready:
                case ["ready", None, [*names]]:
                    return self._tested([name for name in names if type(name) is str])
                case ["ready", [("CE" | "RTE") as verdict, str(reason)], _]:
                    return verdict, reason[:1000]
            self.peer.end_with("a message of the completion is malformed")
        except Ended as error:
            return "RTE", str(error)

    def _tested(self, offered: list[str]) -> tuple[str, str]:
        try:
            tree = ast.parse(self.task["tests"], "tests.py")
            code = compile(tree, "tests.py", "exec", dont_inherit=True, optimize=0)
            _helpers(self.task["prompt"], self.namespace)
            points = self._points(tree, code, offered)
        except Exception as error:  # noqa: BLE001 - the fault of tests or prompt
            return "JE", f"the tests cannot be used: {_words(error)}"
        try:
            for name in points:
                self.namespace[name] = found = self.peer.ask("get", 0, name)
                if callable(found) and type(found) is not Remote:  # its own side would have called it
                    self.peer.end_with("a message of the completion is malformed")
        except AttributeError:
            return "WA", f"the completion does not define {name!r}"
        try:
            exec(code, self.namespace)  # noqa: S102 - the tests
            self._call_tests(tree, points)
        except Ended as error:
            return "RTE", str(error)
        except NameError as error:
            if error is self.peer.raised:
                return "WA", _words(error)
            return "JE", f"{_words(error)}; of the completion only {', '.join(points)} is used: name more in entry_point"
        except BaseException as error:  # noqa: BLE001 - any end of a test but the regular one is a failure
            return "WA", _words(error) + self._about_objects()
        if self.peer.ended:
            return "RTE", self.peer.ended
        if self.peer.calls <= len(points):
            return "JE", "the tests came to their end without asking the completion for anything: they prove nothing"
        return "AC", ""

    def _points(self, tree: ast.AST, code: types.CodeType, offered: list[str]) -> list[str]:
        """Which names stand for the completion's own; modules of the standard library that nobody imported are imported."""
        named = list(self.task["entry_points"])
        if named and not sys.stdlib_module_names & _names(code) - self.namespace.keys():
            return named  # as most tests are: no need to look through the tree
        unknown = [name for name in _unknown(tree, self.namespace) if name not in named and name != "candidate"]
        for name in sys.stdlib_module_names.intersection(unknown):
            self.namespace[name] = __import__(name)
        if named:
            return named
        unknown = [name for name in unknown if name not in self.namespace]
        points = unknown if len(unknown) == 1 else [name for name in unknown if name in offered]
        if not unknown:
            raise LookupError("no name of the completion is used in them, and entry_point names none")
        if len(points) != 1:
            raise LookupError(
                f"they use several names that only the completion may define ({', '.join(unknown)}); say which in entry_point"
            )
        return points

    def _call_tests(self, tree: ast.Module, points: list[str]) -> None:
        """What is defined and waits to be called: check(candidate), test functions, test cases of unittest."""
        called = {
            node.value.func.id
            for node in tree.body
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Name)
        }
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name not in called:
                if node.name == "check" and node.args.args:
                    self.namespace["check"](self.namespace[points[0]])
                elif node.name.startswith("test") and not node.args.args:
                    self.namespace[node.name]()
        cases = [value for value in self.namespace.values() if isinstance(value, type) and _is_test_case(value)]
        if cases:
            self._run_cases(cases)

    def _run_cases(self, cases: list[Any]) -> None:
        import unittest

        loader = unittest.TestLoader()
        suite = unittest.TestSuite(loader.loadTestsFromTestCase(case) for case in cases)
        outcome = unittest.TestResult()
        suite.run(outcome)
        bad = [*outcome.failures, *outcome.errors]
        if bad or not outcome.testsRun or outcome.unexpectedSuccesses:
            raise AssertionError(f"{bad[0][0]}: {bad[0][1].splitlines()[-1]}" if bad else "no test of the test cases was run")

    def _about_objects(self) -> str:
        if not self.peer.opaque:
            return ""
        return f"; the completion gave a {', '.join(self.peer.opaque)}, which is no plain data and equal to nothing here"


def _is_test_case(kind: type) -> bool:
    return any(base.__module__ == "unittest.case" and base.__name__ == "TestCase" for base in kind.__mro__[1:])


def _read_part() -> bytes | None:
    """The next part of standard input: its length as 16 hexadecimal digits, and the part. None: there is no other."""
    return _STDIN.read(int(head, 16)) if (head := _STDIN.read(16)) else None


_STDIN: Any = None  # opened by the judge, when the nursery is there


def _send_part(end: socket.socket, part: bytes) -> None:
    end.sendall(b"%016x" % len(part) + part)


def _receive_part(end: socket.socket) -> bytes | None:
    """None when the other side is gone."""
    head = end.recv(16, socket.MSG_WAITALL)
    return end.recv(int(head, 16), socket.MSG_WAITALL) if len(head) == 16 else None


def _prctl(option: int, value: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    answer = int(libc.prctl(option, value, 0, 0, 0))
    if answer < 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")
    return answer


def main() -> NoReturn:
    """Judge the samples that standard input describes, one after the other; each verdict goes to standard output with its proof.

    Ends early, and leaves the rest unsaid, when a sample takes too long, or leaves a process, a file or a changed interpreter
    behind: no other sample is to meet it. The caller gives the rest a sandbox of its own.
    """
    global _STDIN
    # No process of the same user may look into this one, or take its descriptors. Source: PR_SET_DUMPABLE(2const)
    _prctl(_PR_SET_DUMPABLE, 0)
    if _prctl(_PR_GET_DUMPABLE, 0) != 0:
        os._exit(5)
    gc.freeze()  # no collection touches, and so copies, the memory that all share
    control, theirs = socket.socketpair()
    if os.fork() == 0:
        control.close()
        _nurse(theirs)
    theirs.close()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    out = os.dup(1)
    os.dup2(2, 1)
    sys.path[:] = [place for place in sys.path if place]  # nothing is imported from where completions can write
    _STDIN = open(os.dup(0), "rb")  # noqa: SIM115
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # tests that read find an end, and no sample
    settings = json.loads(_read_part() or b"")
    while (source := _read_part()) is not None:
        task = json.loads(_read_part() or b"")
        before = _interpreter()
        try:
            report, orderly = _judged(control, source, task, settings["wall_s"])
        except (OSError, ValueError, struct.error):
            os._exit(6)  # the nursery is gone: a completion has ended it
        data = json.dumps(report).encode("ascii") + b"\n"
        while data:
            data = data[os.write(out, data) :]
        if not orderly or _interpreter() != before:
            os._exit(4)
    os._exit(0)


def _interpreter() -> list[object]:
    """What tests may change for those after them, and seldom do."""
    return [
        dict(vars(builtins)),
        [sys.stdin, sys.stdout, sys.stderr],
        list(sys.path),
        sys.getrecursionlimit(),
        os.getcwd(),
        dict(os.environ),
        len(sys._current_frames()),
    ]


def _judged(control: socket.socket, source: bytes, task: dict[str, Any], wall_s: float) -> tuple[dict[str, Any], bool]:
    """(the report about a sample, whether it left everything as it was). `wall_s` of 0: the sandbox's limits decide."""
    begin, before = time.monotonic(), time.process_time()
    _send_part(control, source)
    _, (number,), _, _ = socket.recv_fds(control, 1, 1)
    peer = Peer(number, trusting=False)

    def too_late(*_: object) -> NoReturn:
        peer.end_with("the tests take too long")

    signal.signal(signal.SIGALRM, too_late if wall_s else signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, wall_s)
    try:
        verdict, reason = _Judge(peer, task).verdict()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    control.sendall(b"-")
    code, orderly, cpu_us, memory_bytes = _ENDING.unpack(control.recv(_ENDING.size, socket.MSG_WAITALL))
    os.close(number)
    if peer.ended == ENDED:
        how = f"with exit code {code}" if code >= 0 else f"by {signal.Signals(-code).name}"
        reason = f"{ENDED} {how} before the tests were through"
    report = {
        "proof": task["token"],
        "verdict": verdict,
        "reason": reason,
        "calls": peer.calls,
        "cpu_s": round(time.process_time() - before + cpu_us / 1e6, 6),
        "wall_s": round(time.monotonic() - begin, 6),
        "memory_bytes": memory_bytes,
    }
    return report, orderly
