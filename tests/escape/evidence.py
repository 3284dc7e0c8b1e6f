"""Trials as tables: on the terminal, and as docs/security-evidence.md."""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.escape.model import PROFILES, Attack, Trial

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "security-evidence.md"
DATA = ROOT / "tests" / "escape" / "evidence.json"


@dataclass(slots=True)
class Row:
    """One attack: where it was contained, and what its knock-outs showed.

    Attributes:
        contained, void, tried: profiles.
        all_removed: verdict without any of its layers.
        single: layer → verdict with only that one removed.
        bwrap: verdict under plain bubblewrap, "" if it was not run there.
        problems: what is wrong, in words.
        shown_elsewhere: the evidence of another host has it succeed without its layers.
        notes: what is wrong with this host only: a knock-out that shows nothing here, but elsewhere.
    """

    attack: Attack
    contained: int = 0
    void: list[str] = field(default_factory=list)
    tried: int = 0
    all_removed: str = ""
    single: dict[str, str] = field(default_factory=dict)
    bwrap: str = ""
    problems: list[str] = field(default_factory=list)
    shown_elsewhere: bool = False
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Summary:
    """All rows, and what was left out because the host lacks something."""

    rows: list[Row]
    left_out: Mapping[str, str | None]

    @classmethod
    def of(
        cls, attacks: Iterable[Attack], trials: Iterable[Trial], left_out: Mapping[str, str | None], about: Mapping[str, Any]
    ) -> Summary:
        """Sort trials into rows."""
        shown = shown_elsewhere(about)
        rows = {attack.id: Row(attack, shown_elsewhere=attack.id in shown) for attack in attacks}
        for trial in trials:
            _enter(rows[trial.attack], trial)
        for row in rows.values():
            if row.void and row.all_removed == "escaped":  # the kernel has what it needs after all
                row.problems.append(f"said to be void in {', '.join(row.void)}, and succeeds without its layers")
        return cls(list(rows.values()), left_out)

    @property
    def good(self) -> bool:
        """Nothing is wrong."""
        return not any(row.problems for row in self.rows)

    def proven(self) -> set[str]:
        """Claims of which an attack was held everywhere, and was seen to succeed without its layers: "void" shows nothing."""
        shown = (row for row in self.rows if row.all_removed == "escaped" and not row.problems)
        return {claim for row in shown for claim in row.attack.claims}

    def counts(self) -> dict[str, int]:
        """The figures of the last line."""
        rows = self.rows
        return {
            "attacks": len(rows),
            "left out": len(self.left_out),
            "contained": sum(row.contained + len(row.void) == row.tried for row in rows),
            "knocked out": sum(row.all_removed == "escaped" for row in rows),
            "void on this kernel": sum(row.all_removed == "void" for row in rows),
            "held by a second layer": sum(bool(row.single) and set(row.single.values()) <= {"contained", "void"} for row in rows),
            "with two layers or more": sum(bool(row.single) for row in rows),
            "contained by plain bwrap": sum(row.bwrap == "contained" for row in rows),
            "void under bwrap": sum(row.bwrap == "void" for row in rows),
            "unclear under bwrap": sum(row.bwrap == "unclear" for row in rows),
            "run under bwrap": sum(bool(row.bwrap) for row in rows),
        }


def shown_elsewhere(about: Mapping[str, Any]) -> set[str]:
    """Attacks that succeed without their layers by the kept evidence of other kinds of host: what was here once is no excuse."""
    others = [found for name, found in all_kept().items() if name != name_of(about)]
    return {row[0] for found in others for row in found["rows"] if row[3].startswith("escaped")}


def _enter(row: Row, trial: Trial) -> None:
    if trial.profile == "bwrap":
        row.bwrap = trial.verdict
        return
    if not trial.removed:
        row.tried += 1
        if trial.verdict == "contained":
            row.contained += 1
        elif trial.verdict == "void":
            row.void.append(trial.profile)
        else:
            row.problems.append(f"{trial.verdict.upper()} in profile {trial.profile}: {trial.detail}")
        return
    if set(trial.removed) == set(row.attack.layers):
        row.all_removed = trial.verdict
        if trial.verdict not in ("escaped", "void"):
            said = f"does not succeed without {', '.join(trial.removed)}: {trial.detail}"
            (row.notes if row.shown_elsewhere else row.problems).append(said)
        if len(trial.removed) > 1:
            return
    if len(row.attack.layers) > 1:
        row.single[trial.removed[0]] = trial.verdict
        if trial.verdict == "escaped":
            row.problems.append(f"no second layer without {trial.removed[0]}: {trial.detail}")
        elif trial.verdict == "unclear":
            row.problems.append(f"the knock-out of {trial.removed[0]} proves nothing: {trial.detail}")


