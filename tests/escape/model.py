"""What an attack is: a payload, the claims it is against, the layers that hold it, and how an escape is seen.

A payload says what it found, in lines on stdout:

    ESCAPED <what>     it got what it wanted
    VOID <why>         this kernel does not offer what the attack needs
    CONTAINED <how>    it was refused

Silence is none of these: a payload that did not start, or broke on its way, has attacked nothing. What cannot be seen from
inside (a changed file, a dead bystander) a `Scene` of the attack sees from outside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sandbox import Exited, RunResult, SandboxError

HERE = Path(__file__).resolve().parent
SILENT = "it said nothing"
Verdict = Literal["escaped", "contained", "void", "unclear"]
PROFILES = ("default", "strict", "python", "python-warm", "node", "native", "compile")


@dataclass(slots=True)
class Scene:
    """What a scene gives to the run, and how it looks at the host afterwards.

    Attributes:
        arguments: appended to the payload's command.
        options: for `Sandbox.start` (env, files, stdin, limits, tty, collect…).
        mounts: (host directory, place inside, writable) granted by the caller; bwrap gets them too.
        profile: changes to the profile, as in its file (sections are merged).
        check: looks at the host, and at the result, after the run; a text is an escape. With it a payload may say nothing.
        failed: the same for the error of a run that has no result.
        companion: words for a second payload, in another run of the same launcher; how that ended is then in `companion_result`.
        companion_grace: seconds that it has to end by itself when the attack is over, before it is ended.
        beside: what goes on in the same sandbox meanwhile: other runs.
        planned: called when the plan is made and nothing has been started: changes what the plan was made of.
        refusals: parts of errors that are the containment. Any other error but that of a bad request proves nothing.
    """

    arguments: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    mounts: list[tuple[str, str, bool]] = field(default_factory=list)
    profile: dict[str, Any] = field(default_factory=dict)
    check: Callable[[Any], str] | None = None
    failed: Callable[[SandboxError], str] | None = None
    companion: list[str] = field(default_factory=list)
    companion_result: Any = None
    companion_grace: float = 0.0
    beside: Callable[[Any], AbstractContextManager[object]] | None = None
    planned: Callable[[], None] | None = None
    refusals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One attack.

    Attributes:
        id: such as "SF10": the row of the threat model where there is one, with a suffix when there are several.
        title: one line.
        claims: ids of SECURITY.md that would be broken.
        command: what is executed inside; "probe …" is the multi-command C program, "python …" a file of payloads/*.py,
            "sh …" a shell text. "caller …" is what happens to a caller in a process of its own (`callers`).
        layers: names of `layers.LAYERS`. All removed: the attack must succeed. One removed, and there are several: it must
            still fail.
        scene: makes what the attack needs on the host.
        profiles: where it is run; all of the shipped ones unless the payload needs something that a profile has not.
        needs: features of the host (`tests.support.require`), without which it is not run.
        bwrap: whether it means anything under plain bubblewrap.
        outcomes: ways in which the run of a payload that said nothing may end, and is contained: names of outcomes, of
            signals ("SIGSYS"), or "exit 3".
    """

    id: str
    title: str
    claims: tuple[str, ...]
    command: str
    layers: tuple[str, ...]
    scene: Callable[[Path], AbstractContextManager[Scene]] | None = None
    profiles: tuple[str, ...] = PROFILES
    needs: tuple[str, ...] = ()
    bwrap: bool = True
    outcomes: tuple[str, ...] = ()

    @property
    def category(self) -> str:
        """The module that it stands in, such as "syscall_filter"."""
        return CATEGORIES.get(self.id, "")


CATEGORIES: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Trial:
    """One attack in one configuration, and what came of it."""

    attack: str
    profile: str
    removed: tuple[str, ...]
    verdict: Verdict
    detail: str

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "attack": self.attack,
            "profile": self.profile,
            "removed": list(self.removed),
            "verdict": self.verdict,
            "detail": self.detail,
        }


class BrokenTrial(Exception):
    """What the attack needs around it did not come about: its end would prove nothing."""


def verdict_of(output: bytes, seen: str) -> tuple[Verdict, str]:
    """The verdict of what a payload said and what was `seen` outside; "unclear" if it said nothing."""
    if seen:
        return "escaped", seen
    lines = [line.decode("utf-8", "replace") for line in output.splitlines()]
    for word, verdict in (("ESCAPED", "escaped"), ("VOID", "void"), ("CONTAINED", "contained")):
        found = [line.removeprefix(word).strip() for line in lines if line.startswith(word)]
        if found:
            return verdict, "; ".join(found)[:200]  # type: ignore[return-value]
    return "unclear", SILENT


def verdict_of_end(attack: Attack, scene: Scene, result: RunResult) -> tuple[Verdict, str]:
    """The verdict on a payload that said nothing, from how its run ended."""
    if result.exit is None:
        end = result.outcome.value
    elif isinstance(result.exit, Exited):
        end = f"exit {result.exit.code}"
    else:
        end = result.exit.name
    detail = f"{result.outcome}, {end}: {result.stderr.decode('utf-8', 'replace').strip()[-150:]}"
    not_begun = end in ("exit 126", "exit 127") or b"probe: " in result.stderr
    # Nothing but a filter ends a program by SIGSYS.
    declared = end == "SIGSYS" or bool({result.outcome.value, end} & set(attack.outcomes))
    if (scene.check is not None or declared) and not not_begun:
        return "contained", detail
    return "unclear", f"{SILENT}, and ended by {detail}"


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Profile data with sections merged."""
    out = dict(base)
    for key, value in changes.items():
        old = out.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            out[key] = {**old, **value}
        elif isinstance(value, list) and isinstance(old, list):
            out[key] = [*old, *value]
        else:
            out[key] = value
    return out


def of_one_claim(
    name: str,
    title: str,
    command: str,
    held_by: tuple[str, ...],
    claim: str,
    scene: Callable[[Path], AbstractContextManager[Scene]] | None = None,
    **more: Any,
) -> Attack:
    """An attack by a command of the probe, not held against bubblewrap unless `more` says so."""
    given = {"bwrap": False, **more}
    return Attack(id=name, title=title, claims=(claim,), command=f"probe {command}", layers=held_by, scene=scene, **given)
