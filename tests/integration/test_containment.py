"""What a program sees and may do inside: asked from inside, one attack at a time."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import sandbox
from sandbox import Outcome

pytestmark = pytest.mark.vm

CALLS = """
import ctypes, errno, json, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *args):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_ulong(a) if isinstance(a, int) else a for a in args])
    return errno.errorcode.get(ctypes.get_errno(), "?") if result == -1 else result
"""


def inside(code: str, options: dict[str, Any], **more: Any) -> Any:
    """Run Python code in the default profile; its last line prints JSON."""
    result = sandbox.run(["python3", "-c", code], **options, **more)
    assert result.stdout, result
    return json.loads(result.stdout.splitlines()[-1])


def test_every_right_is_gone(run_options: dict[str, Any]) -> None:
    status = inside("import json; print(json.dumps(dict(l.split(':\\t') for l in open('/proc/self/status'))))", run_options)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 0, name
    assert status["NoNewPrivs"].strip() == "1"
    assert status["Seccomp"].strip() == "2"
    assert set(status["Uid"].split()) == {"1000"}
    assert set(status["Gid"].split()) == {"1000"}


def test_the_payload_is_never_host_uid_0(run_options: dict[str, Any]) -> None:
    result = sandbox.run(["cat", "/proc/self/uid_map", "/proc/self/gid_map"], **run_options)
    for line in result.stdout.splitlines():
        inner, _, count = (int(word) for word in line.split())
        assert (inner, count) == (1000, 1)
    assert 0 not in result.enforced["identity"]["host_uids"][:1]


def test_every_namespace_is_new(run_options: dict[str, Any]) -> None:
    kinds = ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup")
    ours = {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in kinds}
    code = f"import os, json; print(json.dumps({{k: os.readlink('/proc/self/ns/' + k) for k in {kinds!r}}}))"
    theirs = inside(code, run_options)
    assert not [kind for kind in kinds if ours[kind] == theirs[kind]]


def test_only_the_standard_streams_are_open(run_options: dict[str, Any]) -> None:
    keep = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(keep, True)
    try:
        fds = inside("import os, json; print(json.dumps(sorted(int(f) for f in os.listdir('/proc/self/fd'))))", run_options)
    finally:
        os.close(keep)
    assert fds[:3] == [0, 1, 2]
    assert len(fds) == 4  # the directory being listed


def test_the_environment_is_the_profiles(run_options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    monkeypatch.setenv("LD_PRELOAD", "")
    environment = inside("import os, json; print(json.dumps(dict(os.environ)))", run_options)
    assert "SECRET_TOKEN" not in environment
    assert "LD_PRELOAD" not in environment
    assert environment["PATH"]


def test_host_files_are_not_there(run_options: dict[str, Any], tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("token")
    secret.chmod(0o644)
    code = f"""
import json, os
secret = {str(secret)!r}
paths = [secret, '/proc/1/root' + secret, '/proc/self/root/..' + secret, '/etc/shadow', '/root', '/home', '/var', '/sys', '/boot']
print(json.dumps([p for p in paths if os.path.exists(p)]))
"""
    assert inside(code, run_options) == []


@pytest.mark.claim("SEC-LT-03")
def test_the_root_and_every_mount_in_it_is_read_only(run_options: dict[str, Any]) -> None:
    code = """
import errno, json, os
def attempt(path):
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o666))
        return 'written'
    except OSError as e:
        return errno.errorcode[e.errno]
paths = '/x /etc/x /usr/x /usr/bin/env /dev/x /proc/sys/kernel/hostname /proc/sysrq-trigger'.split()
print(json.dumps({p: attempt(p) for p in paths}))
"""
    for path, answer in inside(code, run_options).items():
        assert answer in ("EROFS", "EACCES", "EPERM", "ENOENT"), path


@pytest.mark.claim("SEC-FS-06")
def test_the_writable_places_are_private_and_empty(run_options: dict[str, Any]) -> None:
    code = """
import json, os
before = {p: os.listdir(p) for p in ('/work', '/tmp', '/dev/shm')}
for p in before:
    open(p + '/left', 'w').write('x')
