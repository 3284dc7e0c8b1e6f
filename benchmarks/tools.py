"""Other tools as ways to launch a program: crun and firejail, with what they need to give about the same."""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import shutil
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sandbox.bench.ways import Bubblewrap, Command, Ours, Way, plan_of, shown_places
from sandbox.model.errors import SandboxError
from sandbox.policy.seccomp.oci import export_oci

# Source: config.md and config-linux.md of the OCI runtime specification.
NAMESPACES = ("pid", "network", "ipc", "uts", "mount", "cgroup", "user")
SUBORDINATE = 100_000
CLONE_NEWNS, MS_REC, MS_PRIVATE, MNT_DETACH = 0x20000, 0x4000, 0x40000, 2


def tmpfs(target: str) -> dict:
    return {"destination": target, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777"]}


def hide_version2() -> None:
    """Give this thread, and what it starts, a mount namespace without the second hierarchy: crun refuses hosts with both."""
    libc = ctypes.CDLL(None, use_errno=True)
    for failed in (
        libc.unshare(CLONE_NEWNS),
        libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None),
        libc.umount2(b"/sys/fs/cgroup/unified", MNT_DETACH),
    ):
        if failed:
            raise OSError(ctypes.get_errno(), "a mount namespace for crun")


class Crun(Command):
    """crun run, one container a launch: the same places, all namespaces, no capabilities, the same filter, no limits."""

    name = "crun"

    def __init__(self, ours: Ours) -> None:
        self._ours = ours
        self._place = Path(tempfile.mkdtemp(prefix="bench-crun.", dir="/var/tmp"))
        self._place.chmod(0o755)
        self._bundles: dict[tuple[str, ...], Path] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        both = os.path.exists("/sys/fs/cgroup/unified/cgroup.controllers")
        self._threads = ThreadPoolExecutor(8, initializer=hide_version2) if both and os.getuid() == 0 else None

    def launch(self, argv, stdin=b""):
        name = f"bench-{os.getpid()}-{next(self._numbers)}"
        # Without control groups, like bubblewrap: users have none here.
        words = [
            "crun",
            "--cgroup-manager=disabled",
            "--root",
            str(self._place / "state"),
            "run",
            "--bundle",
            str(self._bundle(tuple(argv))),
            name,
        ]
        return self._threads.submit(self.call, words, stdin).result() if self._threads else self.call(words, stdin)

    def _bundle(self, argv: tuple[str, ...]) -> Path:
        with self._lock:
            if argv not in self._bundles:
                bundle = self._place / f"bundle{len(self._bundles)}"
                self._write(bundle, argv)
                self._bundles[argv] = bundle
            return self._bundles[argv]

    def _write(self, bundle: Path, argv: tuple[str, ...]) -> None:
        root = bundle / "rootfs"
        root.mkdir(parents=True)
        mounts = [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
        ]
        for target in ("/proc", "/dev", "/tmp", "/work"):
            (root / target[1:]).mkdir()
        for source, target in shown_places(plan_of(self._ours)):
            if not os.path.exists(source):
                continue
            place = root / target[1:]
            place.parent.mkdir(parents=True, exist_ok=True)
            place.mkdir(exist_ok=True) if os.path.isdir(source) else place.touch()
            mounts.append({"destination": target, "type": "none", "source": source, "options": ["bind", "ro", "nosuid"]})
        for link in ("bin", "lib", "lib64", "sbin"):
            if os.path.islink(f"/{link}"):
                (root / link).symlink_to(os.readlink(f"/{link}"))
        for path in (root, *root.rglob("*")):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)
        host, size = (SUBORDINATE, 65536) if os.getuid() == 0 else (os.getuid(), 1)
        maps = [{"containerID": 0, "hostID": host, "size": size}]
        seccomp = export_oci(self._ours.box.profile.policy.seccomp)
        config = {
            "ociVersion": "1.0.2",
            "process": {
                "terminal": False, "user": {"uid": 0, "gid": 0}, "args": list(argv), "cwd": "/work", "noNewPrivileges": True,
                "env": ["PATH=/usr/local/bin:/usr/bin:/bin"],
                "capabilities": {kind: [] for kind in ("bounding", "effective", "inheritable", "permitted", "ambient")},
            },
            "root": {"path": "rootfs", "readonly": True},
            "hostname": "sandbox",
            "mounts": [*mounts, tmpfs("/tmp"), tmpfs("/work")],
            "linux": {
                "namespaces": [{"type": kind} for kind in NAMESPACES],
                "uidMappings": maps,
                "gidMappings": [{**maps[0], "hostID": host if os.getuid() == 0 else os.getgid()}],
                "seccomp": seccomp,
            },
        }  # fmt: skip
        (bundle / "config.json").write_text(json.dumps(config))

    def close(self):
        if self._threads is not None:
            self._threads.shutdown()
        shutil.rmtree(self._place, ignore_errors=True)


class Firejail(Command):
    """firejail without one of its desktop profiles: private home, /tmp and /dev, no network, its own default filter."""

    name = "firejail"
    words = (
        "firejail", "--quiet", "--noprofile", "--private", "--private-tmp", "--private-dev", "--net=none", "--ipc-namespace",
        "--caps.drop=all", "--nonewprivs", "--seccomp", "--read-only=/usr", "--read-only=/etc", "--deterministic-exit-code", "--",
    )  # fmt: skip

    def launch(self, argv, stdin=b""):
        return self.call([*self.words, *argv], stdin)


MAKERS = {
    "bubblewrap": ("bwrap", lambda ours: Bubblewrap(plan_of(ours))),
    "crun": ("crun", Crun),
    "firejail": ("firejail", lambda _: Firejail()),
}


def others(ours: Ours, argv, stdin: bytes, expected: bytes) -> tuple[list[Way], dict[str, str]]:
    """The other tools that run this program here, and for those that do not the reason."""
    found, missing = [], {}
    for name, (program, make) in MAKERS.items():
        if shutil.which(program) is None:
            missing[name] = "not installed"
            continue
        way = make(ours)
        try:
            said = way.launch(argv, stdin)
        except (SandboxError, OSError) as error:
            missing[name] = " ".join(str(error).split())
            way.close()
            continue
        if said == expected:
            found.append(way)
        else:
            missing[name] = f"gave another answer: {said[:60]!r}"
            way.close()
    return [*found, Command()], missing
