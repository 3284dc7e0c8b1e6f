"""`sandbox profile`: what profiles there are, what they say, and whether that is wise."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sandbox.cli import errors, text
from sandbox.cli.complete import profile_names

if TYPE_CHECKING:
    from sandbox.model.policy import Policy
    from sandbox.policy.profile import Profile

_EPILOG = """\b
Examples:
  sandbox profile list
  sandbox profile explain python --set limits.memory=64MiB
  sandbox profile lint ./mine.toml
  sandbox profile diff default strict
"""
_Command = TypeVar("_Command", bound=Callable[..., Any])


def _name(argument: str, **settings: Any) -> Callable[[_Command], _Command]:
    return click.argument(argument, metavar="NAME|FILE", shell_complete=profile_names, **settings)


def _json(command: _Command) -> _Command:
    return click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")(command)


def _set(command: _Command) -> _Command:
    return click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="With this override, as in `run`.")(
        command
    )


def _load(name: str, overrides: Sequence[str] = ()) -> Profile:
    from sandbox.cli import values
    from sandbox.policy.profile import Profile

    profile = Profile.load(name)
    return profile.tightened(values.pairs(overrides, "--set", "KEY=VALUE")) if overrides else profile


@click.group(epilog=_EPILOG)
def profile() -> None:
    """List, show, explain, check and compare profiles."""


@profile.command("list")
@_json
def list_profiles(*, as_json: bool) -> None:
    """List every profile that has a name."""
    from sandbox.model.errors import ProfileError
    from sandbox.policy.profile import available

    rows = []
    for name, file in available().items():
        try:
            description = _load(name).policy.description
        except ProfileError as error:
            description = f"cannot be used: {error}"
        rows.append({"name": name, "description": description, "file": file})
    if as_json:
        errors.say_json(rows)
        return
    text.table(("NAME", "DESCRIPTION", "FILE"), [(row["name"], row["description"], _short(row["file"])) for row in rows])


@profile.command()
@_name("name")
@_set
@click.option("--syscalls", metavar="ARCH", is_flag=False, flag_value="native", help="The system call filter instead, in words.")
@_json
def show(name: str, *, overrides: tuple[str, ...], syscalls: str | None, as_json: bool) -> None:
    """Show the effective policy as data: everything resolved, nothing left open."""
    policy = _load(name, overrides).policy
    if syscalls is not None:
        from sandbox.kernel.libc import MACHINE
        from sandbox.policy.seccomp.listing import listing

        text.emit(listing(policy.seccomp, MACHINE if syscalls == "native" else _architecture(syscalls)))
        return
    data = policy_dict(policy)
    if as_json:
        errors.say_json(data)
        return
    text.paragraphs("\n".join(f"{key} = {value}" for key, value in _flat("", data)))


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


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else key, item)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for number, item in enumerate(value):
            yield from _flat(f"{prefix}[{number}]", item)
    else:
        import json

        yield prefix, json.dumps(value, ensure_ascii=False)


@profile.command()
@_name("name")
@_set
@_json
def explain(name: str, *, overrides: tuple[str, ...], as_json: bool) -> None:
    """Explain the effective policy in plain words, each part with the file that it came from."""
    from sandbox.policy import explain as explaining

    chosen = _load(name, overrides)
    if as_json:
        errors.say_json(explaining.to_dict(chosen))
        return
    rows = explaining.explain(chosen)
    if not sys.stdout.isatty():
        text.paragraphs(f"{chosen.name}: {chosen.policy.description}")
        text.table((), [(row.section, row.text, row.origin) for row in rows])
        return
    _draw([(row.section, row.text, _short(row.origin)) for row in rows], chosen)


def _draw(rows: Sequence[tuple[str, str, str]], chosen: Profile) -> None:
    """Sections as headings; where a part came from stands dimly behind it."""
    from rich.padding import Padding
    from rich.text import Text

    console = text.console(sys.stdout)
    console.print(Text(chosen.name, style="bold"), Text(text.one_line(chosen.policy.description)))
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
@_name("names", nargs=-1, required=True)
@_json
@click.pass_context
def lint(ctx: click.Context, names: tuple[str, ...], *, as_json: bool) -> None:
    """Check profiles; exit code 1 when there is an error."""
    from sandbox.policy.lint import lint as check

    found = {name: check(name) for name in names}
    every = [finding for findings in found.values() for finding in findings]
    failed = any(finding.severity == "error" for finding in every)
    if as_json:
        errors.say_json({name: [finding.to_dict() for finding in findings] for name, findings in found.items()})
    else:
        for name, findings in found.items():
            for item in findings:
                place = item.place or name
                text.paragraphs(f"{place}: {item.severity}: {item.path}: {item.message}; {item.fix}")
        if not every:
            text.paragraphs("no findings")
    ctx.exit(int(failed))


@profile.command()
@_name("left")
@_name("right")
@_json
@click.pass_context
def diff(ctx: click.Context, left: str, right: str, *, as_json: bool) -> None:
    """Compare two effective policies; exit code 1 when they differ."""
    from sandbox.policy.diff import diff as compare

    found = compare(_load(left).policy, _load(right).policy)
    if as_json:
        errors.say_json([item.to_dict() for item in found])
    elif found:
        text.table(("KEY", left, right, "RIGHT IS"), [(item.key, item.left, item.right, item.direction) for item in found])
    else:
        text.paragraphs("no differences")
    ctx.exit(int(bool(found)))