print(json.dumps(before))
"""
    for _ in range(2):
        assert inside(code, run_options) == {"/work": [], "/tmp": [], "/dev/shm": []}
    assert not Path("/tmp/left").exists()


@pytest.mark.claim("SEC-FS-05")
def test_locks_of_the_host_are_not_told(tmp_path: Path, run_options: dict[str, Any]) -> None:
    """A lock of an open file description belongs to no process: no pid namespace hides it in /proc/locks."""
    with open(tmp_path / "locked", "w") as file:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 424242, 1, 0))
        assert "424242" in Path("/proc/locks").read_text()
        code = """
import json, os
print(json.dumps(open('/proc/locks').read() if os.path.exists('/proc/locks') else ''))
"""
        assert inside(code, run_options) == ""


def test_kernel_files_are_masked(run_options: dict[str, Any]) -> None:
    code = """
import json, os
def size(p):
    try:
        return len(os.listdir(p)) if os.path.isdir(p) else len(open(p, 'rb').read(64))
    except OSError:
        return 0
names = 'kcore keys key-users kallsyms timer_list acpi scsi interrupts iomem config.gz'.split()
print(json.dumps({p: size('/proc/' + p) for p in names}))
"""
    assert set(inside(code, run_options).values()) == {0}


def test_no_other_process_is_seen(run_options: dict[str, Any]) -> None:
    pids = inside("import os, json; print(json.dumps([p for p in os.listdir('/proc') if p.isdigit()]))", run_options)
    assert len(pids) == 1  # hidepid hides init as well


@pytest.mark.parametrize(
    ("name", "number", "arguments"),
    [
        ("mount", 165, (0, 0, 0, 0, 0)),
        ("umount2", 166, (0, 0)),
        ("unshare", 272, (0x10000000,)),
        ("setns", 308, (-1 & 0xFFFFFFFF, 0)),
        ("ptrace", 101, (0, 0, 0, 0)),
        ("bpf", 321, (0, 0, 0)),
        ("keyctl", 250, (0, 0, 0)),
        ("perf_event_open", 298, (0, 0, 0, 0, 0)),
        ("userfaultfd", 323, (0,)),
        ("chroot", 161, (0,)),
        ("pivot_root", 155, (0, 0)),
        ("open_by_handle_at", 304, (0, 0, 0)),
        ("io_uring_setup", 425, (1, 0)),
        ("clone3", 435, (0, 0)),
        ("unknown", 600, ()),
    ],
)
def test_dangerous_calls_are_refused(run_options: dict[str, Any], name: str, number: int, arguments: tuple[int, ...]) -> None:
    if os.uname().machine != "x86_64":
        number = {"clone3": 435, "io_uring_setup": 425, "unknown": 600}.get(name, number)
    answer = inside(CALLS + f"print(json.dumps(call({number}, *{arguments!r})))", run_options)
    assert answer in ("EPERM", "ENOSYS"), name


def test_pure_computation_starts_no_process(run_options: dict[str, Any]) -> None:
    code = """
import json, os, subprocess, threading
def attempt(action):
    try:
        action()
        return "started"
    except OSError as e:
        return type(e).__name__
thread = threading.Thread(target=lambda: None)
answers = {"thread": attempt(thread.start)}
answers["fork"] = attempt(os.fork)
answers["subprocess"] = attempt(lambda: subprocess.run(["/bin/true"]))
answers["posix_spawn"] = attempt(lambda: os.posix_spawn("/bin/true", ["true"], {}))
print(json.dumps(answers))
"""
    answers = inside(code, run_options, profile="strict")
    assert answers.pop("thread") == "started"
    assert set(answers.values()) == {"PermissionError"}


def test_nested_user_namespaces_are_refused_by_clone_too(run_options: dict[str, Any]) -> None:
    code = CALLS + "print(json.dumps(call(56, 0x10000000 | 17, 0, 0, 0, 0)))"
    assert inside(code, run_options) in ("EPERM", "ENOSPC")


def test_socket_families_are_a_list(run_options: dict[str, Any]) -> None:
    code = """
