from __future__ import annotations

import pytest

from sandbox.model.plan import MKDIR, MountOp
from sandbox.model.record import Record


class Point(Record):
    x: int
    y: int = 2


def test_fields_defaults_equality_and_repr() -> None:
    point = Point(x=1)
    assert (point.x, point.y) == (1, 2)
    assert point == Point(x=1, y=2)
    assert hash(point) == hash(Point(x=1, y=2))
    assert point != Point(x=2)
    assert repr(point) == "Point(x=1, y=2)"


def test_records_are_immutable() -> None:
    with pytest.raises(AttributeError):
        Point(x=1).x = 5  # type: ignore[misc]


def test_missing_and_unknown_fields_are_type_errors() -> None:
    with pytest.raises(TypeError):
        Point()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Point(x=1, z=3)  # type: ignore[call-arg]


def test_tuples_round_trip_and_are_checked() -> None:
    operation = MountOp(kind=MKDIR, target=b"/x")
    assert MountOp.from_tuple(operation.as_tuple()) == operation
    with pytest.raises(ValueError, match="expected"):
        MountOp.from_tuple((1, 2))
    assert operation.replace(target=b"/y").target == b"/y"
