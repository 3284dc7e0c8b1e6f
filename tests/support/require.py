"""What a test needs of the host, in one vocabulary.

`require("cgroup2", "landlock")` skips the test with a reason where the host lacks one of them. A name that stands in
SANDBOX_REQUIRE (comma-separated) must be there: then its absence is a failure. No test skips in any other way.
"""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec

import pytest

CGROUP = "/sys/fs/cgroup"
CONTROLLERS = {"memory", "pids"}


def require(*features: str) -> None:
    """Skip (or fail, see SANDBOX_REQUIRE) the calling test unless the host has all `features`."""
    for feature in features:
        reason = missing(feature)
        if reason is None:
            continue
        text = f"host lacks {feature}: {reason}"
        if feature in required():
            pytest.fail(f"SANDBOX_REQUIRE demands {feature}, but the {text}")
        pytest.skip(text)


def requires(*features: str) -> pytest.MarkDecorator:
    """`require` as a decorator."""
    return pytest.mark.requires(*features)


def required() -> set[str]:
    """The features that must be there."""
    names = {name.strip() for name in os.environ.get("SANDBOX_REQUIRE", "").split(",") if name.strip()}
    unknown = names - set(_CHECKS)
    if unknown:
        raise ValueError(f"SANDBOX_REQUIRE names unknown features: {', '.join(sorted(unknown))}")
    return names


@functools.cache
def missing(feature: str) -> str | None:
    """Why the host does not have the feature; None when it has it."""
    return _CHECKS[feature]()


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _userns() -> str | None:
    """Another process tries, the way any ordinary program would."""
    code = (
        "import ctypes, os, sys; l = ctypes.CDLL(None, use_errno=True); "
        "r = l.unshare(0x10000000); sys.exit(os.strerror(ctypes.get_errno()) if r else 0)"
    )
    tried = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    return tried.stderr.strip() if tried.returncode else None


def _seccomp() -> str | None:
    actions = _read("/proc/sys/kernel/seccomp/actions_avail").split()
    return None if {"errno", "user_notif"} <= set(actions) else f"the kernel offers only {' '.join(actions) or 'nothing'}"


def _landlock() -> str | None:
    libc = ctypes.CDLL(None, use_errno=True)
    abi = libc.syscall(444, None, 0, 1)
    return None if abi >= 1 else os.strerror(ctypes.get_errno())


def own_cgroup2() -> str:
    """The directory of this process's v2 group, "" without a unified hierarchy."""
    line = next((line for line in _read("/proc/self/cgroup").splitlines() if line.startswith("0::")), "")
    return CGROUP + line[3:].rstrip("/") if line and os.path.exists(f"{CGROUP}/cgroup.controllers") else ""


def _cgroup2() -> str | None:
    own = own_cgroup2()
    if not own:
        return f"{CGROUP} is not a cgroup v2 hierarchy"
    if os.access(own, os.W_OK) and set(_read(f"{own}/cgroup.controllers").split()) >= CONTROLLERS:
        return None
    uid = os.getuid()
    managed = f"{CGROUP}/user.slice/user-{uid}.slice/user@{uid}.service"
    offered = set(_read(f"{managed}/cgroup.controllers").split())
    if os.path.exists(f"/run/user/{uid}/systemd/private") and offered >= CONTROLLERS:
        return None
    return f"{own} is not delegated to uid {uid} and there is no systemd user manager that could give a scope"


def _cgroup1() -> str | None:
    if os.path.exists(f"{CGROUP}/cgroup.controllers"):
        return "the host has cgroup v2 only"
    if os.getuid():
        return "cgroup v1 controllers can be used by root only"
    for line in _read("/proc/self/cgroup").splitlines():
        _, names, path = line.split(":", 2)
        if "memory" in names.split(","):
            here = [f"{CGROUP}/memory{path}", f"{CGROUP}/memory"]
            return None if any(os.access(place, os.W_OK) for place in here) else "the memory hierarchy is read-only"
    return "there is no memory controller"


def _cgroup() -> str | None:
    reasons = [_cgroup2(), _cgroup1()]
    return None if None in reasons else "; ".join(reason for reason in reasons if reason)


def _no_cgroup() -> str | None:
    return "there are control groups" if _cgroup() is None else None


def _newuidmap() -> str | None:
    if os.getuid() == 0:
        return None
    for tool in ("newuidmap", "newgidmap"):
        if shutil.which(tool) is None:
            return f"no {tool} (Debian package uidmap)"
    import pwd

    names = {pwd.getpwuid(os.getuid()).pw_name, str(os.getuid())}
    lines = _read("/etc/subuid").splitlines()
    return None if any(line.split(":")[0] in names for line in lines) else "no line for this user in /etc/subuid"


def _bpf_for_root_only() -> str | None:
    return "any user may use bpf" if _read("/proc/sys/kernel/unprivileged_bpf_disabled").strip() == "0" else None


def _ipv6() -> str | None:
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
        try:
            sock.bind(("::1", 0))
        except OSError as error:
            return f"::1 cannot be used: {error}"
    return None


