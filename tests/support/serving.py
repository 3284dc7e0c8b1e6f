"""A real server of this service on a loopback port, in a thread of the test's own process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from sandbox.service.app import make_app
from sandbox.service.config import Config
from tests.support.clock import wait_until


@contextmanager
def serving(**settings: Any) -> Iterator[str]:
    """The base URL of a server with these settings; without tokens unless they say other."""
    config = Config.model_validate({"no_auth": True, "port": 0, **settings})
    server = uvicorn.Server(
        uvicorn.Config(make_app(config), host="127.0.0.1", port=0, log_level="error", lifespan="on", timeout_graceful_shutdown=5)
    )
    thread = threading.Thread(target=server.run, name="server", daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive(), within=120)
        assert server.started, "the server did not start"
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(30)
    assert not thread.is_alive()
