from __future__ import annotations

import asyncio
import threading

import pytest

from sandbox.model.errors import CapacityError, RequestError
from sandbox.runtime.slots import Slots, Turn


def test_no_more_than_the_capacity_at_once() -> None:
    slots = Slots(2)
    slots.acquire(None)
    slots.acquire(None)
    with pytest.raises(CapacityError) as caught:
        slots.acquire(0.01)
    assert caught.value.retryable
    assert slots.waiting == 0
    slots.release()
    slots.acquire(0)
    assert slots.busy == 2


def test_waiters_are_served_in_order_of_arrival() -> None:
    slots = Slots(1)
    slots.acquire(None)
    order: list[int] = []
    threads = []
    for number in range(5):
        thread = threading.Thread(target=lambda n=number: (slots.acquire(5), order.append(n), slots.release()))
        thread.start()
        while slots.waiting <= number:
            pass
        threads.append(thread)
    slots.release()
    for thread in threads:
        thread.join()
    assert order == list(range(5))
    assert slots.busy == 0


def test_async_waiters_share_the_queue_and_a_canceled_one_leaves_it() -> None:
    slots = Slots(1)

    async def scenario() -> None:
        await slots.acquire_async(None)
        first = asyncio.ensure_future(slots.acquire_async(None))
        second = asyncio.ensure_future(slots.acquire_async(None))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert slots.waiting == 1
        slots.release()
        await asyncio.wait_for(second, 5)
        slots.release()

    asyncio.run(scenario())
    assert (slots.busy, slots.waiting) == (0, 0)


def test_a_slot_granted_to_a_task_that_was_just_canceled_is_not_lost() -> None:
    slots = Slots(1)

    async def scenario() -> None:
        await slots.acquire_async(None)
        waiter = asyncio.ensure_future(slots.acquire_async(None))
        await asyncio.sleep(0)
        slots.release()  # grants, but the task has not run yet
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)
        await asyncio.sleep(0)

    asyncio.run(scenario())
    assert slots.busy == 0


def test_a_timeout_in_asyncio_is_a_capacity_error() -> None:
    slots = Slots(1)

    async def scenario() -> None:
        await slots.acquire_async(None)
        with pytest.raises(CapacityError):
            await slots.acquire_async(0.01)
        slots.release()
        await slots.acquire_async(0)

    asyncio.run(scenario())
    assert slots.busy == 1


def test_who_is_dismissed_waits_no_longer_and_has_no_slot() -> None:
    slots, turn = Slots(1), Turn()
    slots.acquire(None)
    errors: list[Exception] = []

    def wait() -> None:
        try:
            slots.acquire(None, turn)
        except RequestError as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    while not slots.waiting:
        pass
    slots.dismiss(turn)
    thread.join(5)
    assert len(errors) == 1
    assert (slots.busy, slots.waiting) == (1, 0)
    slots.release()
    slots.acquire(0)


def test_who_was_dismissed_before_does_not_join_the_queue() -> None:
    slots, turn = Slots(1), Turn()
    slots.dismiss(turn)
    with pytest.raises(RequestError, match="given up"):
        slots.acquire(None, turn)
    assert slots.busy == 0


def test_who_has_a_slot_keeps_it() -> None:
    slots, turn = Slots(1), Turn()
    slots.acquire(None, turn)
    slots.dismiss(turn)
    assert slots.busy == 1
    slots.release()
    assert slots.busy == 0
