"""Requests made from the OpenAPI document, by hundreds: none may be answered in a way that the document does not tell."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.served import served

_CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)


@pytest.fixture(scope="module")
def described(tmp_path_factory, run_options):
    limits = {"wall": "2s", "cpu": "1s"}
    with served(tmp_path_factory.mktemp("service"), request_seconds=5, limits=limits, **run_options) as running:
        yield running.url


def test_every_answer_is_one_that_is_told(described):
    operations = [found.ok() for found in schemathesis.openapi.from_url(f"{described}/openapi.json").get_all_operations()]
    assert len(operations) >= 9
    complaints = [
        f"{operation.label} ({mode.value}): {said}"
        for operation in operations
        for mode in _modes(operation)
        if (said := _try(operation, mode))
    ]
    assert not complaints, "\n\n".join(complaints)


def _modes(operation) -> list[GenerationMode]:
    """What takes nothing has no wrong form."""
    takes = operation.body or operation.path_parameters or operation.query or operation.headers
    return [GenerationMode.POSITIVE, GenerationMode.NEGATIVE] if takes else [GenerationMode.POSITIVE]


def _try(operation, mode) -> str:
    """What is wrong with an answer; "" when all are well."""
    statuses = set()

    @settings(
        max_examples=40,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def attempt(case):
        answer = case.call(timeout=60)
        statuses.add(answer.status_code)
        case.validate_response(answer, checks=_CHECKS)

    try:
        attempt()
    except Exception as error:
        return str(error)
    print(operation.label, mode.value, sorted(statuses))
    return "" if statuses else "was not called"
