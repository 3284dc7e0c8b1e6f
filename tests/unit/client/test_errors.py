"""What a service refuses or fails at is of the class that the local API has for it."""

from __future__ import annotations

import pickle

import pytest

from sandbox.client import errors
from sandbox.model import errors as local


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "request", local.RequestError),
        (400, "bad_request", local.RequestError),
        (400, "unknown_language", local.RequestError),
        (400, "policy", local.PolicyError),
        (400, "command_not_found", local.CommandNotFound),
        (400, "not_executable", local.NotExecutable),
        (413, "too_large", local.RequestError),
        (422, "who_knows", local.RequestError),
        (401, "unauthorized", errors.AccessDenied),
        (403, "policy", errors.AccessDenied),
        (429, "tenant_busy", local.CapacityError),
        (503, "draining", local.CapacityError),
        (503, "launcher_died", local.LauncherDied),
        (503, "audit", local.ResourceError),
        (0, "queue_full", local.CapacityError),
        (0, "unauthorized", errors.AccessDenied),
        (500, "unsupported_host", local.UnsupportedHostError),
        (500, "launch", local.LaunchError),
        (500, "profile", local.ProfileError),
        (500, "problem", local.ProblemError),
        (500, "internal", errors.RemoteError),
    ],
)
def test_an_error_is_of_the_local_class_and_travels_further(status, code, kind):
    error = errors.error_from(status, {"error": {"code": code, "message": "no", "hint": "do", "request_id": "r1"}})
    assert isinstance(error, kind)
    assert isinstance(error, errors.RemoteError)
    assert str(error) == "no; do"
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.request_id, again.status) == (type(error), "no; do", "r1", status)


@pytest.mark.parametrize("name", sorted({"blame", "retryable"}))
def test_a_remote_error_says_of_itself_what_its_local_class_says(name):
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.RemoteError) and len(kind.__bases__) == 2:
            assert getattr(kind, name) == getattr(kind.__bases__[1], name), kind
