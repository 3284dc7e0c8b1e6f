"""What Prometheus reads: the right figures, and labels that no client can multiply."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sandbox.model.errors import CapacityError
from sandbox.model.result import Outcome, Timings
from sandbox.service.metrics import Metrics
from tests.unit.cli.fakes import make_result


def read(metrics):
    """(name, labels) → value of everything that is rendered."""
    body, kind = metrics.render()
    assert kind.startswith("text/plain")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def answer(run=None, compiled=None):
    stage = SimpleNamespace(ok=True, result=compiled) if compiled else None
    return SimpleNamespace(run=run, compile=stage)


def test_runs_are_counted_by_outcome_dialect_and_tenant():
    metrics = Metrics()
    metrics.ran("alice", answer(make_result()), 0.1, dialect="piston/execute")
    metrics.ran("alice", answer(make_result(outcome=Outcome.MEMORY)), 0.1, dialect="v1")
    metrics.ran("bob", answer(), 0.1, dialect="judge0")
    found = read(metrics)
    assert found["sandbox_runs_total", (("dialect", "piston"), ("outcome", "exited"))] == 1
    assert found["sandbox_runs_total", (("dialect", "v1"), ("outcome", "memory"))] == 1
    assert found["sandbox_runs_total", (("dialect", "judge0"), ("outcome", "not_compiled"))] == 1
    assert found["sandbox_tenant_runs_total", (("tenant", "alice"),)] == 2


def test_buckets_tell_milliseconds_apart():
    metrics = Metrics()
    for milliseconds in (1, 2, 4, 8):
        timings = Timings(queue_ns=0, setup_ns=milliseconds * 1_000_000 - 1, run_ns=5, teardown_ns=5)
        metrics.ran("a", answer(make_result(timings=timings), make_result()), 0.0, dialect="v1")
    found = read(metrics)
    counts = [found["sandbox_setup_seconds_bucket", (("le", edge),)] for edge in ("0.0005", "0.001", "0.002", "0.005", "0.01")]
    assert counts == [0, 1, 2, 3, 4]
    assert found["sandbox_build_seconds_count", ()] == 4


@pytest.mark.parametrize("word", ["\n# HELP evil", "zebra", "x" * 10_000, ""])
def test_a_word_of_a_client_never_becomes_a_label(word):
    metrics = Metrics()
    metrics.refused(word)
    metrics.ran("a", answer(make_result()), 0, dialect=word)
    metrics.requested("/v1/run", 200, 0.1, method=word)
    metrics.failed(type(word or "Empty", (Exception,), {})(), dialect=word)
    body = metrics.render()[0].decode()
    assert 'sandbox_refusals_total{reason="other"} 1.0' in body
    assert 'method="other"' in body
    assert 'sandbox_errors_total{dialect="other",error="other"} 1.0' in body
    assert "zebra" not in body
    assert len(body) < 20_000


def test_labels_of_the_configuration_are_bounded():
    metrics = Metrics()
    for number in range(1_000):
        metrics.requested(f"/{number}", 200, 0.1)
        metrics.ran(f"tenant{number}", answer(), 0, dialect="v1")
    found = read(metrics)
    for name in ("sandbox_requests_total", "sandbox_tenant_runs_total"):
        rows = {labels: value for (row, labels), value in found.items() if row == name}
        assert len(rows) == 201, name
        assert sum(rows.values()) == 1_000, name


def test_errors_go_by_their_class():
    metrics = Metrics()
    metrics.failed(CapacityError("x"), dialect="v1")
    metrics.failed(asyncio.CancelledError(), dialect="v1")
    found = read(metrics)
    assert found["sandbox_errors_total", (("dialect", "v1"), ("error", "CapacityError"))] == 1
    assert found["sandbox_errors_total", (("dialect", "v1"), ("error", "CancelledError"))] == 1


def test_pools_are_read_when_they_are_asked_for():
    stats = {"capacity": 4, "busy": 1, "waiting": 0, "served": 7, "launchers": 1, "parked": 2, "hits": 5, "misses": 2}
    metrics = Metrics(lambda: stats)
    assert read(metrics)["sandbox_pool_busy", ()] == 1
    stats["busy"] = 3
    found = read(metrics)
    assert found["sandbox_pool_busy", ()] == 3
    assert found["sandbox_pool_served_total", ()] == 7
    assert found["sandbox_pool_hits_total", ()] == 5


def test_sockets_and_the_queue_are_told_as_they_are():
    metrics = Metrics()
    with pytest.raises(RuntimeError), metrics.socket(), metrics.socket():
        assert read(metrics)["sandbox_websockets", ()] == 2
        raise RuntimeError
    metrics.queued(5)
    found = read(metrics)
    assert found["sandbox_websockets", ()] == 0
    assert found["sandbox_queue_depth", ()] == 5


def test_two_services_in_one_process_count_apart():
    one, other = Metrics(), Metrics()
    one.refused("queue_full")
    assert ("sandbox_refusals_total", (("reason", "queue_full"),)) in read(one)
    assert ("sandbox_refusals_total", (("reason", "queue_full"),)) not in read(other)
