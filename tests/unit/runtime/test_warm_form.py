"""Which words a warm interpreter can run."""

from __future__ import annotations

import io
import zipfile

import pytest

from sandbox import Profile
from sandbox.host.facts import gather
from sandbox.model import launch, steps
from sandbox.model.plan import COLD, Filters, Warm
from sandbox.policy.plan import build_plan
from sandbox.runtime import warm

POLICY = Profile.load("python-warm").policy
ENVIRONMENT = tuple(f"{name}={value}".encode() for name, value in POLICY.environment.values)
PLAN = build_plan(Profile.load("python").policy, gather(), Filters(main=b"", notify=b"", kill=(), names=()))
SCRIPT, CODE, MODULE = launch.PY_SCRIPT, launch.PY_CODE, launch.PY_MODULE


def form(*words: str, environment: tuple[bytes, ...] = ENVIRONMENT) -> tuple[int, ...]:
    return warm.form(POLICY, [word.encode() for word in words], environment)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["python3", "x.py"], (SCRIPT, 1, 0)),
        (["python", "x.py", "-c"], (SCRIPT, 1, 0)),
        (["python3.11", "-c", "pass"], (CODE, 2, 0)),
        (["/usr/bin/python3", "-m", "x", "-u"], (MODULE, 2, 0)),
        (["python3", "-u", "x.py"], (SCRIPT, 2, launch.PY_UNBUFFERED)),
        (["python3", "-uBc", "pass"], (CODE, 2, launch.PY_UNBUFFERED | launch.PY_NO_BYTECODE)),
        (["python3", "-s", "-P", "-m", "x"], (MODULE, 4, launch.PY_SAFE_PATH)),
        (["python3", "-c", "-x"], (CODE, 2, 0)),
        (["python3", "-c", ""], (CODE, 2, 0)),
    ],
)
def test_what_it_can_run(words: list[str], expected: tuple[int, ...]) -> None:
    assert form(*words) == expected


@pytest.mark.parametrize(
    "words",
    [
        ["python3"],
        ["python3", "-"],
        ["python3", "--", "x.py"],
        ["python3", "-u"],
        ["python3", "-c"],
        ["python3", "-cpass"],
        ["python3", "-I", "-c", "pass"],
        ["python3", "-E", "x.py"],
        ["python3", "-O", "x.py"],
        ["python3", "-X", "dev", "x.py"],
        ["python3", "-i", "x.py"],
        ["python3", "-V"],
        ["python3", "--version"],
        ["python3", ""],
        ["python3", "x.pyc"],
        ["python3", "-m"],
        ["pythonw", "x.py"],
        ["/usr/local/bin/python3", "x.py"],
        ["./python3", "x.py"],
        ["bash", "x.sh"],
    ],
)
def test_what_is_executed(words: list[str]) -> None:
    assert form(*words) == ()


def test_code_that_is_no_text_is_executed() -> None:
    assert warm.form(POLICY, [b"python3", b"-c", b"print('\xff')"], ENVIRONMENT) == ()
    assert warm.form(POLICY, [b"python3", b"-c", "print('\u00e4')".encode()], ENVIRONMENT) == (CODE, 2, 0)


@pytest.mark.parametrize(
    "entry", [b"PYTHONHASHSEED=0", b"LANG=C", b"LC_ALL=C", b"TZ=UTC", b"LD_PRELOAD=/x", b"MALLOC_ARENA_MAX=1"]
)
def test_a_start_of_its_own_for_what_is_looked_at_when_python_starts(entry: bytes) -> None:
    name = entry.partition(b"=")[0]
    changed = (*(item for item in ENVIRONMENT if item.partition(b"=")[0] != name), entry)
    assert form("python3", "x.py", environment=changed) == ()
    assert form("python3", "x.py", environment=(*ENVIRONMENT, b"A=1", b"HOME=/x")) == (SCRIPT, 1, 0)
    assert form("python3", "x.py", environment=tuple(item for item in ENVIRONMENT if not item.startswith(b"PYTHON"))) == ()


def test_nothing_is_warm_without_an_interpreter() -> None:
    assert warm.form(Profile.load("python").policy, [b"python3", b"x.py"], ENVIRONMENT) == ()


def test_the_package_is_what_a_launcher_needs_and_no_more() -> None:
    names = zipfile.ZipFile(io.BytesIO(warm.package())).namelist()
    assert {name.split("/")[1] for name in names} == {"__init__.py", "launcher", "kernel", "model"}
    assert "sandbox/launcher/warmup.py" in names


def test_every_failed_start_has_words() -> None:
    plan = PLAN.replace(warm=Warm(interpreter=b"/opt/python", preload=("one", "two"), environment=()))
    for step in warm.STEPS:
        error = warm.start_error(plan, step, 1, 2)
        assert error.hint
        assert error.step == steps.name_of(step)
        assert ("two" if step > steps.WARM_PLACES else "/opt/python") in str(error)


def test_a_plan_keeps_its_interpreter() -> None:
    plan = PLAN.replace(warm=Warm(interpreter=b"/p", preload=("a",), environment=(b"A=b",)))
    assert type(plan).decode(plan.encode()) == plan
    assert type(plan).decode(PLAN.encode()).warm == COLD
