"""Every step of a launch that can fail is made to fail once, without hooks: an outer filter refuses one system call.

Whatever is refused, either the call was not needed and the run is whole, or the program never runs and the caller gets one
clear error. A control that is left out in silence would show as a run that went well: so each call below must stop it.
"""

from __future__ import annotations

import errno
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from sandbox import Sandbox, SandboxError
from tests.support import callers
from tests.support.clock import seconds
from tests.support.programs import INSIDE
from tests.support.refusing import NUMBER, REFUSE, refusing_python
from tests.support.require import require

pytestmark = pytest.mark.root  # an ordinary user's filter sets no_new_privs, and that alone stops newuidmap

# System calls that carry a control.
CONTROLS = (
    "capset", "clone3", "close_range", "execve", "fsconfig", "fsmount", "fsopen", "keyctl", "landlock_add_rule",
    "landlock_restrict_self", "mount", "mount_setattr", "move_mount", "open_tree", "pivot_root", "prctl",
    "prlimit64", "seccomp", "setgroups", "sethostname", "setresgid", "setresuid", "unshare",
)  # fmt: skip
# Needed for work, not for safety: these too end in one clear error.
MEANS = ("memfd_create", "pidfd_open", "epoll_create1", "socketpair", "pipe2", "sendmsg")

CODE = (
    REFUSE
    + """
import sandbox, sandbox.api, sandbox.runtime.engine
from sandbox.model.errors import SandboxError

def attempt(call):
    if call in arguments["wrappers"]:
        sys.executable = arguments["wrappers"][call]
    else:
        refuse(call, arguments["number"])
    seen = []
    try:
        result = sandbox.run([INSIDE, "args", "ran"], on_stdout=seen.append, collect=["."], **options("default"))
        return {"error": "", "ran": bool(seen), "text": str(result.outcome)}
    except SandboxError as error:
        return {"error": type(error).__name__, "ran": bool(seen), "text": str(error), "step": getattr(error, "step", "")}
    except BaseException as error:
        return {"error": "!" + type(error).__name__, "ran": bool(seen), "text": str(error)}

told = {}
for call in arguments["calls"]:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        with open(writer, "w") as pipe:
            json.dump(attempt(call), pipe)
            pipe.flush()
            os._exit(0)
    os.close(writer)
    with open(reader) as pipe:
        told[call] = json.loads(pipe.read() or '{"error": "!died", "ran": false, "text": ""}')
    os.waitpid(pid, 0)
print(json.dumps(told))
"""
)


@pytest.fixture(scope="module")
def told(probe_program: Path, degraded: bool, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of a run with each call refused: the controls to the launcher, the means to the caller too."""
    wrappers = {}
    for call in CONTROLS:
        if call != "execve":  # the wrapper itself needs that one
            wrappers[call] = str(refusing_python(tmp_path_factory.mktemp("wrapper"), call))
    calls = [*CONTROLS, *MEANS]
    process = callers.start(CODE, probe=str(probe_program), degraded=degraded, calls=calls, number=NUMBER, wrappers=wrappers)
    return json.loads(callers.finish(process, seconds(100)))


@pytest.mark.claim("SEC-LI-06")
@pytest.mark.parametrize("call", CONTROLS)
def test_without_a_control_nothing_runs(told: dict[str, Any], call: str) -> None:
    end = told[call]
    assert not end["ran"], f"{call} was refused and the program ran all the same"
    assert end["error"], end
    assert not end["error"].startswith("!"), end
    assert end["text"]
    assert "\n" not in end["text"]


@pytest.mark.parametrize("call", MEANS)
def test_without_a_means_there_is_a_clear_error(told: dict[str, Any], call: str) -> None:
    end = told[call]
    assert end["error"], end
    assert not end["error"].startswith("!"), end
    assert "\n" not in end["text"]


def test_many_different_steps_were_reached(told: dict[str, Any]) -> None:
    steps = {end.get("step") for end in told.values()} - {None, ""}
    assert len(steps) >= 10, steps


def test_a_keyring_that_cannot_be_left_is_not_kept_in_silence(
    probe_mounts: tuple[Any, ...], degraded: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENOSYS is what a kernel without keyrings says, and a filter around us on one that has them."""
    require("keyrings")
    monkeypatch.setattr(sys, "executable", str(refusing_python(tmp_path, "keyctl", errno.ENOSYS)))
    with Sandbox("native", mounts=probe_mounts, allow_degraded=degraded) as box, pytest.raises(SandboxError):
        box.run([INSIDE, "exit", "0"])
