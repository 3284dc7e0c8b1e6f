"""Who asks: a name, and what it may do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sandbox.model.errors import RequestError

SCOPES = ("run", "grade", "files", "metrics", "admin")


class Forbidden(RequestError):
    """The token is known and does not allow this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """Everything that was decided about a caller when the token was made.

    Attributes:
        name: in logs, figures and the audit.
        scopes: of SCOPES; "admin" is all of them.
        concurrency: runs at once; 0: what the server gives to each.
        limits: tighter than the server's, by the names of profiles.
        profiles: those that it may use, of those that the server offers; empty: all of these.
    """

    name: str
    scopes: frozenset[str] = frozenset({"run"})
    concurrency: int = 0
    limits: Mapping[str, str | int] = field(default_factory=dict)
    profiles: tuple[str, ...] = ()

    def need(self, scope: str) -> None:
        """Raises Forbidden."""
        if scope not in self.scopes and "admin" not in self.scopes:
            raise Forbidden(
                f"the token of {self.name!r} has no scope {scope!r}", hint=f"it has {', '.join(sorted(self.scopes)) or 'none'}"
            )


ANYBODY = Tenant(name="anybody", scopes=frozenset({"admin"}))
"""Who calls a service without tokens."""
