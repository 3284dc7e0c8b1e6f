"""Whose turn it is."""

from __future__ import annotations

import asyncio
import contextvars
import functools

import pytest

from sandbox.service import admission as admission_module
from sandbox.service.admission import Admission, Refused
from sandbox.service.config import Config
from sandbox.service.tenant import Tenant

A, B, C = (Tenant(name=name) for name in "abc")


def admission(**settings) -> Admission:
    return Admission(Config(**{"no_auth": True, "max_concurrency": 1, "max_queue": 4, "queue_seconds": 60, **settings}))


class Visit:
    """One that waits for its turn, or for several, in a task, and has it until it is told to leave."""

    def __init__(self, door: Admission, tenant: Tenant, log: list[str] | None = None, turns: int = 1) -> None:
        self.inside = False
        self.leave = asyncio.Event()
        self._log = log if log is not None else []
        self.task = asyncio.ensure_future(self._visit(door, tenant, turns))

    async def _visit(self, door: Admission, tenant: Tenant, turns: int) -> None:
        async with door.admit(tenant, turns):
            self._log.append(tenant.name)
            self.inside = True
            await self.leave.wait()

    async def out(self) -> None:
        self.leave.set()
        await self.task


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def run(test):
    """An asynchronous test."""

    @functools.wraps(test)
    def call(**fixtures):
        asyncio.run(asyncio.wait_for(test(**fixtures), 10))

    return call


@run
async def test_tenants_have_their_turns_one_after_the_other():
    door, log = admission(), []
    visits = [Visit(door, tenant, log) for tenant in (A, A, A, B, C)]
    await settle()
    for visit in visits:
        visit.leave.set()
    await asyncio.gather(*(visit.task for visit in visits))
    assert log == ["a", "a", "b", "c", "a"]  # the first is in before anybody waits


@run
async def test_a_full_queue_refuses_and_says_when_to_come_again():
    door = admission(max_queue=1)
    first, second = Visit(door, A), Visit(door, A)
    await settle()
    with pytest.raises(Refused) as refused:
        await Visit(door, A).task
    assert (refused.value.status, refused.value.reason, refused.value.depth) == (503, "queue_full", 1)
    assert refused.value.retry_after >= 1
    assert refused.value.retryable
    await first.out()
    await second.out()


@run
async def test_who_has_most_in_the_queue_gives_way():
    door = admission(max_queue=3)
    going = Visit(door, A)
    await settle()
    waiting = [Visit(door, A) for _ in range(3)]
    await settle()
    other = Visit(door, B)
    await settle()
    assert waiting[2].task.done()
    refused = waiting[2].task.exception()
    assert isinstance(refused, Refused)
    assert (refused.status, refused.reason) == (429, "tenant_busy")
    assert door.depth == 3
    await going.out()
    await settle()
    assert waiting[0].inside
    await waiting[0].out()
    await settle()
    assert other.inside
    await other.out()
    await waiting[1].out()
    assert (door.depth, door.running) == (0, 0)


@run
async def test_a_tenant_has_no_more_at_once_than_it_may():
    door = admission(max_concurrency=3)
    narrow = Tenant(name="narrow", concurrency=1)
    first, second, other = Visit(door, narrow), Visit(door, narrow), Visit(door, A)
    await settle()
    assert (first.inside, second.inside, other.inside) == (True, False, True)
    await first.out()
    await settle()
    assert second.inside
    await second.out()
    await other.out()


@run
async def test_a_turn_that_does_not_come_in_time():
    door = admission(queue_seconds=0.01)
    going = Visit(door, A)
    await settle()
    with pytest.raises(Refused) as own:
        await Visit(door, A).task
    with pytest.raises(Refused) as others:
        await Visit(door, B).task
    assert (own.value.reason, own.value.status, others.value.status) == ("queue_timeout", 429, 503)
    assert door.depth == 0
    await going.out()


@run
async def test_who_goes_away_leaves_nothing():
    door = admission()
    going, waiting, last = Visit(door, A), Visit(door, A), Visit(door, A)
    await settle()
    waiting.task.cancel()
    await settle()
    assert door.depth == 1
    going.task.cancel()
    await settle()
    assert last.inside
    await last.out()
    assert (door.depth, door.running) == (0, 0)


@run
async def test_a_turn_that_comes_as_its_waiter_goes_is_given_on():
    door = admission()
    going, waiting, last = Visit(door, A), Visit(door, A), Visit(door, A)
    await settle()
    going.leave.set()
    await going.task  # the turn is given to `waiting`, whose task has not run since
    waiting.task.cancel()
    await settle()
    assert last.inside
    await last.out()
    assert door.running == 0


