"""Everything that one running service has; `app.state.service`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.requests import HTTPConnection

from sandbox.service.access import Access
from sandbox.service.admission import Admission
from sandbox.service.audit import Audit
from sandbox.service.config import Config
from sandbox.service.metrics import Metrics
from sandbox.service.runs import Runs
from sandbox.service.tenant import Tenant
from sandbox.service.work import Work


@dataclass(slots=True)
class Service:
    """The parts, each made once. `files` is what the dialects keep; they make it."""

    config: Config
    access: Access
    admission: Admission
    metrics: Metrics
    audit: Audit
    work: Work
    runs: Runs
    files: Any = None

    def tenant(self, request: HTTPConnection, scope: str = "run") -> Tenant:
        """Who sent a request, allowed to do this. Raises Forbidden."""
        tenant: Tenant = request.scope["state"]["tenant"]
        tenant.need(scope)
        return tenant


def peer_of(request: HTTPConnection) -> str:
    """The address of the client."""
    return request.client.host if request.client is not None else ""