def show(summary: Summary, about: Mapping[str, Any]) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, width=None)
    if console.is_terminal:
        table = Table("attack", "title", "contained", "without its layers", "one removed", "bwrap", box=None, pad_edge=False)
        for row in summary.rows:
            table.add_row(*cells(row), style="red" if row.problems else "")
        console.print(table)
    else:
        for row in summary.rows:
            print("\t".join(cells(row)))
    for row in summary.rows:
        for problem in row.problems:
            print(f"PROBLEM {row.attack.id}: {problem}")
        for note in row.notes:
            print(f"NOT SHOWN HERE {row.attack.id}: {note}; the evidence of another host shows it")
    for name, reason in summary.left_out.items():
        print(f"left out: {name}: {reason}")
    print(", ".join(f"{key}: {value}" for key, value in {**about, **summary.counts()}.items()))


def cells(row: Row) -> tuple[str, ...]:
    """A row in words."""
    held = ("contained", "void")
    tried = sorted(row.single.items())
    single = ", ".join(f"{layer} {'ok' if verdict in held else verdict.upper()}" for layer, verdict in tried)
    layers = ", ".join(row.attack.layers)
    return (
        row.attack.id,
        row.attack.title,
        f"{row.contained}/{row.tried}" + (f", {len(row.void)} void" if row.void else ""),
        f"{row.all_removed} ({layers})",
        single or "-",
        row.bwrap or "-",
    )


def entry(summary: Summary, about: Mapping[str, Any], profiles: Iterable[str]) -> dict[str, Any]:
    """What is kept of one run, as JSON: all that it takes to see later whether every attack was tried everywhere."""
    return {
        "about": dict(about),
        "counts": summary.counts(),
        "left out": dict(summary.left_out),
        "profiles": list(profiles),
        "proven": sorted(summary.proven()),
        "rows": [list(cells(row)) for row in summary.rows],
        "tried": {row.attack.id: row.tried for row in summary.rows},
    }


def complaints(found: Mapping[str, Any], attacks: Mapping[str, Attack]) -> list[str]:
    """What is missing in an entry, or is not true any more. That of another, perhaps slow machine may be of fewer profiles."""
    said = []
    profiles = found.get("profiles", ())
    if tuple(profiles) != PROFILES and not (found.get("elsewhere") and profiles):
        said.append(f"these are not the profiles that there are: {profiles}")
    left_out = found.get("left out", {})
    tried = found.get("tried", {})
    known = [*tried, *left_out]
    said += [f"{name} was neither tried nor left out for a reason" for name in attacks if name not in known]
    said += [f"there is no attack {name}, or it is there twice" for name in known if name not in attacks or known.count(name) > 1]
    said += [f"{name} was left out for no reason" for name, reason in left_out.items() if not reason]
    for name in attacks.keys() & tried.keys():
        if tried[name] != (wanted := len(set(attacks[name].profiles) & set(profiles))):
            said.append(f"{name} was tried in {tried[name]} profiles of {wanted}")
    if sorted(row[0] for row in found["rows"]) != sorted(tried):
        said.append("the table has other rows")
    return said


def keep(found: Mapping[str, Any]) -> None:
    """Keep an entry in the place of an older one of the same kind of caller, and make the page of all that are kept."""
    kept = all_kept()
    kept[name_of(found["about"])] = found
    DATA.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
    PAGE.write_text(page(kept, claims()))


def all_kept() -> dict[str, Any]:
    """Entries by the kind of caller."""
    kept: dict[str, Any] = json.loads(DATA.read_text()) if DATA.exists() else {}
    return kept


