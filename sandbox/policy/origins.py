"""Where the parts of a policy were said."""

from __future__ import annotations

from sandbox.model.errors import ProfileError, RequestError
from sandbox.model.policy import Origin, Policy

# What a caller said: an override, or a mount that he granted.
OVERRIDE = Origin(file="<override>", line=0)


def place(policy: Policy, key: str) -> str:
    """Where a key was said, as file:line; "" when it has no place of its own."""
    found = policy.origins.get(key)
    if found is None:
        return ""
    return f"{found.file}:{found.line}" if found.line else found.file


def wrong_at(policy: Policy, key: str, message: str, hint: str = "") -> ProfileError | RequestError:
    """The error about a key, at its file and line; what the caller said himself is his own mistake."""
    found = policy.origins.get(key)
    if found == OVERRIDE:
        return RequestError(f"{key}: {message}", hint=hint)
    if found is None:
        return ProfileError(message, path=key, hint=hint)
    return ProfileError(message, file=found.file, line=found.line, path=key, hint=hint)
