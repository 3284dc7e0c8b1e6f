"""What the documents say about the command, the schema and the claims is there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click
import pytest

from sandbox.cli.main import cli
from sandbox.model.result import CollectedFile, Outcome, Signaled, Usage
from tests.support.require import requires
from tests.unit.cli.fakes import WEAKER, make_result

ROOT = Path(__file__).resolve().parents[3]
CLAIM = re.compile(r"^\| (SEC-[A-Z]{2}-\d{2}) \|([^|]+)\|([^|]+)\|([^|]*)\|$", re.MULTILINE)


def commands(command: click.Command, path: str = "sandbox") -> dict[str, click.Command]:
    found = {path: command}
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            found.update(commands(below, f"{path} {name}"))
    return found


def test_every_option_of_run_is_documented():
    text = (ROOT / "docs" / "cli.md").read_text()
    for option in commands(cli)["sandbox run"].params:
        if isinstance(option, click.Option):
            assert any(f"`{name}" in text for name in (*option.opts, *option.secondary_opts)), option.opts


def test_every_command_is_documented():
    text = (ROOT / "docs" / "cli.md").read_text()
    for path in commands(cli):
        assert path in text


@pytest.mark.parametrize("name", ["README.md", "docs/cli.md"])
def test_examples_of_the_command_are_understood(name):
    """Every line that begins with `sandbox` parses: the command exists and takes these options."""
    every = commands(cli)
    lines = re.findall(
        r"^ *(?:\$ )?(sandbox (?:run|profile|doctor|completion)[^\n#<>]*)", (ROOT / name).read_text(), re.MULTILINE
    )
    assert len(lines) > 3
    for line in lines:
        words = line.split()
        if "OPTIONS" in line or "[" in line:
            continue
        path = " ".join(words[:3]) if " ".join(words[:3]) in every else " ".join(words[:2])
        arguments = words[len(path.split()) :]
        every[path].make_context(path, [word.strip("`") for word in arguments], resilient_parsing=False)


def test_claims_have_an_id_of_their_own_and_every_part():
    claims = CLAIM.findall((ROOT / "SECURITY.md").read_text())
    ids = [claim for claim, *_ in claims]
    assert len(ids) > 30
    assert len(ids) == len(set(ids))
    assert (ROOT / "SECURITY.md").read_text().count("| SEC-") == len(ids)
    for claim, sentence, layers, _ in claims:
        assert sentence.strip().endswith("."), claim
        assert layers.strip(), claim


def schema():
    return json.loads((ROOT / "docs" / "result.schema.json").read_text())


def test_the_schema_has_the_fields_of_the_model():
    parts = schema()["$defs"]
    assert parts["result"]["properties"]["outcome"]["enum"] == [item.value for item in Outcome]
    assert set(parts["usage"]["properties"]) == set(Usage.__slots__)
    out = make_result(stdout=b"\xff", stderr=b"\xfe", files={"\udcff": CollectedFile(b"", 0)}).to_dict()
    assert set(parts["result"]["properties"]) == set(out)
    assert set(parts["result"]["required"]) == set(make_result().to_dict())


@requires("jsonschema")
def test_the_schema_takes_results_and_refuses_others():
    import jsonschema

    enforced = {
        "namespaces": ["user"], "identity": {"uid": 1, "gid": 1, "id_map": "single", "host_uids": [1000, 1], "groups": "kept"},
        "capabilities": [], "no_new_privs": True,
        "seccomp": {"main_sha256": "ab" * 32, "notify_sha256": None, "instructions": 9},
        "landlock": {"abi": 0, "filesystem": False, "tcp": False, "scoped": False},
        "rootfs": {"kind": "selected", "read_only": True, "mounts": 1, "writable_mounts": []},
        "masked_paths": [], "readonly_paths": [], "network": "none", "cgroup": None, "limits": {"pids": 1},
    }  # fmt: skip
    good = make_result(
        enforced=enforced,
        degraded=WEAKER,
        exit=Signaled(40),
        files={"a": CollectedFile(b"\0", 0), "\udcff": CollectedFile(b"", 0o4755)},
        refused_files=(("b", "link"), ("\udcfe", "fifo")),
    ).to_dict()
    check = jsonschema.Draft202012Validator(schema())
    check.check_schema(schema())
    check.validate(good)
    check.validate({"error": {"class": "X", "message": "m", "hint": "", "retryable": False}})
    for key, wrong in {
        "outcome": "fine",
        "exit": {},
        "evidence": [],
        "stdout": 1,
        "plan_digest": "x",
        "files": {"a": "!"},
        "more": 1,
    }.items():
        assert not check.is_valid({**good, key: wrong}), key
    assert not check.is_valid({key: value for key, value in good.items() if key != "degraded"})
    assert not check.is_valid({"error": {"class": "X"}})


def test_the_protocol_page_has_the_numbers_of_the_code():
    from sandbox.model import launch, steps

    text = (ROOT / "docs" / "protocol.md").read_text()
    messages = {name: int(number) for number, name in re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", text, re.MULTILINE)}
    known = {name: value for name, value in vars(launch).items() if name.isupper() and isinstance(value, int)}
    assert messages == {name: value for name, value in known.items() if not name.startswith(("FD_", "BY_", "NOT_", "PY_"))}
    for name in known:
        if name.startswith("FD_"):
            assert f"`{name}`" in text
    section = text[text.index("\n## Steps\n") : text.index("\n## Lifetimes\n")]
    named = {int(number) for number in re.findall(r"\((\d+)[;)]", section)}
    assert named == set(steps.NAMES)
