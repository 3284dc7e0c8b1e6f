"""The wire between the process of the tests and that of the completion: calls and plain data, as lines of JSON.

What comes from the completion is text: the judge builds values of the exact builtin types from it, or objects of its own that
stand for something over there (`Remote`), which are equal to nothing. So no method of the completion ever runs in the judge.
Process: a sandbox's payload, on both sides. Stand-alone: only the standard library.
"""

from __future__ import annotations

import builtins
import json
import os
import types
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any, NoReturn

ENDED = "the completion ended its process"
_MOST_BYTES = 64 << 20  # of one message
_NAMED: dict[str, Any] = {
    name: getattr(builtins, name)
    for name in (
        "abs all any ascii bin bool bytes callable chr complex dict divmod enumerate filter float frozenset hash hex int"
        " isinstance len list map max min oct ord pow range repr reversed round set sorted str sum tuple type zip"
    ).split()
}
_NAME_OF = {id(value): name for name, value in _NAMED.items()}
_ERRORS = {
    name: value
    for name, value in vars(builtins).items()
    if isinstance(value, type) and issubclass(value, Exception) and not issubclass(value, Warning)
}
_SEQUENCES: dict[str, type] = {"tuple": tuple, "set": set, "frozenset": frozenset}
_ASKED: dict[str, Callable[[Any], Any]] = {"next": next, "len": len, "bool": bool}
_NUMBERS: dict[str, Callable[[str], Any]] = {"int": lambda text: int(text, 16), "decimal": Decimal, "fraction": Fraction}


class Ended(BaseException):
    """The other side is gone, or does not keep to the protocol. Nothing that is raised in a test may hide it."""