def name_of(about: Mapping[str, Any]) -> str:
    """The kind of caller, of which one entry is kept."""
    return f"{about['caller']}, control groups {about['control groups']}"


def unproven(found: Mapping[str, Any], wanted: Iterable[str]) -> tuple[list[str], list[str]]:
    """Claims among the wanted that are not proven here: first those that no kept entry of another kind of host proves either."""
    others = {name: entry for name, entry in all_kept().items() if name != name_of(found["about"])}
    elsewhere = {claim for entry in others.values() for claim in entry.get("proven", ())}
    here = sorted(set(wanted) - set(found["proven"]))
    return [claim for claim in here if claim not in elsewhere], [claim for claim in here if claim in elsewhere]


def claims() -> dict[str, str]:
    """Id → sentence, from SECURITY.md."""
    found = re.findall(r"^\| (SEC-[A-Z]+-\d+) \| (.*?) \|", (ROOT / "SECURITY.md").read_text(), re.MULTILINE)
    return dict(found)


def tested(*, knocked_out: bool) -> dict[str, list[str]]:
    """Claim → tests that attack it from outside, where no payload can: those marked `@pytest.mark.claim("SEC-…")`.

    With `knocked_out=True` in the mark a test takes the defence away too, and the attack has to succeed then: for what is above
    a sandbox that is as good as an attack of the table. The argument gives these alone.
    """
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.parse(path.read_bytes()).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for call in node.decorator_list:
                    if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.claim":
                        words = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
                        for argument in call.args if words.get("knocked_out") or not knocked_out else ():
                            name = str(ast.literal_eval(argument))
                            found.setdefault(name, []).append(f"{path.relative_to(ROOT)}::{node.name}")
    return found


def page(kept: Mapping[str, Any], sentences: Mapping[str, str]) -> str:
    """docs/security-evidence.md."""
    from tests.escape.arena import load

    attacks = load()
    lines = [
        "# Evidence",
        "",
        "Made by `make escape`; do not edit. Every attack runs in every shipped profile that can run its payload; without all",
        "of its layers (it must succeed then, or it would prove nothing); and without each single one where there are several",
        "(it must still fail). The same payloads run under plain bubblewrap for comparison:",
        "`bwrap --unshare-all --ro-bind / / --proc /proc --dev /dev --tmpfs /tmp`.",
        "*void*: this kernel has not got what the attack needs, which proves no claim. *unclear*: the payload did not start or",
        "said nothing, which is no containment. What is above a sandbox (SEC-FG, -GR, -SV) is attacked by tests, which take its",
        "layers away themselves.",
        "",
        "| caller | profiles | attacks | left out | contained | knocked out | void | second layer | bwrap (void, unclear) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, entry in sorted(kept.items()):
        count = entry["counts"]
        lines.append(
            f"| {name}, kernel {entry['about']['kernel']} | {len(entry.get('profiles', ()))} | {count['attacks']}"
            f" | {count.get('left out', '?')} | {count['contained']} | {count['knocked out']}"
            f" | {count['void on this kernel']} | {count['held by a second layer']} of {count['with two layers or more']}"
            f" | {count['contained by plain bwrap']} ({count.get('void under bwrap', '?')},"
            f" {count.get('unclear under bwrap', '?')}) of {count['run under bwrap']} |"
        )
    lines += ["", "## Claims and their attacks", "", "| claim | attacks | tests that attack it from outside |", "|---|---|---|"]
    tests = tested(knocked_out=False)
    for claim, sentence in sentences.items():
        against = ", ".join(attack.id for attack in attacks.values() if claim in attack.claims)
        lines.append(f"| {claim}: {sentence} | {against} | {', '.join(f'`{name}`' for name in tests.get(claim, ()))} |")
    for name, entry in sorted(kept.items()):
        lines += [
            "",
            f"## {name}",
            "",
            "| attack | | contained | without its layers | one removed | bwrap |",
            "|---|---|---|---|---|---|",
        ]
        lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in entry["rows"]]
        if entry.get("left out"):
            lines += ["", "Left out on this host:", ""]
            lines += [f"- {attack}: {reason}" for attack, reason in entry["left out"].items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":  # an entry of another machine, on stdin
    keep({**json.load(sys.stdin), "elsewhere": True})
