"""Which word of a command is the script of an interpreter. A table, and the one loop that reads it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from sandbox.model.data import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Syntax:
    """How an interpreter reads its command line; options as they are written, short ones without the dash.

    Attributes:
        code: options after which there is no script, because they bring the code, or a module, themselves.
        valued: options that take the next word (or the rest of their own).
        attached: short options that take the rest of their own word only.
        script: options whose next word is the script.
        skipped: first words that are no script themselves: the script comes after them.
        ended: first words after which there is none.
        only: the script ends in this; any other first word is something else.
        clusters: whether short options can stand together, such as -xc.
        bare: whether a word without any option can be the script.
    """

    code: str = ""
    valued: str = ""
    attached: str = ""
    script: str = ""
    skipped: str = ""
    ended: str = ""
    only: str = ""
    clusters: bool = True
    bare: bool = True


_SHELL = Syntax(code="c s", valued="o O --rcfile --init-file")
_NODE = Syntax(
    code="e p --eval --print",
    valued="r C --require --import --loader --experimental-loader --conditions --input-type",
)
# A pattern for the base name of the program → its syntax. The first that fits counts.
_TABLE: tuple[tuple[str, Syntax], ...] = (
    ("python* pypy*", Syntax(code="c m", valued="W X --check-hash-based-pycs")),
    ("node nodejs", _NODE),
    (
        "deno bun",
        Syntax(code="e p --eval --print", valued="c r --config --import-map --preload", skipped="run", ended="eval repl"),
    ),
    ("ruby*", Syntax(code="e", valued="r I C E", attached="F K T W x")),
    ("perl*", Syntax(code="e E", valued="I", attached="C D F M V i m x")),
    ("php*", Syntax(code="r B R E S", valued="c d t z", script="f F")),
    ("lua*", Syntax(valued="e l")),
    ("Rscript", Syntax(code="e", valued="g", clusters=False)),
    ("bash sh dash zsh ksh*", _SHELL),
    ("fish", Syntax(code="c --command", valued="C d o --init-command --debug --debug-output")),
    ("tclsh*", Syntax(valued="-encoding", clusters=False)),
    ("guile*", Syntax(code="c", valued="e l L C x", script="s", clusters=False)),
    ("racket", Syntax(code="e p l", valued="I S X C N W --eval", script="f t r u", clusters=False)),
    ("ocaml", Syntax(code="e", valued="I w -init -open -ppx -color", clusters=False)),
    ("julia*", Syntax(code="e E --eval --print", valued="C H J L O p t --load --project --threads", clusters=False)),
    ("awk gawk mawk nawk", Syntax(valued="v F", script="f --file", bare=False)),
    (
        "java",
        Syntax(
            code="m --module",
            valued="p -cp -classpath --class-path --module-path --add-modules --add-opens --add-exports --source",
            script="-jar",
            only=".java",
            clusters=False,
        ),
    ),
)


def script_of(argv: Sequence[str]) -> int | None:
    """The place in `argv` of the script, None where the program is no interpreter or the command has no script."""
    syntax = _syntax(os.path.basename(argv[0]))
    if syntax is None:
        return None
    kinds = _kinds(syntax)
    at = 1
    while at < len(argv):
        word = argv[at]
        at += 1
        if word == "-":
            return None  # standard input
        if word == "--":
            return at if at < len(argv) and syntax.bare else None
        if len(word) > 1 and word[0] in "-+":
            kind, takes_next = _option(word, kinds, clusters=syntax.clusters)
            if kind == "code":
                return None
            if kind == "script" and takes_next:
                return at if at < len(argv) else None
            at += takes_next
        elif word in syntax.skipped.split():
            continue
        elif not syntax.bare or word in syntax.ended.split() or not word.endswith(syntax.only):
            return None
        else:
            return at - 1
    return None


def _syntax(program: str) -> Syntax | None:
    for patterns, syntax in _TABLE:
        if any(_fits(program, pattern) for pattern in patterns.split()):
            return syntax
    return None


def _fits(program: str, pattern: str) -> bool:
    """Whether it is the name, or begins with it where a star stands at the end."""
    return program.startswith(pattern[:-1]) if pattern.endswith("*") else program == pattern


def _kinds(syntax: Syntax) -> Mapping[str, str]:
    """Option as it is written, such as "-c" or "--eval" → "code", "valued", "attached" or "script"."""
    kinds = {}
    for kind in ("code", "valued", "attached", "script"):
        for name in getattr(syntax, kind).split():
            kinds[name if name.startswith("-") else f"-{name}"] = kind
    return kinds


def _option(word: str, kinds: Mapping[str, str], *, clusters: bool) -> tuple[str, bool]:
    """(kind of what the option is, whether it takes the next word)."""
    word = word.replace("+", "-", 1) if word.startswith("+") else word
    name, sign, _ = word.partition("=")
    if name in kinds:
        return kinds[name], not sign and kinds[name] != "attached"
    if word.startswith("--"):
        return "", False
    letters = word[1:] if clusters else word[1:2]
    for place, letter in enumerate(letters):
        kind = kinds.get(f"-{letter}", "")
        if kind == "code":
            return kind, False
        if kind:  # the rest of the word is its value
            return kind, kind != "attached" and place == len(word) - 2
    return "", False
