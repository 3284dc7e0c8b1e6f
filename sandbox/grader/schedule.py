"""Which cases still have to be run: a pure function of the groups and of the verdicts that are known.

Cases run in parallel and end in any order. What is kept of them depends on the order of the cases alone: the first failure in
that order decides, never the race. A case that ran though an earlier failure makes it superfluous counts as skipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from sandbox.grader.model import Case, Group, Verdict

Mode = Literal["first", "all"]
PASSED = frozenset({Verdict.AC, Verdict.PAC})


class Fate(Enum):
    """What is to become of a case."""

    RUN = "run"
    WAIT = "wait"  # for a group that has to pass first
    SKIP = "skip"


_WORSE = (Fate.RUN, Fate.WAIT, Fate.SKIP)


@dataclass(frozen=True, slots=True)
class Slot:
    """A case with the groups that it is in, the root first."""

    case: Case
    groups: tuple[Group, ...]

    def child_of(self, depth: int) -> str:
        """The name of what of this case lies directly in its group number `depth`."""
        return self.groups[depth + 1].name if depth + 1 < len(self.groups) else self.case.name


def slots(root: Group) -> tuple[Slot, ...]:
    """Every case in order of running."""

    def below(group: Group, above: tuple[Group, ...]) -> Iterator[Slot]:
        chain = (*above, group)
        for case in group.cases:
            yield Slot(case, chain)
        for inner in group.groups:
            yield from below(inner, chain)

    return tuple(below(root, ()))


def fates(places: Sequence[Slot], verdicts: Mapping[str, Verdict], mode: Mode) -> tuple[tuple[Fate, str], ...]:
    """(fate, why) of each case, from the verdicts known so far (name of a case → verdict).

    In mode "first" a group with `on_reject: break` is over at its first failure; in mode "all" nothing is. In both a group whose
    `require_pass` names one that did not pass is not run.
    """
    broken: dict[str, tuple[str, str]] = {}  # group → (what in it failed first, the case)
    states = dict.fromkeys((group.name for place in places for group in place.groups), Fate.WAIT)  # RUN: passed so far
    seen: set[str] = set()
    out = []
    for place in places:
        fate, why = _required(place, states, seen)
        failed = _broken(place, broken) if mode == "first" and fate is not Fate.SKIP else ""
        if failed:
            fate, why = Fate.SKIP, f"{failed} was not accepted"
        verdict = verdicts.get(place.case.name) if fate is Fate.RUN else None
        if verdict is not None and verdict not in PASSED:
            _break(place, broken)
        _note(place, states, seen, _state(fate, verdict))
        out.append((fate, why))
    return tuple(out)


def _state(fate: Fate, verdict: Verdict | None) -> Fate:
    """What a case says about its groups: passed (RUN), not known yet (WAIT), not passed (SKIP)."""
    if fate is Fate.SKIP or (verdict is not None and verdict not in PASSED):
        return Fate.SKIP
    return Fate.WAIT if verdict is None else Fate.RUN


def _note(place: Slot, states: dict[str, Fate], seen: set[str], state: Fate) -> None:
    """A group is as good as the worst of its cases so far."""
    for group in place.groups:
        before = states[group.name] if group.name in seen else Fate.RUN
        seen.add(group.name)
        states[group.name] = max(before, state, key=_WORSE.index)


def _broken(place: Slot, broken: Mapping[str, tuple[str, str]]) -> str:
    """The earlier case that ended a group of this one; a failure within the same inner group is that group's own affair."""
    for depth, group in enumerate(place.groups):
        found = broken.get(group.name)
        if found and group.on_reject == "break" and found[0] != place.child_of(depth):
            return found[1]
    return ""


def _break(place: Slot, broken: dict[str, tuple[str, str]]) -> None:
    """Note a failure in its group and in those above, as far as the verdict of a group rests on it."""
    for depth in range(len(place.groups) - 1, -1, -1):
        group = place.groups[depth]
        if group.verdict_of in ("always_accept", "accept_if_any_accepted") or group.score_aggregation == "custom":
            return  # it may still be accepted
        broken.setdefault(group.name, (place.child_of(depth), place.case.name))
        if group.ignored:
            return


def _required(place: Slot, states: Mapping[str, Fate], seen: set[str]) -> tuple[Fate, str]:
    """Whether the groups that have to pass have passed. One without cases has nothing to fail; a later one fails."""
    fate, why = Fate.RUN, ""
    for wanted in {name: None for group in place.groups for name in group.require_pass}:
        if wanted not in states:
            continue
        if wanted not in seen or states[wanted] is Fate.SKIP:
            return Fate.SKIP, f"{wanted} did not pass"
        if states[wanted] is Fate.WAIT:
            fate, why = Fate.WAIT, f"{wanted} is not over"
    return fate, why
