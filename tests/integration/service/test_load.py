"""A few seconds of good and hostile requests together; `tests/soak/service_load.py` does it for as long as is wanted."""

from __future__ import annotations

import pytest

from tests.soak.service_load import load_for

pytestmark = pytest.mark.heavy


def test_nothing_is_lost_and_nothing_is_left(run_options):
    report = load_for(8, **run_options)
    assert report["wrong"] == []
    assert report["small"] > 20
    assert len(report["counts"]) > 5, report["counts"]