def _mount_flag(flag: int, what: str) -> Callable[[], str | None]:
    """Whether files below /var/tmp can be `what`."""
    return lambda: f"/var/tmp is mounted {what}" if os.statvfs("/var/tmp").f_flag & flag else None


def _file_handles() -> str | None:
    libc = ctypes.CDLL(None, use_errno=True)
    buffer, mount = ctypes.create_string_buffer((128).to_bytes(4, "little"), 136), ctypes.c_int()
    failed = libc.name_to_handle_at(-100, b"/var/tmp", buffer, ctypes.byref(mount), 0)
    return f"/var/tmp: {os.strerror(ctypes.get_errno())}" if failed else None


def _keyrings() -> str | None:
    libc = ctypes.CDLL(None, use_errno=True)
    number = 250 if os.uname().machine == "x86_64" else 219
    return None if libc.syscall(number, 0, -3, 0) >= 0 else f"keyctl: {os.strerror(ctypes.get_errno())}"


def _tool(name: str) -> Callable[[], str | None]:
    return lambda: None if shutil.which(name) else f"no {name} on PATH"


def _module(name: str) -> Callable[[], str | None]:
    return lambda: None if find_spec(name) else f"the Python package {name} is not installed"


def _npm_registry() -> str | None:
    """Whether npm can fetch packages."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        return "no npm and node on PATH"
    tried = subprocess.run(["npm", "view", "piston-client@1.0.2", "version"], capture_output=True, text=True, check=False)
    return (tried.stderr.strip() or "npm fails").splitlines()[-1] if tried.returncode else None


def _system_python(code: str) -> Callable[[], str | None]:
    """Whether /usr/bin/python3 runs it."""

    def check() -> str | None:
        try:
            tried = subprocess.run(["/usr/bin/python3", "-c", code], capture_output=True, text=True, check=False)
        except OSError as error:
            return str(error)
        return (tried.stderr.strip() or "it fails").splitlines()[-1] if tried.returncode else None

    return check


def _browser() -> str | None:
    """Whether a test can drive Chromium."""
    return _tool("chromium")() or _module("playwright")() or _module("axe_playwright_python")()


def _language(name: str) -> Callable[[], str | None]:
    """Whether the host has the compiler or interpreter of a language, where a sandbox sees it."""

    def check() -> str | None:
        from sandbox.grader import languages

        missing_programs = languages.available([languages.load()[name]])[0].missing
        return f"no {', '.join(missing_programs)} that a sandbox sees" if missing_programs else None

    return check


def rust_toolchain() -> str:
    """Where rustup has put a toolchain for the user who runs the tests; "" where there is none."""
    from pathlib import Path

    found = sorted(Path.home().glob(".rustup/toolchains/stable-*/bin/rustc"))
    return str(found[0].parents[1]) if found else ""


LANGUAGES = (
    *("bash", "c", "cpp", "csharp", "go", "haskell", "java", "javascript", "kotlin", "lua", "ocaml", "pascal", "perl", "php"),
    *("prolog", "pypy3", "python2", "python3", "ruby", "rust", "typescript"),
)
_CHECKS: dict[str, Callable[[], str | None]] = {
    **{f"language {name}": _language(name) for name in LANGUAGES},
    "rust toolchain": lambda: None if rust_toolchain() else "no stable toolchain below ~/.rustup",
    "userns": _userns,
    "seccomp": _seccomp,
    "landlock": _landlock,
    "cgroup": _cgroup,
    "cgroup1": _cgroup1,
    "cgroup2": _cgroup2,
    "no control groups": _no_cgroup,
    "newuidmap": _newuidmap,
    "root": lambda: None if os.getuid() == 0 else "the tests run as an ordinary user",
    "user": lambda: None if os.getuid() else "the tests run as root",
    "bpf for root only": _bpf_for_root_only,
    "ipv6": _ipv6,
    "set-uid files": _mount_flag(os.ST_NOSUID, "nosuid"),
    "device files": _mount_flag(os.ST_NODEV, "nodev"),
    "file handles": _file_handles,
    "keyrings": _keyrings,
    "userfaultfd device": lambda: None if os.path.exists("/dev/userfaultfd") else "there is no /dev/userfaultfd",
    "system python": _system_python("import sys; assert sys.version_info >= (3, 11), 'older than 3.11'"),
    "numpy of the system": _system_python("import numpy"),
    "gcc": _tool("gcc"),
    "g++": _tool("g++"),
    "node": _tool("node"),
    "javac": _tool("javac"),
    "browser": _browser,
    "bwrap": _tool("bwrap"),
    "systemd-analyze": _tool("systemd-analyze"),
    "npm registry": _npm_registry,
    "ultra-piston": _module("ultra_piston"),
    "aiopyston": _module("pyston"),
    "judge0": _module("judge0"),
    "ruff": _module("ruff"),
    "uvloop": _module("uvloop"),
    "importlinter": _module("importlinter"),
    "hatchling": _module("hatchling"),
    "jsonschema": _module("jsonschema"),
}
