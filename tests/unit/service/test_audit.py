"""The audit file: complete lines, nobody else's file, no payload's bytes, and a full disk that is never silent."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from sandbox.model.errors import LaunchError, RequestError, SandboxError
from sandbox.service import audit, logs
from tests.unit.cli.fakes import make_result

SECRET = b"the payload's own bytes"


def ask(**changes):
    values = {
        "label": "v1/run", "language": "python", "sources": (("main.py", SECRET),), "argv": ("--token", "the payload said so"),
        "stdin": SECRET, "files": {"secret name": SECRET}, "limits": {"wall_ns": 5},
    }  # fmt: skip
    return SimpleNamespace(**{**values, **changes})


def answer(run=None, compiled=None):
    return SimpleNamespace(language="python", version="3", run=run, compile=compiled)


def read(path):
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "audit.jsonl"


class FullDisk:
    """`os.write` of a disk with so many bytes of room."""

    def __init__(self, monkeypatch, room):
        self.room = room
        real = os.write

        def write(fd, data):
            if self.room == 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            count = real(fd, bytes(data)[: self.room])
            self.room -= count
            return count

        monkeypatch.setattr(audit.os, "write", write)


def test_a_line_says_who_what_and_how_it_ended(path):
    with logs.request("req-1"):
        said = audit.line(
            tenant="alice",
            ask=ask(),
            answer=answer(make_result()),
            queue_s=0.0125,
            profile="python",
            peer="::1",
        )
    with_file = audit.Audit(path)
    with_file.write(said)
    with_file.close()
    (line,) = read(path)
    assert line["request_id"] == "req-1"
    assert (line["tenant"], line["endpoint"], line["profile"], line["peer"]) == ("alice", "v1/run", "python", "::1")
    assert (line["outcome"], line["exit"], line["plan_digest"]) == ("exited", {"code": 0}, "cd" * 32)
    assert line["sources"]["each"] == [{"bytes": len(SECRET), "sha256": hashlib.sha256(SECRET).hexdigest()}]
    assert line["stdin"] == line["sources"]["each"][0] == line["files"]["each"][0]
    assert (line["queue_ms"], line["limits"], line["usage"]["wall_ns"]) == (12.5, {"wall_ns": 5}, 20_000_000)


def test_no_byte_of_the_payload_is_in_a_line():
    error = LaunchError(f"failed with {SECRET.decode()}", path="secret name")
    for said in (
        audit.line(tenant="a", ask=ask(), answer=None, queue_s=0, profile="p", error=error),
        audit.line(tenant="a", ask=ask(), answer=answer(make_result(stdout=SECRET, stderr=SECRET)), queue_s=0, profile="p"),
    ):
        text = json.dumps(said)
        assert "payload" not in text
        assert "secret" not in text
    assert audit.line(tenant="a", ask=ask(), answer=None, queue_s=0, profile="p", error=error)["error"] == "LaunchError"


def test_a_line_stays_small_whatever_is_asked_for():
    many = {str(number): b"x" for number in range(5_000)}
    wild = ask(files=many, label="l" * 9_999, language="\x1b" * 9_999, limits={"wall_ns": 10**5_000})
    said = audit.line(tenant="a", ask=wild, answer=None, queue_s=0, profile="p" * 9_999)
    assert len(logs.ascii_json(said)) < 16_000
    assert said["files"]["count"] == 5_000
    other = audit.line(tenant="a", ask=ask(files={**many, "4999": b"y"}), answer=None, queue_s=0, profile="p")
    assert other["files"]["rest_sha256"] != said["files"]["rest_sha256"], "every file counts"


def test_a_stream_is_digested_on_its_way():
    async def pieces():
        yield b"ab"
        yield b"c"

    async def drain():
        passing = audit.Hashing(pieces())
        return [piece async for piece in passing], passing

    got, passing = asyncio.run(drain())
    assert got == [b"ab", b"c"]
    assert passing.digest() == audit.digest(b"abc")


def test_the_file_is_the_owners_alone_and_lines_are_added(path):
    path.write_text('{"old":1}\n')
    path.chmod(0o644)
    file = audit.Audit(path)
    file.write({"a": "é\x1b\n"})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read(path) == [{"old": 1}, {"a": "é\x1b\n"}]
    file.close()


@pytest.mark.parametrize("kind", ["link", "fifo", "directory", "hard link", "missing directory"])
def test_what_is_no_file_of_its_own_is_refused(tmp_path, path, kind):
    other = tmp_path / "other"
    other.write_text("")
    other.chmod(0o644)
    make = {
        "link": lambda: path.symlink_to(other),
        "fifo": lambda: os.mkfifo(path),
        "directory": path.mkdir,
        "hard link": lambda: os.link(other, path),
        "missing directory": lambda: None,
    }
    make[kind]()
    with pytest.raises(RequestError, match="audit file"):
        audit.Audit(tmp_path / "no" / "where" if kind == "missing directory" else path)
    assert stat.S_IMODE(other.stat().st_mode) == 0o644
    assert other.read_text() == ""


def test_a_full_disk_is_counted_logged_and_told_of_later(path, monkeypatch):
    failures = []
    file = audit.Audit(path, on_failure=lambda: failures.append(1))
    disk = FullDisk(monkeypatch, 0)
    for number in range(3):
        file.ready()
        file.write({"run": number})
    assert len(failures) == 3
    disk.room = 1 << 20
    file.write({"run": 3})
    lost, last = read(path)
    assert (lost["event"], lost["lost"], last) == ("lines_lost", 3, {"run": 3})
    file.close()


def test_where_lines_are_required_a_full_disk_stops_runs_until_there_is_room(path, monkeypatch):
    file = audit.Audit(path, required=True)
    disk = FullDisk(monkeypatch, 0)
    file.ready()
    with pytest.raises(audit.AuditError, match="make room") as caught:
        file.write({"run": 0})
    assert isinstance(caught.value, SandboxError)
    assert caught.value.retryable
    with pytest.raises(audit.AuditError):
        file.ready()
    file.write({"run": 0}, withhold=False)
    disk.room = 1 << 20
    file.ready()
    file.write({"run": 1})
    assert [line.get("lost", line.get("run")) for line in read(path)] == [2, 1]
    file.close()


def test_a_torn_line_does_not_spoil_the_next(path, monkeypatch):
    file = audit.Audit(path)
    disk = FullDisk(monkeypatch, 5)
    file.write({"run": 0})
    disk.room = 1 << 20
    file.write({"run": 1})
    torn, lost, last = path.read_text().splitlines()
    assert torn == '{"run'
    assert json.loads(lost)["lost"] == 1
    assert json.loads(last) == {"run": 1}
    file.close()


def test_a_limit_of_the_kernel_is_met_as_a_full_disk_is(path):
    """The real thing: the kernel writes a part of a line, then refuses."""
    code = (
        "import sys; from sandbox.service.audit import Audit\n"
        "file = Audit(sys.argv[1])\n"
        "for number in range(9): file.write({'run': number, 'room': 'x' * 80})\n"
        "print(file._lost)\n"
    )

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))

    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True, preexec_fn=limit, timeout=60
    )
    whole = [line for line in path.read_text().splitlines() if line.endswith("}")]
    assert path.stat().st_size == 300
    assert 0 < len(whole) < 9
    assert int(done.stdout) == 9 - len(whole)


def test_after_the_file_was_moved_lines_go_into_a_new_one(path, tmp_path):
    file = audit.Audit(path)
    file.write({"run": 0})
    path.rename(tmp_path / "old")
    file.write({"run": 1})
    before = signal.signal(signal.SIGHUP, lambda *_: file.reopen())
    try:
        signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    file.write({"run": 2})
    assert read(tmp_path / "old") == [{"run": 0}, {"run": 1}]
    assert read(path) == [{"run": 2}]
    file.close()


def test_where_it_cannot_be_opened_again_the_old_one_is_kept(path, tmp_path):
    file = audit.Audit(path)
    path.rename(tmp_path / "old")
    path.symlink_to(tmp_path / "elsewhere")
    file.reopen()
    file.write({"run": 0})
    assert read(tmp_path / "old") == [{"run": 0}]
    assert not (tmp_path / "elsewhere").exists()
    file.close()


def test_threads_and_reopening_lose_and_mix_no_line(path, tmp_path):
    file = audit.Audit(path, required=True)

    def write(name):
        for number in range(200):
            file.write({"thread": name, "run": number, "room": "x" * 200})

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for number in range(5):
        path.rename(tmp_path / f"old{number}")
        file.reopen()
    for thread in threads:
        thread.join()
    found = [line for part in (path, *tmp_path.glob("old*")) for line in read(part)]
    assert len({(line["thread"], line["run"]) for line in found}) == len(found) == 800
    file.close()


def test_without_a_file_nothing_is_written_and_requiring_it_is_a_mistake():
    nothing = audit.Audit(None)
    nothing.ready()
    nothing.write({})
    nothing.reopen()
    nothing.close()
    with pytest.raises(RequestError, match="audit_file"):
        audit.Audit(None, required=True)


def test_after_close_a_required_line_is_missed(path):
    file = audit.Audit(path, required=True)
    file.close()
    with pytest.raises(audit.AuditError):
        file.write({"run": 0})
