"""What an engine is planned from: without control groups, memory that nobody counts cannot be made."""

from __future__ import annotations

import pytest

from sandbox import Profile
from sandbox.policy.seccomp.compile import compile_policy
from sandbox.policy.seccomp.simulate import verdict
from sandbox.policy.seccomp.tables import numbers
from sandbox.runtime.registry import without_uncounted_memory


@pytest.mark.parametrize("call", ["memfd_create", "shmget", "msgget", "semget"])
def test_memory_that_no_process_maps_cannot_be_made_without_control_groups(call: str) -> None:
    policy = Profile.load("native").policy
    before, after = (compile_policy(item.seccomp, "x86_64") for item in (policy, without_uncounted_memory(policy)))
    number = numbers("x86_64")[call]
    assert [str(verdict(filters, "x86_64", number, ())) for filters in (before, after)] == ["allow", "errno ENOSYS"]
