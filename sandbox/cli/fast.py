"""`sandbox run` with a plan from the cache: what a short command takes when there is nothing to compile.

It reads the options as `sandbox.cli.run` does, but only in their plain forms; whatever else it meets, help and mistakes
included, is left to the full command. The launcher is started first, everything else is loaded meanwhile.
"""

from __future__ import annotations

import gc
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# option → (name in `Options`, whether it may be given often)
_VALUED = {
    "-p": ("profile", False),
    "--profile": ("profile", False),
    "--set": ("overrides", True),
    "--limit": ("limits", True),
    "--mount": ("mounts", True),
    "--env": ("env", True),
    "--file": ("files", True),
    "--collect": ("collect", True),
    "--out": ("out", False),
    "--stdin": ("stdin", False),
    "--cwd": ("cwd", False),
}
_FLAGS = {
    "-t": ("tty", True),
    "--tty": ("tty", True),
    "--allow-degraded": ("allow_degraded", True),
    "--copy": ("copy", True),
    "--no-copy": ("copy", False),
    "-v": ("report", True),
    "--report": ("report", True),
    "--no-report": ("report", False),
    "-q": ("quiet", True),
    "--quiet": ("quiet", True),
    "--json": ("as_json", True),
}


def options(words: list[str]) -> tuple[dict[str, Any], tuple[str, ...]] | None:
    """(options, command) of the words after `run`; None for what the full command must read."""
    found: dict[str, Any] = {name: () if often else None for name, often in _VALUED.values()}
    found.update(profile="default", **dict.fromkeys(("tty", "allow_degraded", "report", "quiet", "as_json"), False), copy=True)
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if word == "--":
            break
        if not word.startswith("-"):
            at -= 1
            break
        if word in _FLAGS:
            name, value = _FLAGS[word]
            found[name] = value
            continue
        option, sign, text = word.partition("=")
        if option not in _VALUED or (sign and not option.startswith("--")):
            return None
        if not sign:
            if at == len(words):
                return None
            text = words[at]
            at += 1
        name, often = _VALUED[option]
        found[name] = (*found[name], text) if often else text
    return (found, tuple(words[at:])) if words[at:] else None


def run(words: list[str]) -> int | None:
    """Run it and return the exit code; None when there is no plan in the cache, and nothing was done."""
    parsed = options(words)
    if parsed is None or not _streams_are_open():
        return None
    gc.disable()  # what is loaded next stays
    from sandbox.policy.plancache import Lookup

    given, command = parsed
    lookup = Lookup(
        given["profile"], given["overrides"], given["limits"], given["mounts"], allow_degraded=given["allow_degraded"]
    )
    entry = lookup.load()
    if entry is None:
        gc.enable()
        return None
    from sandbox.runtime.keeper import Keeper

    try:
        keeper = Keeper(entry.plan, quickly=True)
    except OSError:
        gc.enable()
        return None  # the full command says what is missing
    from sandbox.cli import ending, live, running

    gc.enable()
    live.occupy_standard_streams()
    found = running.Cached(entry, keeper)
    return ending.guarded(lambda: running.run(running.Options(**given), command, found), as_json=given["as_json"])


def _streams_are_open() -> bool:
    try:
        for fd in (0, 1, 2):
            os.fstat(fd)
    except OSError:
        return False
    return True
