"""`model.data` makes what `dataclasses` makes."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest

from sandbox.model import data
from sandbox.model.policy import Mount


@data.dataclass(frozen=True)
class Point:
    x: int
    y: int = 2
    _: data.KW_ONLY
    tags: list[str] = data.field(default_factory=list, compare=False)


@data.dataclass(kw_only=True)
class Open:
    value: int


def test_fields_defaults_and_equality():
    assert Point(1) == Point(x=1, y=2, tags=["else"]) != Point(1, 3)
    assert hash(Point(1)) == hash(Point(1, tags=["else"]))
    assert Point(1).tags is not Point(1).tags
    assert repr(Point(1)) == "Point(x=1, y=2, tags=[])"
    assert Point(1) != (1, 2)


@pytest.mark.parametrize("make", [Point, lambda: Point(1, 2, []), lambda: Point(1, x=1), lambda: Point(1, z=1), lambda: Open(1)])
def test_wrong_arguments_are_refused(make):
    with pytest.raises(TypeError):
        make()


def test_what_is_frozen_stays():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Point(1).x = 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        del Point(1).x
    with pytest.raises(AttributeError):
        Open(value=1).other = 2
    changed = Open(value=1)
    changed.value = 2
    assert changed == Open(value=2)
    with pytest.raises(TypeError):
        hash(changed)


def test_the_standard_functions_work():
    assert dataclasses.is_dataclass(Point)
    assert dataclasses.replace(Point(1), y=5) == Point(1, 5)
    assert [item.name for item in dataclasses.fields(Point)] == ["x", "y", "tags"]
    assert dataclasses.asdict(Point(1)) == {"x": 1, "y": 2, "tags": []}
    assert dataclasses.replace(Mount("/a"), writable=True) == Mount("/a", "/a", writable=True)


def test_copies_and_pickles():
    assert copy.deepcopy(Point(1)) == pickle.loads(pickle.dumps(Point(1))) == Point(1)
