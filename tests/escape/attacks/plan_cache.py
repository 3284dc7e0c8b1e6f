"""Plans that somebody else has put into the cache of `sandbox run`, or that are not true any more."""

from __future__ import annotations

from tests.escape import plans
from tests.escape.model import Attack

CACHED = ("default", "strict", "python", "node", "native", "compile")  # plans of warm interpreters are not kept

ATTACKS = [
    Attack(
        id="PO04-planted",
        title="an entry that somebody else has written into a cache that is open to him",
        command="caller plans planted",
        claims=("SEC-PO-04",),
        layers=(plans.DIRECTORY, plans.ENTRY),
        profiles=CACHED,
        bwrap=False,
    ),
    Attack(
        id="PO04-stale",
        title="an entry of a profile that was another, with the same size and times",
        command="caller plans stale",
        claims=("SEC-PO-04",),
        layers=(plans.COMPARISON,),
        profiles=CACHED,
        bwrap=False,
    ),
]