@run
async def test_draining_waits_for_what_was_accepted_and_takes_nothing_new():
    door = admission()
    going, waiting = Visit(door, A), Visit(door, B)
    await settle()
    drained = asyncio.ensure_future(door.drained())
    await settle()
    with pytest.raises(Refused) as refused:
        await Visit(door, C).task
    assert (refused.value.status, refused.value.reason) == (503, "draining")
    await going.out()
    await settle()
    assert waiting.inside
    assert not drained.done()
    await waiting.out()
    await drained


@run
async def test_depth_is_told():
    told: list[int] = []
    door = Admission(Config(no_auth=True, max_concurrency=1), on_depth=told.append)
    going, waiting = Visit(door, A), Visit(door, A)
    await settle()
    await going.out()
    await waiting.out()
    assert told == [1, 0]


@run
async def test_what_was_promised_has_its_turn_while_the_server_stops():
    door, inside = admission(), asyncio.Event()

    async def keep() -> None:
        with door.promise():
            await asyncio.sleep(0.01)  # between two turns: nothing runs and nothing waits
            async with door.admit(A):
                inside.set()

    kept = asyncio.ensure_future(keep())
    await settle()
    await door.drained()
    assert inside.is_set(), "the stop did not wait for what was promised"
    await kept


@run
async def test_a_promise_is_of_its_own_task_and_its_own_block():
    door = admission()
    with door.promise():
        door.draining = True
        async with door.admit(A):
            pass
        other = await asyncio.gather(asyncio.create_task(entered(door), context=contextvars.Context()))
    assert other == ["draining"]
    assert await entered(door) == "draining"


@run
async def test_nothing_promised_is_started_once_the_time_is_over():
    door = admission()
    with door.promise():
        door.draining = door.closed = True
        assert await entered(door) == "draining"
        assert door.promises == 1
    assert door.promises == 0


async def entered(door: Admission) -> str:
    """Why there was no turn, or nothing."""
    try:
        async with door.admit(A):
            return ""
    except Refused as error:
        return error.reason


@run
async def test_several_turns_come_together_and_nobody_passes_who_waits_for_them():
    door = admission(max_concurrency=3)
    first = Visit(door, A)
    await settle()
    group, later = Visit(door, B, turns=3), Visit(door, C)
    await settle()
    assert (first.inside, group.inside, later.inside) == (True, False, False)
    await first.out()
    await settle()
    assert (group.inside, later.inside, door.running) == (True, False, 3)
    await group.out()
    await settle()
    assert (later.inside, door.running) == (True, 1)
    await later.out()


@run
async def test_a_tenant_that_waits_for_its_own_turns_keeps_nobody():
    door = admission(max_concurrency=4, per_tenant_concurrency=2)
    visits = [Visit(door, A), Visit(door, A)]
    await settle()
    group, other = Visit(door, A, turns=2), Visit(door, B, turns=2)
    await settle()
    assert (group.inside, other.inside) == (False, True)
    for visit in (*visits, other):
        await visit.out()
    await settle()
    assert group.inside
    await group.out()
    assert door.running == 0


@run
async def test_one_that_goes_as_it_has_to_give_way_harms_no_newcomer():
    door = admission(max_queue=2)
    inside = Visit(door, A)
    await settle()
    leaving = [Visit(door, A), Visit(door, A)]
    await settle()
    newcomer = Visit(door, B)  # its step comes before the one in which the other notices that it is canceled
    leaving[1].task.cancel()
    await settle()
    await inside.out()
    await settle()
    assert newcomer.inside or not newcomer.task.done()
    for visit in (leaving[0], newcomer):
        await visit.out()


@run
async def test_who_waits_for_several_turns_is_passed_after_a_moment(monkeypatch):
    monkeypatch.setattr(admission_module, "_HOLD_S", 0.05)
    door = admission(max_concurrency=3)
    long = Visit(door, A)
    await settle()
    group, later = Visit(door, B, turns=3), Visit(door, C)
    await settle()
    assert (group.inside, later.inside) == (False, False)
    await asyncio.sleep(0.1)
    assert (group.inside, later.inside) == (False, True)
    for visit in (long, later):
        await visit.out()
    await settle()
    assert group.inside
    await group.out()


@run
async def test_one_that_gives_up_waiting_for_several_turns_lets_the_others_in():
    door = admission(max_concurrency=3, queue_seconds=0.2)
    long = Visit(door, A)
    await settle()
    canceled, too_late = Visit(door, B, turns=3), Visit(door, C, turns=3)
    await settle()
    canceled.task.cancel()
    with pytest.raises(Refused):
        await too_late.task
    later = Visit(door, B)
    await settle()
    assert later.inside
    for visit in (long, later):
        await visit.out()


@run
async def test_a_door_that_is_closed_refuses_all_who_wait():
    door = admission()
    inside, waits = Visit(door, A), Visit(door, B)
    await settle()
    door.close()
    with pytest.raises(Refused) as refused:
        await waits.task
    assert refused.value.reason == "draining"
    await inside.out()
    assert (door.running, door.depth) == (0, 0)
    assert await entered(door) == "draining"
