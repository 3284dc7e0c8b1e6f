"""Client packages of others, as they are, with nothing but their base URL changed: C++, Python, and a time limit with each."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.support.clock import seconds
from tests.support.require import require
from tests.support.served import served

pytestmark = pytest.mark.requires("userns")
CPP = '#include <iostream>\nint main(){ int n; std::cin >> n; std::cout << n * 2 << "\\n"; }'
ENDLESS = "while True: pass"


@pytest.fixture(scope="module")
def base(run_options, tmp_path_factory):
    with served(tmp_path_factory.mktemp("clients"), **run_options) as server:
        yield server.url


@pytest.mark.requires("ultra-piston")
def test_ultra_piston(base):
    import ultra_piston

    client = ultra_piston.PistonClient(base_url=f"{base}/api/v2", rate_limit=0)
    assert {"python", "c++"} <= {item.language for item in client.get_runtimes()}
    assert all(item.installed for item in client.get_packages())
    found = client.post_execute(language="python", version="3.x", file=ultra_piston.File(content="print('hi')"))
    assert (found.run.stdout, found.run.code, found.compile) == ("hi\n", 0, None)
    found = client.post_execute(language="c++", version="*", file=ultra_piston.File(content=CPP), stdin="21")
    assert (found.run.stdout, found.run.code, found.compile.code) == ("42\n", 0, 0)
    found = client.post_execute(language="python", version="*", file=ultra_piston.File(content=ENDLESS), run_timeout=500)
    assert (found.run.code, found.run.signal) == (None, "SIGKILL")
    with pytest.raises(ultra_piston.errors.BadRequestError):
        client.post_execute(language="nothing", version="*", file=ultra_piston.File(content=""))


def in_a_loop(work: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        await work()

    asyncio.run(whole())


@pytest.mark.requires("aiopyston")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of aiohttp, about how it is called there
def test_aiopyston(base):
    import pyston

    async def work() -> None:
        client = pyston.PystonClient(base_url=f"{base}/api/v2/piston/")
        try:
            assert {"python", "c++"} <= await client.languages()
            found = await client.execute("python", [pyston.File("print('hi')")])
            assert (found.run_stage.output, found.run_stage.code) == ("hi\n", 0)
            found = await client.execute("c++", [pyston.File(CPP)], stdin="21")
            assert (found.run_stage.output, found.compile_stage.code) == ("42\n", 0)
            found = await client.execute("py", [pyston.File(ENDLESS)], run_timeout=500)
            assert (found.run_stage.code, found.run_stage.signal) == (None, "SIGKILL")
            with pytest.raises(pyston.exceptions.ExecutionError, match="nothing-\\* runtime is unknown"):
                await client.execute("nothing", [pyston.File("")])
        finally:
            await client.close_session()

    in_a_loop(work)


@pytest.mark.requires("judge0")
def test_judge0(base):
    import judge0

    client = judge0.Client(endpoint=base)
    assert client.version == "1.13.1"
    cases = [("hi", "hi"), ("a", "b")]
    found = judge0.run(client=client, source_code="print(input())", language=judge0.PYTHON, test_cases=cases)
    assert [item.status for item in found] == [judge0.Status.ACCEPTED, judge0.Status.WRONG_ANSWER]
    assert found[0].stdout == "hi\n"
    found = judge0.run(client=client, source_code=CPP, language=judge0.CPP, stdin="21", expected_output="42")
    assert (found.status, found.stdout) == (judge0.Status.ACCEPTED, "42\n")
    late = judge0.Submission(source_code=ENDLESS, language=judge0.PYTHON, cpu_time_limit=0.5, cpu_extra_time=0)
    found = judge0.run(client=client, submissions=late)
    assert found.status == judge0.Status.TIME_LIMIT_EXCEEDED
    assert found.time >= 0.5


SCRIPT = """
import piston from "piston-client";
const client = piston({ server: process.argv[2] });
const cpp = process.argv[3];
console.log(JSON.stringify([
  await client.runtimes(),
  await client.execute("python", "import sys; print('hi', sys.argv[1:])"),
  await client.execute("c++", { files: [{ content: cpp }], stdin: "21" }),
  await client.execute("python", "while True: pass", { runTimeout: 500 }),
]));
"""


@pytest.fixture(scope="module")
def npm_client(tmp_path_factory):
    """A directory with piston-client as npm installs it."""
    require("npm registry")
    here = tmp_path_factory.mktemp("npm")
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "piston-client@1.0.2"]
    subprocess.run(command, cwd=here, capture_output=True, timeout=seconds(100), check=True)
    (here / "script.mjs").write_text(SCRIPT)
    return here


def test_npm_piston_client(base, npm_client):
    environment = {"PATH": os.environ["PATH"], "HOME": str(npm_client)}
    done = subprocess.run(
        ["node", "script.mjs", base, CPP],
        cwd=npm_client,
        capture_output=True,
        text=True,
        timeout=seconds(90),
        check=True,
        env=environment,
    )
    found: list[Any] = json.loads(done.stdout)
    runtimes, python, cpp, late = found
    assert {"python", "c++"} <= {item["language"] for item in runtimes}
    assert (python["run"]["stdout"], python["run"]["code"]) == ("hi ['1', '2', '3']\n", 0)
    assert (cpp["run"]["stdout"], cpp["compile"]["code"]) == ("42\n", 0)
    assert (late["run"]["code"], late["run"]["signal"], late["run"]["status"]) == (None, "SIGKILL", "TO")
