from __future__ import annotations

import asyncio
import threading

import pytest

from sandbox.model.errors import CapacityError
from sandbox.runtime.slots import Slots


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
