"""A large library that was loaded beforehand. Not in the virtual machine, whose Python has none."""

from __future__ import annotations

import pytest

from sandbox import Exited, Profile, Sandbox

pytestmark = pytest.mark.requires("system python", "numpy of the system")


def test_numpy(degraded: bool) -> None:
    code = "import numpy, random; a = numpy.ones((200, 200)); print((a @ a).sum(), numpy.random.rand(), random.random())"
    profile = Profile.parse('extends = "python-warm"\n[warm]\npreload = ["numpy"]\n')
    with Sandbox(profile, allow_degraded=degraded) as box:
        drawn = set()
        for _ in range(4):
            result = box.run(["python3", "-c", code])
            total, *numbers = result.text().split()
            assert total == "8000000.0", result.stderr
            drawn.update(numbers)
        assert len(drawn) == 8, "two runs drew the same numbers"
        assert box.run(["python3", "-c", "import numpy; numpy.nothing"]).exit == Exited(1)
