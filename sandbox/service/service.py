"""Everything that one running service has; `app.state.service`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.requests import HTTPConnection

from sandbox.model.errors import SandboxError
from sandbox.service.access import Access
from sandbox.service.admission import Admission
from sandbox.service.audit import Audit
from sandbox.service.config import Config
from sandbox.service.metrics import Metrics
from sandbox.service.replays import Replays
from sandbox.service.runs import Runs
from sandbox.service.tenant import Tenant
from sandbox.service.work import Work


@dataclass(slots=True)
class Service:
    """The parts, each made once.

    Attributes:
        files: what the dialects keep; they make it.
        failure: why it could not start.
    """

    config: Config
    access: Access
    admission: Admission
    metrics: Metrics
    audit: Audit
    work: Work
    runs: Runs
    replays: Replays
    files: Any = None
    failure: SandboxError | None = None

    def tenant(self, request: HTTPConnection, scope: str = "run") -> Tenant:
        """Who sent a request, allowed to do this. Raises Forbidden."""
        tenant: Tenant = request.scope["state"]["tenant"]
        tenant.need(scope)
        return tenant


def peer_of(request: HTTPConnection) -> str:
    """The address of the client."""
    return request.client.host if request.client is not None else ""
