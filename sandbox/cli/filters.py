"""`sandbox profile export` and `sandbox profile simulate`: the system call filter for others, and what it answers."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from sandbox.cli import errors, text
from sandbox.cli.changes import changeable, load, profile_argument
from sandbox.model.errors import RequestError
from sandbox.policy.seccomp.tables import ARCHITECTURES

_EXPORT = """\b
Examples:
  sandbox profile export strict -o strict.json
  docker run --security-opt seccomp=strict.json IMAGE
  sandbox profile export strict --format bpf --arch aarch64 -o strict.bpf
"""
_SIMULATE = """\b
Examples:
  sandbox profile simulate default mount
  sandbox profile simulate default socket AF_NETLINK 3 0
  sandbox profile simulate strict clone 0x11 --json
"""
_ARGUMENTS = 6
_WORD = 1 << 64


_Command = TypeVar("_Command", bound=Callable[..., Any])


def _arch(command: _Command) -> _Command:
    return click.option("--arch", type=click.Choice(ARCHITECTURES), help="For this architecture instead of our own.")(command)


@click.command(epilog=_EXPORT)
@profile_argument("name")
@click.option(
    "--format", "form", type=click.Choice(["oci", "bpf", "listing"]), default="oci", show_default=True, help="See above."
)
@_arch
@click.option("-o", "--output", metavar="FILE", help="Write into FILE instead of to stdout.")
@changeable("set")
def export(name: str, *, form: str, arch: str | None, output: str | None, **changes: Sequence[str]) -> None:
    """Write the system call filter for others to use.

    oci is the JSON of Docker, Podman and OCI runtimes. bpf is one raw program (struct sock_filter[]) for seccomp(2) or
    bwrap --seccomp. listing is text for people. Nobody listens to a filter elsewhere, so a call that this program would
    record is answered with EPERM, and one that ends the sandbox kills its process.
    """
    from sandbox.kernel.libc import MACHINE
    from sandbox.policy.seccomp.compile import compile_alone
    from sandbox.policy.seccomp.listing import listing
    from sandbox.policy.seccomp.oci import export_oci

    calls = load(name, **changes).policy.seccomp
    if form == "bpf" and output is None and sys.stdout.isatty():
        raise RequestError("a BPF program is no text for a terminal", hint="add -o FILE, or use --format listing")
    if form == "oci":
        data = (json.dumps(export_oci(calls, arch or ""), indent=2) + "\n").encode("ascii")
    elif form == "bpf":
        data = compile_alone(calls, arch or MACHINE)
    else:
        data = listing(calls, arch or MACHINE).encode("utf-8")
    _write(data, output)


def _write(data: bytes, output: str | None) -> None:
    """To stdout, or into a file: all of it, or an error and nothing."""
    if output is None:
        text.emit_bytes(data)
        return
    try:
        file = open(output, "wb")  # noqa: SIM115 - what fails here leaves the file alone, what fails below removes it
    except (OSError, ValueError) as error:
        raise RequestError(f"-o {output!r} cannot be written: {_reason(error)}") from None
    regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    try:
        with file:
            file.write(data)
    except OSError as error:
        if regular:
            with contextlib.suppress(OSError):
                os.unlink(output)
        raise RequestError(f"-o {output!r} cannot be written: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return str(error.strerror) if isinstance(error, OSError) else str(error)


@click.command(epilog=_SIMULATE, context_settings={"ignore_unknown_options": True})
@profile_argument("name")
@click.argument("call", metavar="SYSCALL")
@click.argument("arguments", nargs=-1, metavar="[ARG]...")
@_arch
@changeable("set", "json")
def simulate(
    name: str, call: str, arguments: tuple[str, ...], *, arch: str | None, as_json: bool, **changes: Sequence[str]
) -> None:
    """Ask the filter what it answers to a system call, and why.

    An ARG is a number (also 0x…), or a socket family such as AF_UNIX; those that are not said are 0. The answer is allow,
    log (allowed and audited), errno, notify (refused with EPERM and recorded as evidence) or kill (the sandbox ends).
    """
    from sandbox.kernel.libc import MACHINE
    from sandbox.policy.seccomp.answers import answer

    numbers = [_number(word) for word in arguments]
    if len(numbers) > _ARGUMENTS:
        raise RequestError(f"a system call has at most {_ARGUMENTS} arguments, not {len(numbers)}")
    found = answer(load(name, **changes).policy.seccomp, arch or MACHINE, call, numbers)
    if as_json:
        errors.say_json(found.to_dict())
        return
    said = found.to_dict()
    text.paragraphs(f"{call}({', '.join(arguments)}) on {found.arch}: {found.action}{found.errno and ' ' + found.errno}")
    if said["rule"] is None:
        text.paragraphs(f"  {found.reason}")
        return
    condition = f" if {' and '.join(said['rule']['if'])}" if said["rule"]["if"] else ""
    text.paragraphs(f"  {said['rule']['action']}{condition}: {found.reason} [{said['rule']['group']}]")


def _number(word: str) -> int:
    from sandbox.policy.seccomp.tables import FAMILIES, nearest

    if word in FAMILIES:
        return FAMILIES[word]
    try:
        number = int(word, 0)
    except ValueError:
        hint = nearest(word, list(FAMILIES)) or "such as 3, -1, 0x5412 or AF_UNIX"
        raise RequestError(f"{word!r} is no argument of a system call", hint=hint) from None
    if not -_WORD // 2 <= number < _WORD:
        raise RequestError(f"{word!r} does not fit 64 bits")
    return number % _WORD