import errno, json, socket
out = {}
for family in (1, 2, 10, 16, 17, 38, 40, 40 | 1 << 32, 29, 31, 44):
    try:
        socket.socket(family & 0xffffffff, socket.SOCK_STREAM).close()
        out[family] = 'open'
    except OSError as e:
        out[family] = errno.errorcode.get(e.errno, str(e.errno))
print(json.dumps(out))
"""
    answers = inside(code, run_options)
    assert answers["1"] == "open"
    for family in ("16", "17", "38", "40", "29", "31", "44"):
        assert answers[family] in ("EAFNOSUPPORT", "EPERM", "EACCES"), family


def test_the_hosts_network_is_out_of_reach(run_options: dict[str, Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(b"\0sandbox-test-%d" % os.getpid())
        abstract.listen()
        code = f"""
import json, socket
def attempt(family, address):
    try:
        s = socket.socket(family); s.settimeout(2); s.connect(address); return 'connected'
    except OSError as e:
        return e.errno
port = {server.getsockname()[1]}
name = b'\\0sandbox-test-{os.getpid()}'
print(json.dumps([attempt(socket.AF_INET, ('127.0.0.1', port)), attempt(socket.AF_UNIX, name)]))
"""
        assert "connected" not in inside(code, run_options)


def test_init_cannot_be_killed_traced_or_read(run_options: dict[str, Any]) -> None:
    code = (
        CALLS
        + """
out = []
for path in ('/proc/1/mem', '/proc/1/environ', '/proc/1/fd', '/proc/1/exe', '/proc/1/maps'):
    try:
        os.listdir(path) if path.endswith('fd') else open(path, 'rb').read(1) if not path.endswith('exe') else os.readlink(path)
        out.append(path)
    except OSError:
        pass
os.kill(1, 9)
os.kill(1, 15)
print(json.dumps(out))
"""
    )
    assert inside(code, run_options) == []


def test_setuid_bits_give_nothing(run_options: dict[str, Any]) -> None:
    result = sandbox.run(["sh", "-c", "cp /usr/bin/id /work/id; chmod 4755 /work/id; ls -l /work/id; /work/id -u"], **run_options)
    assert b"rws" not in result.stdout
    assert result.stdout.splitlines()[-1] == b"1000"


def test_the_hosts_mounts_are_as_before(run_options: dict[str, Any]) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    sandbox.run(["true"], **run_options)
    assert Path("/proc/self/mountinfo").read_text() == before


def test_nothing_of_the_caller_is_inherited(run_options: dict[str, Any]) -> None:
    """A caller with an odd umask, ignored SIGCHLD, blocked signals and closed standard streams."""
    code = f"""
import os, signal, sys, json
sys.path.insert(0, {str(Path(sandbox.__file__).parents[1])!r})
report = os.dup(1)
os.umask(0)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
import ctypes, platform, struct  # GNU make ignores 32 and 33, which the C library does not let anybody change
rt_sigaction = {{'x86_64': 13, 'aarch64': 134}}[platform.machine()]
for number in (32, 33):
    assert ctypes.CDLL(None).syscall(rt_sigaction, number, struct.pack('QQQQ', 1, 0, 0, 0), None, 8) == 0
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGINT])
for fd in (0, 1, 2):
    os.close(fd)
import sandbox
r = sandbox.run(['sh', '-c', 'umask; grep -E "Sig(Blk|Ign)" /proc/self/status'], **{run_options!r})
os.write(report, json.dumps([r.outcome, r.stdout.decode(), r.stderr.decode()]).encode())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)
    outcome, out, err = json.loads(done.stdout)
    assert outcome == "exited", err
    lines = out.splitlines()
    assert lines[0] == "0077"
    assert all(int(line.split()[1], 16) == 0 for line in lines[1:])


def test_masks_and_enforced_say_the_same(run_options: dict[str, Any]) -> None:
    result = sandbox.run(["true"], **run_options)
    assert result.outcome is Outcome.EXITED
    assert set(result.enforced["namespaces"]) >= {"user", "mount", "pid", "net", "ipc", "uts", "cgroup"}
    assert result.enforced["capabilities"] == []
    assert result.enforced["seccomp"]["instructions"] > 50
    assert "/proc/kcore" in result.enforced["masked_paths"]
