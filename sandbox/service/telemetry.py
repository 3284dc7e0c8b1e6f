"""Spans of OpenTelemetry, where its API is installed; otherwise nothing, at the cost of one `if`.

    with telemetry.request("POST /v1/run", headers):     # goes on with the trace of the client's `traceparent`
        with telemetry.span("queue"): ...
        with telemetry.span("build", language="cpp") as mark:
            mark(cached=True)                             # further attributes

The service sets no exporter: who wants the spans starts it with `opentelemetry-instrument`, or sets a provider. Attributes are
figures and names of ours; what a client or a payload wrote never is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

try:
    from opentelemetry import context, propagate, trace
except ImportError:
    _here = False
else:
    _here = True

__all__ = ["installed", "request", "span"]

Value = str | bool | int | float
Mark = Callable[..., None]
_NAME = "sandbox.service"


def _no_mark(**_: Value) -> None:
    pass


_NOTHING: AbstractContextManager[Mark] = nullcontext(_no_mark)


def installed() -> bool:
    """Whether the API of OpenTelemetry is there."""
    return _here


def span(name: str, **attributes: Value) -> AbstractContextManager[Mark]:
    """A part of the work: "queue", "build", "run". Gives a function that adds attributes; an exception ends it as an error."""
    return _span(name, attributes) if _here else _NOTHING


def request(name: str, headers: Mapping[str, str]) -> AbstractContextManager[Mark]:
    """All of a request.

    Args:
        name: method and template of the route, not the path that was asked for.
        headers: of the request, names in lower case.
    """
    return _request(name, headers) if _here else _NOTHING


@contextmanager
def _span(name: str, attributes: Mapping[str, Value]) -> Iterator[Mark]:
    # A message of an exception may quote the client; the class does not.
    with trace.get_tracer(_NAME).start_as_current_span(
        name, attributes=_named(attributes), record_exception=False, set_status_on_exception=False
    ) as current:

        def mark(**more: Value) -> None:
            current.set_attributes(_named(more))

        try:
            yield mark
        except BaseException as error:
            current.set_status(trace.StatusCode.ERROR, type(error).__name__)
            raise


@contextmanager
def _request(name: str, headers: Mapping[str, str]) -> Iterator[Mark]:
    carried = {key: headers[key] for key in ("traceparent", "tracestate") if key in headers}
    token = context.attach(propagate.extract(carried))
    try:
        with _span(name, {}) as mark:
            yield mark
    finally:
        context.detach(token)


def _named(attributes: Mapping[str, Value]) -> dict[str, Value]:
    return {f"sandbox.{name}": value for name, value in attributes.items()}
