"""What the routes of all dialects need of HTTP."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from fastapi.responses import Response
from starlette.requests import Request

from sandbox.model.errors import RequestError
from sandbox.policy.profile import Profile
from sandbox.service import ceilings
from sandbox.service.config import Config
from sandbox.service.tenant import Tenant

JSON = "application/json"


def answer(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON, in ASCII: no client stumbles over what is in a payload's output."""
    return Response(dumps(content).encode("ascii"), status_code=status, headers=dict(headers or {}), media_type=JSON)


def dumps(content: Any) -> str:
    """JSON in ASCII."""
    return json.dumps(content)


def is_json(request: Request) -> bool:
    """Whether the body says that it is JSON."""
    return request.headers.get("content-type", "").strip().lower().startswith(JSON)


async def body(request: Request) -> Any:
    """The JSON of a request; None where it is empty. Raises RequestError."""
    raw = await request.body()
    if not raw.strip():
        return None
    return parse(raw)


def parse(raw: bytes | str) -> Any:
    """Strict JSON: no NaN, in UTF-8. Raises RequestError."""
    try:
        return json.loads(raw if isinstance(raw, str) else raw.decode(), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise RequestError(f"the body is not JSON: it is not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise RequestError("the body is not usable JSON: it is nested too deeply") from None
    except ValueError as error:
        raise RequestError(f"the body is not JSON: {str(error)[:200]}") from None


def run_limits(config: Config, tenant: Tenant) -> dict[str, int]:
    """The most that a run of this tenant may have, by fields of `Limits`."""
    return ceilings.lowest(ceilings.parse(config.limits), ceilings.parse(tenant.limits))


def command_limits(config: Config, tenant: Tenant) -> dict[str, int]:
    """The same for a plain command, which has the limits of its profile too."""
    allowed = tenant.profiles or config.profiles
    name = next((name for name in config.profiles if name in allowed), config.profiles[0])
    return ceilings.lowest(run_limits(config, tenant), _profile_limits(name))


@functools.cache
def _profile_limits(name: str) -> Mapping[str, int]:
    return ceilings.of(Profile.load(name).policy.limits)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
