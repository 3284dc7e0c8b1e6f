"""`record`: immutable classes with typed fields for programs that cannot afford to import `dataclasses`.

Importing `dataclasses` costs 16 ms and `typing` 11 ms under `python -I -S`, more than the whole start of the
launcher. A record has keyword-only fields, defaults, equality, a readable repr and `as_tuple` / `from_tuple` for
the wire; type checkers see it as a frozen dataclass.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Self, TypeVar, dataclass_transform

    T = TypeVar("T")

    @dataclass_transform(kw_only_default=True, frozen_default=True)
    class Record:
        """Base class of all records (as type checkers see it)."""

        FIELDS: tuple[str, ...]

        def as_tuple(self) -> tuple[Any, ...]: ...
        @classmethod
        def from_tuple(cls, values: Sequence[Any]) -> Self: ...
        def replace(self, **changes: Any) -> Self: ...

else:

    class Record:
        """Base class of all records: annotate the fields, give defaults where there are some."""

        __slots__ = ("_values",)
        FIELDS: tuple[str, ...] = ()

        def __init_subclass__(cls) -> None:
            cls.FIELDS = tuple(cls.__dict__.get("__annotations__", {}))
            cls._defaults = {name: cls.__dict__[name] for name in cls.FIELDS if name in cls.__dict__}
            for index, name in enumerate(cls.FIELDS):
                setattr(cls, name, property(lambda self, index=index: self._values[index]))

        def __init__(self, **fields):
            values = []
            for name in self.FIELDS:
                if name in fields:
                    values.append(fields.pop(name))
                elif name in self._defaults:
                    values.append(self._defaults[name])
                else:
                    raise TypeError(f"{type(self).__name__}: the field {name!r} is missing")
            if fields:
                raise TypeError(f"{type(self).__name__}: no such field: {', '.join(fields)}")
            object.__setattr__(self, "_values", tuple(values))

        def __setattr__(self, name, value):
            raise AttributeError(f"{type(self).__name__} is immutable")

        def __eq__(self, other):
            return type(self) is type(other) and self._values == other._values

        def __hash__(self):
            return hash((type(self), self._values))

        def __repr__(self):
            pairs = ", ".join(f"{name}={value!r}" for name, value in zip(self.FIELDS, self._values, strict=True))
            return f"{type(self).__name__}({pairs})"

        def as_tuple(self):
            """The values in field order; nested records become tuples too."""
            return tuple(_plain(value) for value in self._values)  # type: ignore[no-untyped-call]

        @classmethod
        def from_tuple(cls, values):
            """The record whose fields have these values, in order. Raises ValueError when the number differs."""
            if not isinstance(values, tuple) or len(values) != len(cls.FIELDS):
                raise ValueError(f"{cls.__name__}: expected {len(cls.FIELDS)} values")
            self = object.__new__(cls)
            object.__setattr__(self, "_values", values)
            return self

        def replace(self, **changes):
            """A copy with some fields changed."""
            values = tuple(changes.pop(name, value) for name, value in zip(self.FIELDS, self._values, strict=True))
            if changes:
                raise TypeError(f"{type(self).__name__}: no such field: {', '.join(changes)}")
            return self.from_tuple(values)


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.as_tuple()
    if isinstance(value, tuple):
        return tuple(_plain(item) for item in value)
    return value
