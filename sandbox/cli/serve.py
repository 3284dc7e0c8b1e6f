"""`sandbox serve`: the service over HTTP, and the tokens of its callers."""

from __future__ import annotations

import importlib.util
from typing import Any

import click

from sandbox.cli import errors, text
from sandbox.model.errors import RequestError

_EPILOG = """\b
Examples:
  sandbox serve --no-auth
  sandbox serve --config service.toml
  sandbox serve token add alice --scope run --scope grade --limit memory=128MiB
"""
_NEEDED = {"fastapi": "fastapi", "uvicorn": "uvicorn", "websockets": "websockets", "prometheus_client": "prometheus-client"}


def _need_extra() -> None:
    missing = [package for module, package in _NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise RequestError(f"serving needs {' and '.join(missing)}", hint="pip install 'sandbox[service]'")


@click.group(invoke_without_command=True, epilog=_EPILOG)
@click.option("--config", "path", type=click.Path(), help="A TOML file of settings; see docs/service.md.")
@click.option("--host", help="The address to listen on; 127.0.0.1 by default.")
@click.option("--port", type=int, help="The port; 8000 by default, 0 for any that is free.")
@click.option("--no-auth", is_flag=True, help="Serve everybody who can connect; only on loopback.")
@click.option("--allow-degraded", is_flag=True, help="Run also where the host has no control groups; answers tell what stood in.")
@click.option("--log-level", default="info", type=click.Choice(["debug", "info", "warning", "error"]), show_default=True)
@click.pass_context
def serve(ctx: click.Context, /, *, path: str | None, log_level: str, **options: Any) -> None:
    """Serve the sandbox over HTTP: its own API, and those of Piston, Judge0 and go-judge.

    Logs are JSON lines on stderr. SIGTERM refuses new runs, answers what was accepted, and ends.
    """
    _need_extra()
    from sandbox.service import config

    given = {name: value for name, value in options.items() if value not in (None, False)}
    ctx.obj = config.load(path, given)
    if ctx.invoked_subcommand is not None:
        return
    from sandbox.service import logs, server
    from sandbox.service.app import make_app

    logs.setup(log_level)
    server.serve(make_app(ctx.obj))


@serve.group()
def token() -> None:
    """Make, list and take away the tokens of callers.

    They are kept as SHA-256 digests in a file that only its owner can read (`tokens_file`).
    """


@token.command()
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, default=("run",), show_default=True, help="run, grade, files, metrics, admin.")
@click.option("--concurrency", type=int, default=0, help="Runs at once; as the server has it by default.")
@click.option("--limit", "limits", multiple=True, metavar="NAME=VALUE", help="A limit below the server's, such as memory=64MiB.")
@click.option("--profile", "profiles", multiple=True, help="A profile that it may use; all that are offered by default.")
@click.pass_context
def add(
    ctx: click.Context, name: str, scopes: tuple[str, ...], concurrency: int, limits: tuple[str, ...], profiles: tuple[str, ...]
) -> None:
    """Make a token for NAME and print it. It is not kept anywhere: this is the only time that it is seen."""
    from sandbox.service import tokens

    named = dict(item.partition("=")[::2] for item in limits)
    made = tokens.add(ctx.obj.tokens, name, scopes=scopes, concurrency=concurrency, limits=named, profiles=profiles)
    text.emit(made + "\n")


@token.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
@click.pass_context
def list_(ctx: click.Context, *, as_json: bool) -> None:
    """List the tokens by name, with what each allows."""
    from sandbox.service import tokens

    found = [item.model_dump(mode="json", exclude={"sha256"}) for item in tokens.read(ctx.obj.tokens).tokens]
    if as_json:
        errors.say_json(found)
        return
    rows = [
        (
            item["name"],
            " ".join(item["scopes"]),
            str(item["concurrency"] or "-"),
            " ".join(f"{name}={value}" for name, value in item["limits"].items()) or "-",
            " ".join(item["profiles"]) or "-",
        )
        for item in found
    ]
    text.table(("NAME", "SCOPES", "AT ONCE", "LIMITS", "PROFILES"), rows)


@token.command()
@click.argument("name")
@click.pass_context
def remove(ctx: click.Context, name: str) -> None:
    """Take the token of NAME away; a running server notices at once."""
    from sandbox.service import tokens

    tokens.remove(ctx.obj.tokens, name)
