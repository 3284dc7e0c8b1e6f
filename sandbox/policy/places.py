"""Which places of a sandbox get in each other's way."""

from __future__ import annotations

from sandbox.model.policy import Policy
from sandbox.policy.paths import within


def overlap(policy: Policy, target: str) -> str:
    """Why the work directory and a mount cannot be where they are; "" when they can."""
    work = policy.work.path
    if target == work:
        return f"the work directory and a mount are both at {work!r}"
    if within(target, work):
        return f"the work directory {work!r}, which every run makes anew, would hide the mount {target!r}"
    if within(work, target) and policy.rootfs.kind == "selected":
        return f"the work directory {work!r} lies in the mount {target!r}, where no directory can be made"
    return ""


def hides(policy: Policy, path: str) -> str:
    """The place without which no run works that a covered path equals or covers; "" when there is none."""
    places = ["/", "/proc", "/dev", "/dev/shm", policy.work.path, *(["/tmp"] if policy.scratch.tmp else [])]
    return next((place for place in places if within(place, path)), "")
