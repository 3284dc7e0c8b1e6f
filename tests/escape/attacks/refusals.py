"""What must not be run at all: a profile that is not understood, a launch in which a control could not be applied."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.policy import schema
from tests.escape import layers
from tests.escape.layers import Layer
from tests.escape.model import Attack, Scene
from tests.support.refusing import refusing_python

_HOSTNAME = "        namespaces.set_hostname(plan.hostname)\n"
_TRIED = "        try:\n            namespaces.set_hostname(plan.hostname)\n        except OSError:\n            pass\n"


@contextlib.contextmanager
def _any_key() -> Iterator[None]:
    """Unknown keys are left out in silence, as most readers of configuration files do."""
    sections = [value for value in vars(schema).values() if isinstance(value, type) and issubclass(value, schema._Section)]
    try:
        for section in sections:
            section.model_config["extra"] = "ignore"
            section.model_rebuild(force=True)
        yield
    finally:
        for section in sections:
            section.model_config["extra"] = "forbid"
            section.model_rebuild(force=True)


layers.register(
    Layer(name="strict schema", caller=_any_key),
    Layer(name="fail closed", patches=(("launcher/init.py", _HOSTNAME, _TRIED),)),
)


@contextlib.contextmanager
def _misspelt(directory: Path) -> Iterator[Scene]:
    yield Scene(profile={"limits": {"pid": 4}}, refusals=("unknown key 'pid'",))


@contextlib.contextmanager
def _refused(directory: Path) -> Iterator[Scene]:
    """The host refuses one call of the launcher that carries a control."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", str(refusing_python(directory, "sethostname")))
        yield Scene(profile={"description": "on a host that refuses a call"}, refusals=("at step 'init_hostname'",))


ATTACKS = [
    Attack(
        id="PO02-key",
        title="a limit with a name that nobody knows",
        command="sh for i in 1 2 3 4 5 6 7 8; do sleep 0.2 & done && echo ESCAPED eight processes where four were meant; wait",
        claims=("SEC-PO-02",),
        layers=("strict schema",),
        scene=_misspelt,
        bwrap=False,
    ),
    Attack(
        id="LI06-refused",
        title="a host that refuses to set the name of the sandbox",
        command='sh test "$(uname -n)" = sandbox && echo CONTAINED || echo ESCAPED it runs as "$(uname -n)"',
        claims=("SEC-LI-06",),
        layers=("fail closed",),
        scene=_refused,
        needs=("root",),  # an ordinary user's filter sets no_new_privs, and that alone stops newuidmap
        bwrap=False,
    ),
]
