"""`dataclass` for the modules that a short command loads: importing the standard one costs as much as an interpreter's start.

It knows what this package uses of it: fields with defaults, `frozen`, `slots` (always on), `kw_only`, KW_ONLY, `__post_init__`,
equality, hash, repr and pickle. `dataclasses.replace`, `fields` and `asdict` work on the classes: what those look at is made
when it is first asked for. Type checkers see the standard one.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dataclasses import KW_ONLY, dataclass, field

    __all__ = ["KW_ONLY", "dataclass", "field"]
else:
    _MISSING = object()

    class KW_ONLY:  # noqa: N801 - the name of the standard library
        """The fields after an annotation with it are given by keyword."""

    class _Field:
        """A default that is made for each object, or a field that does not count for equality and hash."""

        def __init__(self, default, factory, compare):
            self.default = default
            self.factory = factory
            self.compare = compare

    class _Hashed:
        """Where the hash of a frozen object is kept, once it was asked for; no field."""

        __slots__ = ("_hashed",)

    class _StandardFields:
        """`__dataclass_fields__`: those of a standard dataclass with the same fields, on first use."""

        def __get__(self, instance, owner):
            import dataclasses

            specs = []
            for name, spec in owner._specs.items():
                made = {"compare": spec.compare}
                if spec.factory is not None:
                    made["default_factory"] = spec.factory
                elif spec.default is not _MISSING:
                    made["default"] = spec.default
                specs.append((name, owner.__annotations__[name], dataclasses.field(kw_only=name in owner._keyword, **made)))
            twin = dataclasses.make_dataclass(owner.__name__, specs)
            owner.__dataclass_fields__ = twin.__dataclass_fields__
            return owner.__dataclass_fields__

    def field(*, default=_MISSING, default_factory=None, compare=True, hash=None):  # noqa: A002, ARG001
        """A field with more to say than its default."""
        return _Field(default, default_factory, compare)

    def dataclass(cls=None, /, *, frozen=False, slots=True, kw_only=False):  # noqa: ARG001
        """The class with fields from its annotations, as `dataclasses.dataclass` makes it."""
        if cls is None:
            return lambda made: _build(made, frozen, kw_only)
        return _build(cls, frozen, kw_only)

    def _build(cls, frozen, kw_only):
        space = {name: value for name, value in cls.__dict__.items() if name not in ("__dict__", "__weakref__")}
        specs, positional, keyword = {}, [], set()
        for name, kind in space.get("__annotations__", {}).items():
            if kind.rpartition(".")[2] == "KW_ONLY":
                kw_only = True
                continue
            given = space.pop(name, _MISSING)
            specs[name] = given if isinstance(given, _Field) else _Field(given, None, True)
            keyword.add(name) if kw_only else positional.append(name)
        space["__annotations__"] = {name: kind for name, kind in space.get("__annotations__", {}).items() if name in specs}
        space.update(
            __slots__=tuple(specs),
            __match_args__=tuple(positional),
            __qualname__=cls.__qualname__,
            _specs=specs,
            _positional=tuple(positional),
            _keyword=frozenset(keyword),
            _compared=tuple(name for name, spec in specs.items() if spec.compare),
            __dataclass_fields__=_StandardFields(),
            __reduce__=_reduce,
        )
        for name, method in (("__init__", _init), ("__repr__", _repr), ("__eq__", _equal)):
            space.setdefault(name, method)
        space["__hash__"] = _hash if frozen else None
        if frozen:
            space.update(__setattr__=_refuse, __delattr__=_refuse)
        bases = tuple(_Hashed if frozen and base is object else base for base in cls.__bases__)
        made = type(cls)(cls.__name__, bases, space)
        made._setters = {name: made.__dict__[name].__set__ for name in specs}
        return made

    def _init(self, *values, **named):
        cls = type(self)
        if len(values) > len(cls._positional):
            raise TypeError(f"{cls.__name__}() takes {len(cls._positional)} positional values, not {len(values)}")
        given = dict(zip(cls._positional, values, strict=False))
        for name in named:
            if name in given or name not in cls._specs:
                what = "has two values for" if name in given else "has no field"
                raise TypeError(f"{cls.__name__}() {what} {name!r}")
        given.update(named)
        for name, setter in cls._setters.items():
            if name in given:
                setter(self, given[name])
                continue
            spec = cls._specs[name]
            if spec.factory is not None:
                setter(self, spec.factory())
            elif spec.default is not _MISSING:
                setter(self, spec.default)
            else:
                raise TypeError(f"{cls.__name__}() needs a value for {name!r}")
        if hasattr(self, "__post_init__"):
            self.__post_init__()

    def _compared(self):
        return tuple(getattr(self, name) for name in self._compared)

    def _equal(self, other):
        return _compared(self) == _compared(other) if type(self) is type(other) else NotImplemented

    def _hash(self):
        try:
            return self._hashed
        except AttributeError:  # a policy is hashed for every run, and has hundreds of parts
            value = hash(_compared(self))
            _Hashed._hashed.__set__(self, value)
            return value

    def _repr(self):
        return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self._specs)})"

    def _refuse(self, name, value=None):  # noqa: ARG001
        from dataclasses import FrozenInstanceError

        raise FrozenInstanceError(f"{type(self).__name__} is immutable: {name!r} cannot be changed")

    def _reduce(self):
        return _restore, (type(self), tuple(getattr(self, name) for name in self._specs))

    def _restore(cls, values):
        made = cls.__new__(cls)
        for setter, value in zip(cls._setters.values(), values, strict=True):
            setter(made, value)
        return made
