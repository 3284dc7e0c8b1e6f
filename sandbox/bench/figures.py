"""From measured times to figures."""

from __future__ import annotations

import math
from collections.abc import Sequence

SHARES = (0.5, 0.9, 0.99)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed (nearest rank). Raises ValueError for none."""
    if not values:
        raise ValueError("there is no percentile of nothing")
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def summary(values_ms: Sequence[float]) -> dict[str, float]:
    """p50, p90 and p99 of times in milliseconds."""
    return {f"p{share * 100:g}_ms": round(percentile(values_ms, share), 3) for share in SHARES}
