"""Spans: as nested as the work is, without a client's words; and nothing where the API is not installed."""

from __future__ import annotations

import subprocess
import sys

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sandbox.service import telemetry


@pytest.fixture
def spans(monkeypatch):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(telemetry.trace, "get_tracer", provider.get_tracer)
    yield exporter.get_finished_spans
    provider.shutdown()


def test_parts_are_children_of_the_request_and_of_the_clients_trace(spans):
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    with telemetry.request("POST /v1/run", {"traceparent": f"00-{trace}-{parent}-01", "cookie": "x"}), telemetry.span("queue"):
        pass
    queue, request = spans()
    assert (request.name, queue.name) == ("POST /v1/run", "queue")
    assert queue.parent.span_id == request.context.span_id
    assert f"{request.context.trace_id:032x}" == trace
    assert f"{request.parent.span_id:016x}" == parent


@pytest.mark.parametrize("header", ["", "00-zz-zz-01", "x" * 10_000, "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
def test_a_bad_header_begins_a_new_trace(spans, header):
    with telemetry.request("r", {"traceparent": header}):
        pass
    (request,) = spans()
    assert request.parent is None


def test_attributes_are_ours_and_errors_are_told_by_class_alone(spans):
    with pytest.raises(ValueError), telemetry.span("run", language="cpp") as mark:
        mark(cached=True)
        raise ValueError("the client's words")
    (run,) = spans()
    assert dict(run.attributes) == {"sandbox.language": "cpp", "sandbox.cached": True}
    assert (run.status.status_code.name, run.status.description) == ("ERROR", "ValueError")
    assert "client" not in run.to_json()


def test_without_the_api_nothing_happens_and_nothing_is_made():
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from sandbox.service import telemetry\n"
        "assert not telemetry.installed()\n"
        "assert telemetry.span('a') is telemetry.span('b') is telemetry.request('r', {})\n"
        "with telemetry.request('r', {}), telemetry.span('a', x=1) as mark: mark(y=2)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
