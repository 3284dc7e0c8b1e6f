"""SHA-256 without `hashlib`, which loads OpenSSL first: the same digests from the module that is built into the interpreter."""

from __future__ import annotations

try:
    from _sha2 import sha256  # CPython 3.12 and newer
except ImportError:
    try:
        from _sha256 import sha256  # CPython 3.11
    except ImportError:
        from hashlib import sha256

__all__ = ["sha256"]
