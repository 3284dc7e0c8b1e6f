"""What is fuzzed: functions of bytes. Each raises only what the callers of the fuzzed code are promised."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sandbox import PolicyError, Profile, ProfileError
from sandbox.host.cgroups import parse_layout
from sandbox.launcher import collect, wire
from sandbox.model import codec, launch
from sandbox.model.errors import ProtocolError, RequestError, UnsupportedHostError
from sandbox.model.launch import Ended, LaunchRequest
from sandbox.model.limits import Limits
from sandbox.model.result import Evidence, Outcome
from sandbox.policy.diff import diff
from sandbox.policy.seccomp import simulate, tables
from sandbox.policy.seccomp.compile import compile_policy
from sandbox.policy.seccomp.oci import import_oci
from sandbox.runtime.classify import Facts, classify
from sandbox.runtime.collected import unpack_collected
from tests.fuzz import shapes
from tests.fuzz.taking import Bytes

DEFAULT = Profile.load("default")
ARGUMENTS = (0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 32, (1 << 64) - 1, 0x10000000, 0x7E020000)


def _said(error: Exception) -> None:
    """An error of ours says something."""
    assert str(error)


def profile(data: bytes) -> None:
    """A profile file: a policy, or a ProfileError."""
    text = data.decode("utf-8", "replace")
    try:
        policy = Profile.parse(text).policy
    except ProfileError as error:
        _said(error)
        return
    hash(policy)
    assert policy.identity.uid > 0
    assert min(policy.limits.wall_ns, policy.limits.memory_bytes, policy.limits.pids, policy.limits.output_bytes) > 0


def profile_data(data: bytes) -> None:
    """The same, for data of the right shape; and a policy compiles, or says why not."""
    try:
        policy = Profile.from_dict(shapes.profile(Bytes(data))).policy
        compile_policy(policy.seccomp, "x86_64")
    except (ProfileError, RequestError) as error:
        _said(error)
        return
    assert 0 < policy.identity.uid < 65534
    assert policy.limits.wall_ns > 0


def override(data: bytes) -> None:
    """Overrides as a request may send them, as JSON."""
    try:
        changes = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(changes, dict):
        _tighten(changes)


def override_data(data: bytes) -> None:
    """Overrides of the right shape."""
    _tighten(shapes.overrides(Bytes(data)))


def _tighten(changes: dict[str, Any]) -> None:
    """A tighter policy, or an error; never a looser one."""
    try:
        after = DEFAULT.tightened(changes).policy
    except (PolicyError, RequestError) as error:
        _said(error)
        return
    looser = [item for item in diff(DEFAULT.policy, after) if item.direction == "looser"]
    assert not looser, looser
    if after.seccomp != DEFAULT.policy.seccomp:
        _admits_no_more(after)


def _admits_no_more(after: Any) -> None:
    """Every call with arguments at boundaries: what passes now has passed before."""
    try:
        tight = compile_policy(after.seccomp, "x86_64")
    except ProfileError:
        return
    wide = compile_policy(DEFAULT.policy.seccomp, "x86_64")
    for number in tables.numbers("x86_64").values():
        for value in ARGUMENTS:
            args = (value,) * 6
            if simulate.verdict(tight, "x86_64", number, args).action in ("allow", "log"):
                assert simulate.verdict(wide, "x86_64", number, args).action in ("allow", "log"), (number, args)


def encoding(data: bytes) -> None:
    """The codec: what it takes is canonical."""
    try:
        value = codec.decode(data)
    except codec.CodecError:
        return
    assert codec.encode(value) == data


def packet(data: bytes) -> None:
    """A packet with descriptors from a peer that lies."""
    ours, theirs = wire.pair()
    memfd = os.memfd_create("fuzz")
    try:
        os.write(memfd, data[1:])
        import _socket

        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("i", memfd))] if data[:1] > b"\x7f" else []
        theirs.sendmsg([data[:60000] or b"\0"], rights)
        with contextlib.suppress(wire.WireError):
            received = wire.receive(ours, wait=False)
            assert received is not None
            wire.close_all(received[1])
    finally:
        os.close(memfd)
        ours.close()
        theirs.close()


def collection(data: bytes) -> None:
    """A file set that comes from a launcher: files, or a ProtocolError."""
    memfd = os.memfd_create("fuzz")
    try:
        os.write(memfd, data)
        with contextlib.suppress(ProtocolError):
            files, _ = unpack_collected(memfd)
            assert sum(len(content) for _, _, content in files) <= len(data)
    finally:
        os.close(memfd)


def oci(data: bytes) -> None:
    """A Docker or OCI profile: rules that compile, or a ProfileError."""
    try:
        parsed = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(parsed, dict):
        _import(parsed)


def oci_data(data: bytes) -> None:
    """The same, for data of the right shape."""
    _import(shapes.oci(Bytes(data)))


def _import(parsed: dict[str, Any]) -> None:
    try:
        policy = import_oci(parsed, "x86_64")
        compiled = compile_policy(policy, "x86_64")
    except (ProfileError, UnsupportedHostError) as error:
        _said(error)
        return
    assert len(compiled.main) // 8 <= 4096


LIMITS = Limits(
    cpu_ns=10**9, wall_ns=2 * 10**9, idle_ns=0, memory_bytes=1 << 28, pids=64, cpu_quota_millicpus=0, output_bytes=1000,
    scratch_bytes=1 << 20, scratch_inodes=100, file_bytes=1 << 20, open_files=64, stack_bytes=1 << 20, collect_bytes=1 << 20,
    collect_files=10,
)  # fmt: skip


def ending(data: bytes) -> None:
    """What a launcher and a control group may report, in every combination: one outcome, with evidence."""
    take = Bytes(data)
    status = take.choice([0, 256, 512, 9, 11, 24, 25, 31, 137 << 8, 0xFF00, 0x7F])
    ended = Ended(
        init_ok=bool(take.number(1)), status=status, killed_by=take.number(7), killed_value=take.number(1 << 40),
        received=0, started=1, ended=2, init_user_ns=0, init_system_ns=0, user_ns=take.number(1 << 40), system_ns=0,
        max_rss_bytes=take.number(1 << 40), peak_pids=take.number(100), peak_rss_bytes=0,
        scratch_free_bytes=take.number(1 << 20) - 1, scratch_free_inodes=take.number(200) - 1,
        file_reached_bytes=take.choice([0, 1 << 20]), left_alive=bool(take.number(1)),
        denied=((take.number(400), 1),) * take.number(1),
    )  # fmt: skip
    facts = Facts(
        ended=ended, limits=LIMITS, counters=(Evidence("cpu.stat", "usage_usec", 1),), oom=bool(take.number(1)),
        pids_hit=bool(take.number(1)), degraded=bool(take.number(1)), output_total=take.number(5000),
        output_exceeded=bool(take.number(1)), cpu_ns=take.number(2 * 10**9), syscalls={165: "mount"},
    )  # fmt: skip
    outcome, _, evidence = classify(facts)
    assert evidence
    if outcome is Outcome.CPU_TIME:
        assert ended.killed_by == launch.BY_CPU or facts.cpu_ns >= LIMITS.cpu_ns
    if outcome is Outcome.WALL_TIME:
        assert ended.killed_by == launch.BY_WALL
    if outcome is Outcome.MEMORY:
        assert facts.oom or ended.killed_by == launch.BY_OOM or facts.degraded
    if outcome is Outcome.OUTPUT:
        assert facts.output_exceeded
    if outcome is Outcome.CANCELED:
        assert ended.killed_by in (launch.BY_CALLER, launch.BY_LANE)


REQUEST = LaunchRequest(
    program=b"", wall_ns=0, cpu_ns=0, idle_ns=0, cpus=1, scratch_bytes=0,
    scratch_inodes=0, joins=0, tty=(), collect=(b".",), collect_bytes=1 << 16, collect_files=20, oom_bytes=0, pids=0,
    memory_bytes=0,
)  # fmt: skip
SECRET = b"what the payload must never reach"


def tree(data: bytes) -> None:
    """A work directory as a payload may leave it: only its own regular files come out, within bounds."""
    take = Bytes(data)
    with tempfile.TemporaryDirectory(prefix="sandbox-fuzz-") as outer:
        secret = Path(outer) / "secret"
        secret.write_bytes(SECRET)
        work = os.path.join(outer, "work").encode()
        os.mkdir(work)
        for path in _grow(take, work):
            with contextlib.suppress(OSError, ValueError):
                _plant(take, path, outer)
        ours, theirs = wire.pair()
        fd = os.open(work, os.O_RDONLY | os.O_DIRECTORY)
        collect.deliver(fd, REQUEST.replace(collect=(take.choice([b".", b"a", b"a/b", b"x", b"missing"]),)), ours, (31,))
        os.close(fd)
        received = wire.receive(theirs)
        assert received is not None
        files, _ = unpack_collected(received[1][0])
        wire.close_all(received[1])
        ours.close()
        theirs.close()
        assert len(files) <= 20
        assert sum(len(content) for _, _, content in files) <= 1 << 16
        for name, mode, content in files:
            assert SECRET not in content
            assert ".." not in name.split("/")
            assert not name.startswith("/")
            assert mode & ~0o755 == 0


def _grow(take: Bytes, work: bytes) -> Iterator[bytes]:
    names = [b"a", b"b", b"x", b"...", b"\xff\xfe", b"n" * 255, b" ", b"a\nb", b"-"]
    here = work
    for _ in range(24):
        if not take:
            return
        if take.number(3) == 0:
            here = work
        path = here + b"/" + take.choice(names)
        yield path
        if os.path.isdir(path) and not os.path.islink(path):
            here = path


def _plant(take: Bytes, path: bytes, outer: str) -> None:
    kind = take.number(7)
    targets = [b"..", b"/etc/passwd", os.fsencode(outer) + b"/secret", b".", path, b"/proc/self/root", b"missing"]
    if kind == 0:
        os.mkdir(path)
    elif kind == 1:
        os.symlink(take.choice(targets), path)
    elif kind == 2:
        os.mkfifo(path)
    elif kind == 3:
        os.link(os.fsencode(outer) + b"/secret", path)
    elif kind == 4:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        os.truncate(fd, take.choice([0, 1 << 10, 1 << 16, 1 << 30, 1 << 40]))
        os.close(fd)
    elif kind == 5:
        if not os.path.islink(path):
            os.chmod(path, take.number(0o7777))
    else:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
        os.write(fd, take.rest(take.number(300)))
        os.close(fd)


def mount_table(data: bytes) -> None:
    """/proc/self/mountinfo and /proc/self/cgroup of a host that we have never seen."""
    mountinfo, _, own = data.decode("utf-8", "replace").partition("\0")
    found = parse_layout(mountinfo, own)
    assert found.version in (0, 1, 2)
    for group in found.legacy:
        assert ".." not in group.own.split("/") or ".." in mountinfo


TARGETS: dict[str, Callable[[bytes], None]] = {
    "profile": profile,
    "profile_data": profile_data,
    "override": override,
    "override_data": override_data,
    "encoding": encoding,
    "packet": packet,
    "collection": collection,
    "oci": oci,
    "oci_data": oci_data,
    "ending": ending,
    "tree": tree,
    "mount_table": mount_table,
}
