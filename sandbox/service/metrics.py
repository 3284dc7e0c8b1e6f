"""Prometheus figures of one service, in a registry of their own. Every label has few values: none is a word of a client.

metrics = Metrics(pools=work.stats)           # what `Sandbox.stats()` says, summed over the pools
metrics.ran(tenant.name, answer, queue_s, dialect="piston")
metrics.failed(error, dialect="piston")       # there was no answer
metrics.refused("queue_full")                 # a reason of REASONS
metrics.requested(route.path, status, seconds)    # the template of the route, never the path that was asked for
metrics.queued(depth)
with metrics.socket(): ...                    # one open WebSocket
body, content_type = metrics.render()         # GET /metrics
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from sandbox.model import errors

if TYPE_CHECKING:
    from prometheus_client import Metric

    from sandbox.service.ask import Answer

__all__ = ["DIALECTS", "OTHER", "REASONS", "Metrics"]

OTHER = "other"
DIALECTS = frozenset({"v1", "piston", "judge0", "go-judge", "grade"})
REASONS = frozenset(
    {
        "queue_full", "queue_timeout", "tenant_busy", "draining", "unauthorized", "forbidden", "locked_out", "too_large",
        "too_slow", "bad_request", "unknown_language", "sockets", "audit", "callback",
    }
)  # fmt: skip
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "WS"})
_MOST = 200  # values of a label that come from the configuration: tenants, routes
# Set-up takes milliseconds, most programs less than a second, and a slow build a minute.
_SETUP = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 1.0)
_RUN = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_WAIT = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_POOL_STATES = {
    "capacity": "Sandboxes that may run at once",
    "busy": "Sandboxes that run",
    "waiting": "Calls that wait for a slot",
    "launchers": "Processes that launch sandboxes",
    "parked": "Sandboxes that are kept ready",
}
_POOL_COUNTS = {
    "served": "Runs that were launched",
    "hits": "Runs that were given a sandbox that was ready",
    "misses": "Runs that had to wait for one to be made",
}
_SECOND = 1_000_000_000


class _Bounded:
    """The first so many values of a label; those that come later are `other`."""

    def __init__(self, most: int = _MOST) -> None:
        self._known: set[str] = set()
        self._most = most

    def __call__(self, value: str) -> str:
        if value not in self._known:
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(value)
        return value


class _Pools(Collector):
    """The pools' own figures, read when they are asked for."""

    def __init__(self, stats: Callable[[], Mapping[str, int]]) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        stats = self._stats()
        for name, text in _POOL_STATES.items():
            yield GaugeMetricFamily(f"sandbox_pool_{name}", text, value=stats.get(name, 0))
        for name, text in _POOL_COUNTS.items():
            yield CounterMetricFamily(f"sandbox_pool_{name}", text, value=stats.get(name, 0))


class Metrics:
    """What a service counts. Safe from any number of threads.

    Args:
        pools: `stats()` of the pools, summed; nothing is told of them by default.
    """

    def __init__(self, pools: Callable[[], Mapping[str, int]] | None = None) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        if pools is not None:
            registry.register(_Pools(pools))

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"sandbox_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"sandbox_{name}_seconds", text, labels, buckets=buckets, registry=registry)

        self._runs = counter("runs", "Runs that were answered, by how they ended", "outcome", "dialect")
        self._tenant_runs = counter("tenant_runs", "Runs that were answered, by tenant", "tenant")
        self._errors = counter("errors", "Runs without an answer, by the class of the error", "error", "dialect")
        self._refusals = counter("refusals", "Requests that were refused before they ran, by reason", "reason")
        self._requests = counter("requests", "Requests, by method, route and status", "method", "route", "status")
        self._lost_audit = counter("audit_failures", "Audit lines that could not be written")
        self._request = histogram("request", "From the request's head to the end of the answer", _RUN, "route")
        self._wait = histogram("queue_wait", "Waiting for a turn", _WAIT)
        self._setup = histogram("setup", "From the launch to the program's first instruction", _SETUP)
        self._run = histogram("run", "Of the program itself", _RUN)
        self._build = histogram("build", "Of the compiler, when it ran", _RUN)
        self._depth = Gauge("sandbox_queue_depth", "Requests that wait for a turn", registry=registry)
        self._sockets = Gauge("sandbox_websockets", "Open WebSockets", registry=registry)
        self._tenants, self._routes = _Bounded(), _Bounded()

    def ran(self, tenant: str, answer: Answer, queue_s: float, *, dialect: str) -> None:
        """A run was answered.

        Args:
            tenant: its name, as in the configuration.
            answer: what it was answered.
            queue_s: seconds it waited for its turn.
            dialect: one of DIALECTS; all else counts as "other".
        """
        outcome = "not_compiled" if answer.run is None else answer.run.outcome.value
        self._runs.labels(outcome, _dialect(dialect)).inc()
        self._tenant_runs.labels(self._tenants(tenant)).inc()
        self._wait.observe(queue_s)
        if answer.run is not None:
            self._setup.observe(answer.run.timings.setup_ns / _SECOND)
            self._run.observe(answer.run.timings.run_ns / _SECOND)
        if answer.compile is not None and answer.compile.result is not None:
            self._build.observe(answer.compile.result.timings.run_ns / _SECOND)

    def graded(self, tenant: str, verdict: str, queue_s: float) -> None:
        """A submission was judged; its verdict counts as the outcome."""
        self._runs.labels(verdict, "grade").inc()
        self._tenant_runs.labels(self._tenants(tenant)).inc()
        self._wait.observe(queue_s)

    def failed(self, error: BaseException, *, dialect: str) -> None:
        """A run ended without an answer."""
        own = isinstance(error, errors.SandboxError) and type(error).__module__ == errors.__name__
        name = type(error).__name__ if own or _is_cancel(error) else OTHER
        self._errors.labels(name, _dialect(dialect)).inc()

    def refused(self, reason: str) -> None:
        """A request was refused; a reason that is not in REASONS counts as "other"."""
        self._refusals.labels(reason if reason in REASONS else OTHER).inc()

    def requested(self, route: str, status: int, seconds: float, *, method: str = "GET") -> None:
        """A request was answered.

        Args:
            route: the template, such as "/v1/runs/{id}"; "" where no route was found.
            status: of the answer.
            seconds: it took.
            method: of the request; unusual ones count as "other".
        """
        known = self._routes(route) if route else OTHER
        code = str(status) if 100 <= status < 600 else OTHER
        self._requests.labels(method if method in _METHODS else OTHER, known, code).inc()
        self._request.labels(known).observe(seconds)

    def queued(self, depth: int) -> None:
        """So many requests wait for a turn now."""
        self._depth.set(depth)

    def audit_failed(self) -> None:
        """An audit line could not be written."""
        self._lost_audit.inc()

    @contextmanager
    def socket(self) -> Iterator[None]:
        """A WebSocket is open within."""
        with self._sockets.track_inprogress():
            yield

    def render(self) -> tuple[bytes, str]:
        """The text that Prometheus reads, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST


def _dialect(label: str) -> str:
    """The first part of a label such as "piston/execute"."""
    name = label.partition("/")[0]
    return name if name in DIALECTS else OTHER


def _is_cancel(error: BaseException) -> bool:
    return type(error).__name__ in ("CancelledError", "Canceled")
