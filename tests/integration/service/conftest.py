"""What the tests of the page share. A browser belongs to one module: while it runs, its thread can have no other event loop."""

from __future__ import annotations

import pytest

from tests.support.served import served


@pytest.fixture(scope="module")
def browser():
    """Chromium, or a skip."""
    from tests.support.require import require

    require("browser")
    from tests.support.browsing import chromium

    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def page_server(tmp_path_factory, run_options):
    """A server without tokens."""
    with served(tmp_path_factory.mktemp("page"), languages=["python3", "cpp", "bash"], **run_options) as running:
        yield running


@pytest.fixture
def visit(browser, page_server):
    """Somebody who comes to its page."""
    from tests.support.browsing import visited

    with visited(browser, page_server.url) as made:
        yield made
