"""Run every attack in every shipped profile, with its layers removed, with each of them removed, and under plain bubblewrap.

    python -m tests.escape.run [--only PATTERN] [--profile NAME]... [--json FILE] [--evidence]

Exit code 0 when every attack is contained everywhere, succeeds without its layers (or the kernel has not got what it
needs: "void"), is held by each second layer, and every claim is proven here or by kept evidence of another host; 1 when
not; 2 when there is nothing to run.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.escape import arena, evidence, layers
from tests.escape.model import PROFILES, Attack, Trial
from tests.support.require import missing


def trials_of(attack: Attack, profiles: Iterable[str], *, singles: bool) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(profile, removed layers) of everything that is tried with an attack."""
    where = [profile for profile in profiles if profile in attack.profiles]
    for profile in where:
        yield profile, ()
    if where:
        cold = any(layers.LAYERS[name].executed for name in layers.closure(attack.layers))
        home = "default" if "default" in where or (cold and "default" in attack.profiles) else where[0]
        yield home, attack.layers
        if len(attack.layers) > 1 and singles:
            for layer in attack.layers:
                yield home, (layer,)


def why_not(attack: Attack, profiles: Iterable[str]) -> str:
    """Why an attack is left out; "" if it is not."""
    if not set(profiles) & set(attack.profiles):
        return f"it is for {', '.join(attack.profiles)}"
    return next(filter(None, map(missing, attack.needs)), "")


def everything(attacks: Iterable[Attack], profiles: Iterable[str], ground: arena.Arena, *, singles: bool) -> Iterator[Trial]:
    """Every trial, grouped so that warm sandboxes are used again."""
    wanted = [(attack, *trial) for attack in attacks for trial in trials_of(attack, profiles, singles=singles)]
    for attack, profile, removed in sorted(wanted, key=lambda item: (item[2] != (), item[2], item[1])):
        yield ground.run(attack, profile, removed)
    if shutil.which("bwrap"):
        for attack in attacks:
            if attack.bwrap:
                yield ground.under_bwrap(attack)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", help="attacks whose id matches this pattern")
    parser.add_argument("--profile", action="append", choices=PROFILES, help="only in this profile; repeatable")
    parser.add_argument("--json", help="write all trials to this file")
    parser.add_argument("--no-singles", action="store_true", help="leave out the trials with one layer removed (slow machines)")
    parser.add_argument("--line", action="store_true", help="print what would be kept as the last line, as JSON after EVIDENCE")
    parser.add_argument("--evidence", action="store_true", help="write docs/security-evidence.md anew, for this kind of caller")
    options = parser.parse_args()
    if options.evidence and (options.only != "*" or options.profile):
        parser.error("evidence is kept of all attacks in all profiles")
    attacks = [attack for attack in arena.load().values() if fnmatch.fnmatchcase(attack.id, options.only)]
    started = time.monotonic()
    profiles = options.profile or PROFILES
    left_out = {attack.id: reason for attack in attacks if (reason := why_not(attack, profiles))}
    usable = [attack for attack in attacks if attack.id not in left_out]
    if not usable:
        print(f"nothing to run: {options.only!r} in {', '.join(profiles)}; {len(left_out)} left out: {left_out}", file=sys.stderr)
        return 2
    singles = not options.no_singles
    total = sum(len(list(trials_of(attack, profiles, singles=singles))) + attack.bwrap for attack in usable)
    found: list[Trial] = []
    with arena.Arena(degraded=not arena.has_base()) as ground:
        for number, trial in enumerate(everything(usable, profiles, ground, singles=singles), 1):
            found.append(trial)
            if sys.stderr.isatty():
                print(f"\r\x1b[K{number}/{total} {trial.attack} in {trial.profile}", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    about = {
        "caller": arena.kind(),
        "control groups": "none (allow_degraded)" if not arena.has_base() else arena.version(),
        "kernel": platform.release(),
        "seconds": round(time.monotonic() - started),
    }
    if options.json:
        Path(options.json).parent.mkdir(parents=True, exist_ok=True)
        Path(options.json).write_text(json.dumps({"about": about, "trials": [trial.to_dict() for trial in found]}, indent=1))
    summary = evidence.Summary.of(usable, found, left_out, about)
    evidence.show(summary, about)
    entry = evidence.entry(summary, about, profiles)
    wanted = set(evidence.claims()) - evidence.tested(knocked_out=True).keys()  # whose tests need no evidence that is kept
    if options.only != "*":
        wanted = set()
    elif options.profile:
        wanted = {claim for attack in attacks if set(profiles) & set(attack.profiles) for claim in attack.claims}
    unproven, elsewhere = evidence.unproven(entry, wanted)
    for claim in unproven:
        print(f"PROBLEM {claim}: UNPROVEN HERE, and on every other host of which evidence is kept")
    for claim in elsewhere:
        print(f"{claim}: UNPROVEN HERE, proven by evidence of another host")
    if options.evidence:
        evidence.keep(entry)
    if options.line:
        print("EVIDENCE", json.dumps(entry), flush=True)
    if not shutil.which("bwrap"):
        print("BUBBLEWRAP IS NOT INSTALLED: NOTHING WAS COMPARED WITH IT", flush=True)
    return 0 if summary.good and not unproven else 1


if __name__ == "__main__":
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    sys.exit(main())
