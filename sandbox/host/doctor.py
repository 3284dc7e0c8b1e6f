"""doctor"""

from __future__ import annotations
from sandbox.model.errors import UnsupportedHostError


def unsupported(feature: str, errno: int = 0) -> UnsupportedHostError:
    """Placeholder while the core is checked."""
    return UnsupportedHostError(feature, "x", "y")
