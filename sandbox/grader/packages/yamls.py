"""YAML of strangers as plain data: text, lists and mappings, bounded in size, in depth and in what its aliases make of it.

Every scalar stays as it was written (`no`, `1e-6` and `2025-09` are not guessed at): who reads a key knows what it shall be.
Only the parser of PyYAML is used; it yields events, and no object of a tag is ever made.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

from sandbox.model.errors import ProblemError

MAX_BYTES = 512 << 10
MAX_DEPTH = 32
MAX_NODES = 50_000  # after aliases: one that is used twice counts twice
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})

Value = str | list[Any] | dict[str, Any] | None


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not come yet."""

    value: list[Any] | dict[str, Any]
    anchor: str | None
    size: int = 1
    height: int = 1
    key: str | None = None
    has_key: bool = False
    merges: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Known:
    """What an anchor names, with the size that each use of it adds."""

    value: Value
    size: int
    height: int


class _Reader:
    """Makes the value of one document from its events, without recursion: depth is data here, not stack."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.open: list[_Open] = []
        self.anchors: dict[str, _Known] = {}
        self.result: Value = None
        self.nodes = 0

    def error(self, message: str, event: Any) -> ProblemError:
        return ProblemError(message, file=self.file, line=event.start_mark.line + 1)

    def take(self, event: Any) -> None:
        if isinstance(event, yaml.ScalarEvent):
            is_null = event.style is None and event.value in _NULLS
            self.name(event.anchor, _Known(None if is_null else event.value, 1, 1))
            self.add(None if is_null else event.value, 1, 1, event)
        elif isinstance(event, yaml.AliasEvent):
            known = self.anchors.get(event.anchor or "")
            if known is None:
                raise self.error(f"*{event.anchor} stands for nothing that is complete before it", event)
            self.add(known.value, known.size, known.height, event)
        elif isinstance(event, yaml.SequenceStartEvent | yaml.MappingStartEvent):
            if len(self.open) >= MAX_DEPTH:
                raise self.error(f"more than {MAX_DEPTH} levels", event)
            self.open.append(_Open([] if isinstance(event, yaml.SequenceStartEvent) else {}, event.anchor))
        elif isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
            done = self.open.pop()
            for merged in done.merges:
                for key, value in merged.items():
                    done.value.setdefault(key, value)  # type: ignore[union-attr]
            self.name(done.anchor, _Known(done.value, done.size, done.height))
            self.add(done.value, done.size, done.height, event)

    def name(self, anchor: str | None, known: _Known) -> None:
        if anchor:
            self.anchors[anchor] = known

    def add(self, value: Value, size: int, height: int, event: Any) -> None:
        """Puts a complete value where it belongs."""
        if len(self.open) + height > MAX_DEPTH:
            raise self.error(f"more than {MAX_DEPTH} levels", event)
        if not self.open:
            self.result = value
            return
        parent = self.open[-1]
        parent.size += size
        parent.height = max(parent.height, height + 1)
        if parent.size > MAX_NODES:
            raise self.error(f"more than {MAX_NODES} values, counting each use of an alias", event)
        if isinstance(parent.value, list):
            parent.value.append(value)
        elif not parent.has_key:
            if not isinstance(value, str | None):
                raise self.error("a key has to be text", event)
            parent.key, parent.has_key = value or "", True
        else:
            self.put(parent, parent.value, value, event)

    def put(self, parent: _Open, mapping: dict[str, Any], value: Value, event: Any) -> None:
        key, parent.has_key = parent.key or "", False
        if key == "<<":
            for item in value if isinstance(value, list) else [value]:
                if not isinstance(item, dict):
                    raise self.error("<< needs a mapping, or a list of them", event)
                parent.merges.append(item)
        elif key in mapping:
            raise self.error(f"key {key!r} is there twice", event)
        else:
            mapping[key] = value


def parse(data: bytes, file: str) -> Value:
    """The value of the one document in `data`; None when there is none. `file` is for messages.

    Raises:
        ProblemError: not UTF-8, not YAML, more than one document, a key twice, or beyond the bounds.
    """
    if len(data) > MAX_BYTES:
        raise ProblemError(f"is larger than {MAX_BYTES >> 10} KiB", file=file)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ProblemError(f"is not UTF-8 (byte {error.start})", file=file) from None
    reader = _Reader(file)
    documents = 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):  # type: ignore[no-untyped-call, unused-ignore]
            documents += isinstance(event, yaml.DocumentStartEvent)
            if documents > 1:
                raise reader.error("begins a second document", event)
            reader.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ProblemError(
            f"is not YAML: {error.problem or error.context}", file=file, line=mark.line + 1 if mark else 0
        ) from None
    except yaml.YAMLError as error:
        raise ProblemError(f"is not YAML: {str(error).splitlines()[0]}", file=file) from None
    return reader.result


def mapping(data: bytes, file: str) -> dict[str, Any]:
    """Like `parse`, for files that hold a mapping; an empty file is an empty one."""
    value = parse(data, file)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ProblemError("has to be a mapping of keys to values", file=file)
    return value