class Remote:
    """Something of the other side that is no plain data. It is called and asked there; it is equal to nothing but itself."""

    __slots__ = ("_handle_", "_peer_")

    def __init__(self, peer: Peer, handle: int) -> None:
        self._peer_ = peer
        self._handle_ = handle

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it over there."""
        return self._peer_.call(self._handle_, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._peer_.ask("get", self._handle_, name)

    def __iter__(self) -> Any:
        return self._peer_.ask("iter", self._handle_)

    def __next__(self) -> Any:
        return self._peer_.ask("next", self._handle_)

    def __len__(self) -> int:
        return int(self._peer_.ask("len", self._handle_))

    def __bool__(self) -> bool:
        return bool(self._peer_.ask("bool", self._handle_))

    def __getitem__(self, key: Any) -> Any:
        return self._peer_.ask("item", self._handle_, self._peer_.pack(key))


class Peer:
    """One end of the wire. Requests may nest: while one waits for its answer it serves those of the other side.

    Attributes:
        trusting: the side of the completion, which serves every request; the judge serves calls of functions that it handed over.
        ended: why nothing more can be believed; "" while all is well.
        calls: requests that were answered.
        opaque: names of types that came as `Remote`, for the reason of a failure.
        raised: the last exception of the other side; it is not the fault of who asked.
    """

    def __init__(self, end: int, *, trusting: bool) -> None:
        self.trusting = trusting
        self.ended = ""
        self.calls = 0
        self.opaque: dict[str, None] = {}
        self.raised: Exception | None = None
        self._end = end  # a bare descriptor: each object more is memory that a forked process has to copy
        self._unread = bytearray()
        self._objects: list[Any] = []

    def pack(self, value: Any) -> Any:
        """The JSON form of a value."""
        kind = type(value)
        if value is None or kind in (bool, float, str):
            return value
        if kind is int:
            return value if -(1 << 63) <= value < 1 << 63 else {"int": hex(value)}
        if kind is list:
            return [self.pack(item) for item in value]
        if kind is Remote:
            return {"mine": value._handle_}
        return self._pack_rare(value)

    def _pack_rare(self, value: Any) -> Any:
        for base, name in ((tuple, "tuple"), (set, "set"), (frozenset, "frozenset")):
            if isinstance(value, base):
                return {name: [self.pack(item) for item in value]}
        if isinstance(value, dict):
            return {"dict": [[self.pack(key), self.pack(item)] for key, item in value.items()]}
        if isinstance(value, list):
            return [self.pack(item) for item in list.__iter__(value)]
        if isinstance(value, str):
            return str.__str__(value)
        if isinstance(value, int):
            return self.pack(int.__int__(value))
        if isinstance(value, float):
            return float.__float__(value)
        if isinstance(value, bytes | bytearray):
            return {type(value).__name__: bytes(value).hex()}
        if type(value) is complex:
            return {"complex": [value.real, value.imag]}
        if type(value) is range:
            return {"range": [self.pack(part) for part in (value.start, value.stop, value.step)]}
        if type(value) in (Decimal, Fraction):
            return {type(value).__name__.lower(): str(value)}
        if id(value) in _NAME_OF:
            return {"builtin": _NAME_OF[id(value)]}
        if type(value).__module__ == "numpy" and callable(getattr(value, "item", None)) and getattr(value, "ndim", 1) == 0:
            return self.pack(value.item())
        return self._pack_object(value)

    def _pack_object(self, value: Any) -> Any:
        if not self.trusting and not isinstance(value, types.FunctionType | types.BuiltinFunctionType | types.MethodType):
            raise TypeError(f"{type(value).__name__!r} is no plain data and cannot be handed to the completion")
        self._objects.append(value)
        return {"object": [len(self._objects) - 1, type(value).__name__]}

    def unpack(self, form: Any) -> Any:
        """The value of a JSON form. Raises Ended for what `pack` does not make."""
        try:
            return self._value(form)
        except (ArithmeticError, AttributeError, KeyError, LookupError, RecursionError, TypeError, ValueError) as error:
            self.end_with(f"a message of the completion is malformed: {type(error).__name__}")

    def _value(self, form: Any) -> Any:
        if form is None or type(form) in (bool, int, float, str):
            return form
        if type(form) is list:
            return [self._value(item) for item in form]
        ((tag, data),) = form.items()
        if tag == "dict":
            return {self._value(key): self._value(item) for key, item in data}
        if tag in _SEQUENCES:
            return _SEQUENCES[tag]([self._value(item) for item in data])
        if tag in _NUMBERS:
            return _NUMBERS[tag](data)
        if tag in ("bytes", "bytearray"):
            return bytes.fromhex(data) if tag == "bytes" else bytearray.fromhex(data)
        if tag == "complex":
            return complex(float(data[0]), float(data[1]))
        if tag == "range":
            return range(*map(self._value, data))
        if tag == "builtin":
            return _NAMED[data]
        if tag == "mine":
            return self._objects[data if data >= 0 else len(self._objects)]
        handle, kind = form["object"]
        if kind not in ("function", "type", "builtin_function_or_method", "method"):
            self.opaque[str(kind)[:60]] = None
        return Remote(self, int(handle))

    def end_with(self, reason: str) -> NoReturn:
        """Believe nothing of the other side from now on."""
        self.ended = self.ended or reason
        raise Ended(self.ended)

    def send(self, message: Any) -> None:
        """One message to the other side."""
        data = json.dumps(message).encode("ascii") + b"\n"
        try:
            while data:
                data = data[os.write(self._end, data) :]
        except OSError:
            self.end_with(ENDED)

    def receive(self) -> Any:
        """One message of the other side."""
        if self.ended:
            raise Ended(self.ended)
        line = self._line()
        try:
            return json.loads(line)
        except (ValueError, RecursionError):
            self.end_with("a message of the completion is malformed")

    def _line(self) -> bytes:
        start = 0
        while (end := self._unread.find(b"\n", start)) < 0:
            start = len(self._unread)
            if start > _MOST_BYTES:
                self.end_with(f"a value of the completion is larger than {_MOST_BYTES >> 20} MiB")
            try:
                piece = os.read(self._end, 1 << 16)
            except OSError:
                piece = b""
            if not piece:
                self.end_with(ENDED)
            self._unread += piece
        line = bytes(self._unread[:end])
        del self._unread[: end + 1]
        return line

    def call(self, handle: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function of the other side. What it changed in its arguments is changed here too if it returned None."""
        packed = [self.pack(item) for item in args]
        value, after = self._request(["call", handle, packed, {str(name): self.pack(item) for name, item in kwargs.items()}])
        if value is None and type(after) is list and len(after) == len(args):
            for item, before, form in zip(args, packed, after, strict=True):
                if form != before:
                    _replace(item, self.unpack(form))
        return value

    def ask(self, operation: str, handle: int, *words: Any) -> Any:
        """Ask an object of the other side for something."""
        return self._request([operation, handle, *words])[0]

    def _request(self, message: list[Any]) -> tuple[Any, Any]:
        if self.ended:
            raise Ended(self.ended)
        self.send(message)
        while True:
            answer = self.receive()
            match answer:
                case ["value", form, after]:
                    self.calls += 1
                    return self.unpack(form), after
                case ["raised", [*names], [*args]]:
                    self.calls += 1
                    self.raised = self._error(names, args, may_stop=message[0] == "next")
                    raise self.raised
                case ["stop", str(reason)]:
                    self.end_with(reason[:500])
                case [("call" | "get" | "item" | "iter" | "next" | "len" | "bool"), int(), *_]:
                    self._answer(answer)
                case _:
                    self.end_with("a message of the completion is malformed")

    def _error(self, names: list[Any], args: list[Any], *, may_stop: bool) -> Exception:
        """An exception of the other side. The end of an iteration is none of a call: it would end a loop of the tests."""
        kind = next((_ERRORS[name] for name in names if type(name) is str and name in _ERRORS), Exception)
        values = [self.unpack(item) for item in args]
        if issubclass(kind, StopIteration | StopAsyncIteration) and not may_stop:
            return RuntimeError(f"{kind.__name__} was raised", *values)
        try:
            return kind(*values)
        except TypeError:
            return ValueError(*values) if issubclass(kind, ValueError) else RuntimeError(*values)

    def _answer(self, request: list[Any]) -> None:
        """Serve one request of the other side."""
        try:
            reply = self._served(*request)
        except Ended:
            raise
        except Exception as error:  # noqa: BLE001 - it is raised again where it was asked for
            reply = self._raised(error)
        except BaseException as error:  # sys.exit() of the completion ends its process, as everywhere
            if not self.trusting:
                raise
            reply = ["stop", f"the completion raised {type(error).__name__}"]
        self.send(reply)

    def _raised(self, error: Exception) -> list[Any]:
        names = [base.__name__ for base in type(error).__mro__ if base.__module__ == "builtins"]
        try:
            args = [self.pack(item) for item in error.args]
        except Exception:  # noqa: BLE001 - then at least its words
            args = [str(error)]
        return ["raised", names, args]

    def _served(self, operation: str, handle: int, *words: Any) -> list[Any]:
        if not self.trusting and operation != "call":
            raise TypeError(f"a function of the tests cannot be asked for {operation!r}")
        target = self._objects[handle]
        if operation == "call":
            args = [self.unpack(item) for item in words[0]]
            value = target(*args, **{name: self.unpack(item) for name, item in words[1].items()})
            after = [self.pack(item) if type(item) in (list, dict, set) else None for item in args] if value is None else None
            after = after and [old if new is None else new for new, old in zip(after, words[0], strict=True)]
            return ["value", self.pack(value), after]
        if operation == "get":
            value = getattr(target, words[0])
            # A builtin that the completion calls its own is asked over there, as all that it defines.
            return ["value", self._pack_object(value) if id(value) in _NAME_OF else self.pack(value), None]
        if operation == "item":
            return ["value", self.pack(target[self.unpack(words[0])]), None]
        if operation == "iter":
            return ["value", self._pack_object(iter(target)), None]
        return ["value", self.pack(_ASKED[operation](target)), None]

    def serve(self, objects: list[Any]) -> None:
        """The life of the completion's process: answer until the judge is gone. `objects` have the handles from 0 on."""
        self._objects.extend(objects)
        while True:
            self._answer(self.receive())


def _replace(old: Any, new: Any) -> None:
    """Give a mutable value of the tests the content of its copy, in place."""
    if type(old) is not type(new):
        return
    if type(old) is list:
        old[:] = new
    elif type(old) in (dict, set):
        old.clear()
        old.update(new)
