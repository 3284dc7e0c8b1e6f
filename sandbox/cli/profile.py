"""`sandbox profile`: what profiles there are, what they say, and whether that is wise."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from sandbox.cli import errors, filters, text, toml
from sandbox.cli.changes import changeable, load, profile_argument

if TYPE_CHECKING:
    from sandbox.model.policy import Policy
    from sandbox.policy.profile import Profile

_EPILOG = """\b
Examples:
  sandbox profile list
  sandbox profile explain python --limit memory=64MiB --mount ./data:/data
  sandbox profile lint ./mine.toml
  sandbox profile diff default strict
  sandbox profile simulate default socket AF_NETLINK 3 0
  sandbox profile export strict -o strict.json
"""


@click.group(epilog=_EPILOG, invoke_without_command=True)
@click.pass_context
def profile(ctx: click.Context) -> None:
    """List, show, explain, check and compare profiles; use their filters elsewhere."""
    if ctx.invoked_subcommand is None:
        text.emit(ctx.get_help() + "\n")


profile.add_command(filters.export)
profile.add_command(filters.simulate)


@profile.command("list")
@changeable("json")
def list_profiles(*, as_json: bool) -> None:
    """List every profile that has a name."""
    from sandbox.model.errors import ProfileError
    from sandbox.policy.load import shadowed
    from sandbox.policy.profile import available

    rows = []
    for name, file in available().items():
        try:
            description = load(name).policy.description
        except ProfileError as error:
            description = f"cannot be used: {error}"
        rows.append({"name": name, "description": description, "file": file, "shadows_shipped": shadowed(name)})
    if as_json:
        errors.say_json(rows)
        return
    text.table(("NAME", "DESCRIPTION", "FILE"), [(str(row["name"]), str(row["description"]), _winner(row)) for row in rows])


def _winner(row: Mapping[str, object]) -> str:
    """On a terminal it is said that a file takes the place of a shipped one."""
    instead = " (in place of the shipped one)" if row["shadows_shipped"] and sys.stdout.isatty() else ""
    return _short(str(row["file"])) + instead


@profile.command()
@profile_argument("name")
@changeable("set", "limit", "mount")
@click.option("--syscalls", metavar="ARCH", is_flag=False, flag_value="native", help="The system call filter instead, in words.")
@changeable("json")
def show(name: str, *, syscalls: str | None, as_json: bool, **changes: Sequence[str]) -> None:
    """Show the effective policy as data: everything resolved, nothing left open."""
    chosen = load(name, **changes)
    policy = chosen.policy
    if syscalls is not None:
        from sandbox.kernel.libc import MACHINE
        from sandbox.policy.seccomp.listing import listing

        text.emit(listing(policy.seccomp, MACHINE if syscalls == "native" else _architecture(syscalls)))
        return
    data = {**policy_dict(policy), "granted": list(chosen.granted)}
    if as_json:
        errors.say_json(data)
        return
    text.emit("".join(f"{line}\n" for line in toml.lines(data)))


def _architecture(name: str) -> str:
    from sandbox.model.errors import RequestError
    from sandbox.policy.seccomp.tables import ARCHITECTURES

    if name not in ARCHITECTURES:
        raise RequestError(f"there are no system call tables for {name!r}", hint=f"known: {', '.join(ARCHITECTURES)}")
    return name


def policy_dict(policy: Policy) -> dict[str, Any]:
    """The policy as JSON data."""
    fields = {item.name: getattr(policy, item.name) for item in dataclasses.fields(policy) if item.name != "origins"}
    plain: dict[str, Any] = _plain(fields)
    return plain


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


@profile.command()
@profile_argument("name")
@changeable("set", "limit", "mount", "json")
def explain(name: str, *, as_json: bool, **changes: Sequence[str]) -> None:
    """Explain the effective policy in plain words, each part with the file that it came from."""
    from sandbox.policy import explain as explaining

    chosen = load(name, **changes)
    if as_json:
        errors.say_json(explaining.to_dict(chosen))
        return
    rows = explaining.explain(chosen)
    if not sys.stdout.isatty():
        text.paragraphs(f"{chosen.name}: {chosen.policy.description}")
        text.table((), [(row.section, row.text, row.origin) for row in rows])
        return
    _draw([(row.section, row.text, _short(row.origin)) for row in rows], chosen, _instead(name))


def _instead(name: str) -> str:
    """Which file won when a shipped profile has the same name."""
    from sandbox.policy.load import shadowed
    from sandbox.policy.profile import available

    if "/" in name or name.endswith(".toml") or not shadowed(name):
        return ""
    return f"{available()[name]}, in place of the shipped profile"


def _draw(rows: Sequence[tuple[str, str, str]], chosen: Profile, instead: str) -> None:
    """Sections as headings; where a part came from stands dimly behind it."""
    from rich.padding import Padding
    from rich.text import Text

    console = text.console(sys.stdout)
    console.print(Text(chosen.name, style="bold"), Text(text.one_line(chosen.policy.description)))
    if instead:
        console.print(Text(text.one_line(instead), style="yellow"))
    before = ""
    for section, sentence, origin in rows:
        if section != before:
            console.print(Text(f"\n{section}", style="bold cyan"))
            before = section
        line = Text.assemble(text.one_line(sentence), ("  " + text.one_line(origin) if origin else "", "dim"))
        console.print(Padding(line, (0, 0, 0, 2)))


def _short(origin: str) -> str:
    """On a terminal shipped files by their name alone."""
    from sandbox.policy.locate import profiles_dir

    if not sys.stdout.isatty():
        return origin
    return origin.removeprefix(f"{profiles_dir()}/")


@profile.command()
@profile_argument("names", nargs=-1, required=True)
@changeable("json")
@click.pass_context
def lint(ctx: click.Context, names: tuple[str, ...], *, as_json: bool) -> None:
    """Check profiles; exit code 1 when there is an error. One that cannot be loaded does not hide the others."""
    from sandbox.policy.lint import lint as check

    found = {name: check(name) for name in names}
    every = [finding for findings in found.values() for finding in findings]
    failed = any(finding.severity == "error" for finding in every)
    if as_json:
        errors.say_json({name: [finding.to_dict() for finding in findings] for name, findings in found.items()})
    else:
        for name, findings in found.items():
            for item in findings:
                about = [item.place or name, item.severity, *filter(None, [item.path]), item.message]
                text.paragraphs(": ".join(about) + (f"; {item.fix}" if item.fix else ""))
        if not every:
            text.paragraphs("no findings")
    ctx.exit(int(failed))


@profile.command()
@profile_argument("left")
@profile_argument("right")
@changeable("json")
@click.pass_context
def diff(ctx: click.Context, left: str, right: str, *, as_json: bool) -> None:
    """Compare two effective policies; exit code 1 when they differ."""
    from sandbox.policy.diff import diff as compare

    found = compare(load(left).policy, load(right).policy)
    if as_json:
        errors.say_json([item.to_dict() for item in found])
    elif found:
        text.table(("KEY", left, right, "RIGHT IS"), [(item.key, item.left, item.right, item.direction) for item in found])
    else:
        text.paragraphs("no differences")
    ctx.exit(int(bool(found)))
