"""What is kept for clients is bounded, private to each, and forgotten in time."""

from __future__ import annotations

import pytest

from sandbox.model.errors import CapacityError
from sandbox.service.store import Store


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(clock):
    return Store(3, 100, 10.0, clock)


def test_owners_do_not_see_each_other(store):
    store.put("a", "x", 1, 10)
    store.put("b", "x", 2, 10)
    assert (store.get("a", "x"), store.get("b", "x"), store.get("c", "x")) == (1, 2, None)
    assert store.drop("b", "x") == 2
    assert (store.items("a"), store.items("b")) == ([("x", 1)], [])


def test_the_oldest_of_the_same_owner_goes(store):
    store.put("b", "kept", 0, 90)
    for number in range(5):
        store.put("a", str(number), number, 10)
    assert [key for key, _ in store.items("a")] == ["2", "3", "4"]
    store.put("a", "large", 9, 95)
    assert [key for key, _ in store.items("a")] == ["large"]
    assert store.get("b", "kept") == 0


def test_or_nothing_goes_and_it_is_refused(store):
    store.put("a", "x", 1, 60)
    with pytest.raises(CapacityError):
        store.put("a", "y", 2, 60, evict=False)
    assert store.items("a") == [("x", 1)]
    with pytest.raises(CapacityError):
        store.put("a", "z", 3, 101)


def test_replacing_counts_once(store):
    store.put("a", "x", 1, 60)
    store.put("a", "x", 2, 90, evict=False)
    assert store.items("a") == [("x", 2)]


def test_things_are_forgotten_in_time(store, clock):
    store.put("a", "x", 1, 10)
    clock.now = 9.9
    store.put("a", "y", 2, 10)
    assert store.get("a", "x") == 1
    clock.now = 10.0
    assert (store.get("a", "x"), store.get("a", "y")) == (None, 2)
    assert store.drop("a", "x") is None
