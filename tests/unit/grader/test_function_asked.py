"""What sandboxes of function grading are asked: samples from a pool, as their judges get through them."""

import dataclasses
import json

import pytest

from sandbox.grader.function_asked import Asked, Pool
from sandbox.grader.functions import Sample
from sandbox.model.errors import RequestError


def samples(count):
    return [Sample(f"t{number}", f"program {number}", "tests") for number in range(count)]


def parts(data):
    """What a judge reads from it."""
    found = []
    while data:
        size = int(data[:16], 16)
        found.append(data[16 : 16 + size])
        data = data[16 + size :]
    return found


def taken(asked):
    return [index for index, _ in asked.items]


@pytest.mark.parametrize(
    ("count", "jobs", "most", "requests"),
    [(164, 2, 128, 2), (164, 2, 32, 6), (1, 2, 32, 1), (0, 2, 32, 0), (65, 1, 64, 2), (3, 200, 2, 3)],
)
def test_there_are_sandboxes_enough_and_one_for_each_job(count, jobs, most, requests):
    assert len(list(Pool(samples(count), jobs).requests(most, 1.0))) == requests


def test_shares_become_smaller_and_leave_nothing():
    pool, shares = Pool(samples(164), 2), []
    while pool:
        shares.append(len(pool.take(128)))
    assert shares[0] == 41
    assert shares[:-1] == sorted(shares[:-1], reverse=True)
    assert (sum(shares), max(shares[-3:])) == (164, 2)
    assert pool.take(128) == []


def test_no_share_is_larger_than_what_a_sandbox_may_have():
    pool = Pool(samples(164), 2)
    assert [len(pool.take(most)) for most in (32, 3, 0)] == [32, 3, 0]


def test_more_comes_when_the_judge_has_begun_with_its_last_sample():
    pool = Pool(samples(8), 1)
    (asked,) = pool.requests(8, 1.0)
    fed = asked.options["stdin"]
    settings, first = next(fed), next(fed)
    assert [json.loads(part) for part in parts(settings)] == [{"wall_s": 1.0}]
    assert list(parts(first)[::2]) == [f"program {number}".encode() for number in range(4)]
    told = asked.options["on_stdout"]
    told(b"report\nre")
    told(b"port\n")
    assert taken(asked) == [0, 1, 2, 3]
    told(b"report\n")
    assert taken(asked) == [0, 1, 2, 3, 4, 5]
    tasks = [json.loads(part) for part in parts(next(fed))[1::2]]
    assert [task["token"] for task in tasks] == asked.tokens[4:]
    assert len(set(asked.tokens)) == 6
    told(b"report\n" * 4)
    assert taken(asked) == list(range(8))
    told(b"report\n")
    assert [len(parts(piece)) for piece in fed] == [4]  # and then its end


def test_who_meets_a_slow_sample_leaves_the_rest_to_others():
    pool = Pool(samples(40), 2)
    slow, other = pool.requests(40, 1.0)
    feeds = [asked.options["stdin"] for asked in (slow, other)]
    for feed in feeds:
        next(feed), next(feed)
    while pool:
        other.options["on_stdout"](b"report\n")
    assert (taken(slow), taken(other)) == (list(range(10)), list(range(10, 40)))


def test_a_judge_that_says_more_than_it_was_asked_gets_no_more_than_its_share():
    pool = Pool(samples(40), 2)
    asked, _ = pool.requests(20, 1.0)
    feed = asked.options["stdin"]
    next(feed), next(feed)
    for _ in range(100):
        asked.options["on_stdout"](b"\n" * 100)
    assert len(asked.items) == 20
    assert len(pool) == 20


def test_the_feed_of_a_run_that_is_over_ends():
    (asked,) = Pool(samples(4), 1).requests(4, 1.0)
    feed = asked.options["stdin"]
    next(feed), next(feed)
    asked.close()
    assert list(feed) == []


def test_one_that_is_given_has_the_limits_of_a_run_and_of_a_pool_never():
    alone = Asked(list(enumerate(samples(1))), 1.5)
    assert (alone.alone, dict(alone.options["limits"])) == (True, {"cpu": "1500ms", "wall": "3000ms"})
    (pooled,) = Pool(samples(1), 1).requests(8, 1.5)
    assert (pooled.alone, dict(pooled.options["limits"])) == (False, {"idle": "2500ms"})


def test_nothing_is_taken_for_a_run_that_is_over():
    pool = Pool(samples(4), 1)
    (asked,) = pool.requests(4, 1.0)
    feed = asked.options["stdin"]
    next(feed)
    asked.close()
    asked.options["on_stdout"](b"report\n")
    assert (list(feed), asked.items, len(pool)) == ([], [], 4)
    assert [index for index, _ in asked.returned()] == [0, 1]


@pytest.mark.parametrize("change", [{"program": None}, {"tests": b"x"}, {"prompt": 1}, {"entry_points": (1,)}])
def test_what_is_no_sample_is_said_before_anything_runs(change):
    bad = dataclasses.replace(samples(1)[0], **change)
    with pytest.raises(RequestError, match=r"sample 3 \('t0'\): program, tests, prompt and entry points are texts, not"):
        Pool([*samples(3), bad], 2)
