"""One run in flight, without a driver: threads and asyncio both wait on `fileno()` and call `advance()`.

A session owns its lane and its ends of the three streams. All of them sit in one epoll object, so a driver watches a
single descriptor. Nothing here blocks.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
import weakref
from _socket import socket as Socket

from sandbox.kernel import terminal
from sandbox.launcher import wire
from sandbox.model import launch
from sandbox.model.errors import LauncherDied, ResourceError
from sandbox.model.launch import Ended
from sandbox.runtime.capture import Capture
from sandbox.runtime.feed import Feed
from sandbox.runtime.inflow import Inflow, pipe, widen

DRAIN_SECONDS = 0.2
DRAIN_BYTES = 16 << 20
CANCEL_SECONDS = 10.0  # a launcher answers in milliseconds, but on a host that is busy all over it waits for its turn
_PIECE = 65536
_MUCH = _PIECE // 2  # more than this, and whoever writes could have to wait for us
_REST_SECONDS = 0.001
_PAGE = 4096
_WIDE_PIPE_BYTES = 256 << 10  # what it holds counts as memory of the run
_EVERY: weakref.WeakSet[Session] = weakref.WeakSet()


class Session:
    """State of one run on the caller's side.

    Attributes:
        ended: the launcher's report, None until it is there.
        failure: (step, index, errno) of a failed launch.
        collected: memfd with the collected files, -1 for none.
        canceled: `cancel` was called before the end.
        closing: the run is being closed from another thread; who drives it stops.
        lost: the launcher's last word could not be received for want of descriptors.
        overdue: the launcher did not answer in time.
        error: what the caller's own callback or stdin raised; it ends the run and is raised to the caller.
    """

    def __init__(
        self,
        feed: Feed,
        out: Capture,
        err: Capture,
        *,
        tty: tuple[int, ...],
        lane: Socket | None = None,
    ) -> None:
        self._inflow = Inflow(feed, epoll := select.epoll())
        self._epoll = epoll
        self.out = out
        self.err = err
        self.ended: Ended | None = None
        self.failure: tuple[int, int, int] | None = None
        self.collected = -1
        self.canceled = False
        self.closing = False
        self.lost = self.overdue = False
        self.error: BaseException | None = None
        self.master = -1
        self._tty = tty
        self.passed: list[tuple[int, int]] = []  # (bit of `present`, descriptor) that go to the launcher
        self._streams: dict[int, Capture] = {}
        self._resting: list[int] = []
        self._rested = 0.0
        self._wake = -1
        self._deadline: float | None = None
        self._lane_open = False
        self._waking = threading.RLock()
        _EVERY.add(self)
        try:
            self._open(lane)
        except BaseException:
            self.close()
            raise

    def _open(self, lane: Socket | None) -> None:
        """Make the lane and the streams. A failure half-way leaves a session that `close` can close."""
        self._open_lane(lane)
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._open_streams()

    def _open_lane(self, lane: Socket | None) -> None:
        if lane is None:
            ours, theirs = wire.pair()
            self.passed.insert(0, (launch.FD_LANE, theirs.detach()))
            lane = ours
        self._lane = lane
        self._epoll.register(self._lane, select.EPOLLIN)
        self._lane_open = True

    def _open_streams(self) -> None:
        if self._tty:
            return
        self.passed.append((launch.FD_STDIN, self._inflow.open()))
        for bit, capture in ((launch.FD_STDOUT, self.out), (launch.FD_STDERR, self.err)):
            reader, writer = pipe(0o222)
            self.passed.append((bit, writer))
            self._watch_output(reader, capture)
        self._inflow.begin()

    def _watch_output(self, fd: int, capture: Capture) -> None:
        os.set_blocking(fd, False)
        self._streams[fd] = capture
        self._epoll.register(fd, select.EPOLLIN)

    def fileno(self) -> int:
        """Readable when `advance` has something to do."""
        return self._epoll.fileno()

    def timeout(self) -> float | None:
        """Seconds until `advance` must be called in any case; None for never."""
        ends = [end for end in (self._deadline, self._rested if self._resting else None) if end is not None]
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    def launched(self, seconds: float) -> None:
        """The LAUNCH was sent: close the descriptors that are the launcher's now. An answer must come within `seconds`."""
        self._deadline = time.monotonic() + seconds
        self._close_passed()

    def renew_lane(self) -> None:
        """Another lane, for a launch that does not depend on a parked sandbox; nothing that was fed is lost."""
        self._epoll.unregister(self._lane)
        self._lane.close()
        self._lane_open = False
        self._open_lane(None)

    @property
    def lane(self) -> Socket:
        """Our end of it."""
        return self._lane

    def _close_passed(self) -> None:
        passed, self.passed = self.passed, []
        wire.close_all([fd for _, fd in passed])

    def cancel(self) -> None:
        """Ask for the end of the run; the result still comes (outcome canceled), within CANCEL_SECONDS."""
        if self._lane_open and self.ended is None:
            self.canceled = True
            self._kill()
            self._deadline = time.monotonic() + CANCEL_SECONDS
            self.wake()

    def wake(self) -> None:
        """Let the driver, which may wait in another thread, look again."""
        with self._waking:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of the payload's terminal, if it has one."""
        if self.master >= 0:
            terminal.set_size(self.master, rows, columns)

    def _kill(self) -> None:
        with contextlib.suppress(OSError):  # the launcher is gone: its end of the lane tells so
            wire.send(self._lane, (launch.KILL,), wait=False)

    @property
    def done(self) -> bool:
        """Nothing more will come."""
        over = self.ended is not None or self.failure is not None or not self._lane_open
        return over and (not self._streams or self.failure is not None)

    def advance(self) -> bool:
        """Handle everything that is ready, without waiting. Returns `done`."""
        for fd, _ in self._epoll.poll(0):
            if self._lane_open and fd == self._lane.fileno():
                self._on_lane()
            elif fd == self._wake:
                os.eventfd_read(fd)
            else:
                if fd in self._streams:
                    self._on_output(fd)
                if self._inflow.is_for(fd):  # a terminal is both
                    self._on_stdin(fd)
        if self._resting and time.monotonic() >= self._rested:
            self._end_rest()
        if self._deadline is not None and time.monotonic() >= self._deadline:
            self._give_up()
        return self.done

    def _give_up(self) -> None:
        """Too late: streams that are still open belong to nobody, a lane that does not answer is closed."""
        for fd in list(self._streams):
            most = self._streams[fd].total + DRAIN_BYTES
            while fd in self._streams and self._streams[fd].total < most and self._on_output(fd):
                continue
            if fd in self._streams:
                self._close_stream(fd)
        if self.ended is None and self.failure is None and self._lane_open:
            self.overdue = True
            self._close_lane()

    def _on_lane(self) -> None:
        try:
            packet = wire.receive(self._lane, wait=False)
        except BlockingIOError:
            return
        except wire.LostDescriptors:
            self.lost, packet = True, None
        except (OSError, wire.WireError):
            packet = None
        if packet is None:
            self._close_lane()
            return
        message, fds = packet
        if message[0] == launch.STARTED:
            if fds:
                self._on_master(fds.pop(0))
        elif message[0] == launch.ENDED:
            self.ended = Ended.from_tuple(message[1])
            self.collected = fds.pop(0) if fds else -1
            self._deadline = time.monotonic() + DRAIN_SECONDS
            self._inflow.close()
            self._end_rest()
        elif message[0] == launch.FAILED:
            self.failure = (message[1], message[2], message[3])
        wire.close_all(fds)

    def _on_master(self, master: int) -> None:
        self.master = master
        self._watch_output(master, self.out)
        self._inflow.adopt(master)

    def _on_output(self, fd: int) -> bool:
        """Take one piece; False when there is none now."""
        capture = self._streams[fd]
        try:
            data = os.read(fd, _PIECE)
        except BlockingIOError:
            return False
        except OSError:  # EIO: the last process with the terminal is gone
            data = b""
        if not data:
            self._close_stream(fd)
        elif capture is self.out and capture.total < _PAGE <= capture.total + len(data):
            widen(fd, _WIDE_PIPE_BYTES)  # much may come: let it not wait for us
        before = capture.exceeded
        try:
            capture.add(data)
        except Exception as error:  # noqa: BLE001 - the caller's callback: its error is raised from wait()
            self.error = error
            self.cancel()
        if capture.exceeded and not before:
            self._stop_output(fd)
        elif 0 < len(data) < _MUCH and not capture.is_followed and not self._tty and self._lane_open and self.ended is None:
            self._rest(fd)
        return bool(data)

    def _rest(self, fd: int) -> None:
        """Nobody waits for what comes in small pieces: let some gather before it is taken. Its end is still told at once."""
        if fd in self._resting:
            return
        self._epoll.modify(fd, 0)
        if not self._resting:
            self._rested = time.monotonic() + _REST_SECONDS
        self._resting.append(fd)

    def _end_rest(self) -> None:
        resting, self._resting = self._resting, []
        for fd in resting:
            if fd in self._streams and not self._streams[fd].exceeded:
                self._epoll.modify(fd, select.EPOLLIN)

    def _stop_output(self, fd: int) -> None:
        """Too much: the run is killed, and nothing more is taken until it has ended, so that it waits and not we."""
        self._inflow.close()
        self._epoll.modify(fd, 0)  # its end is still told
        self._kill()

    def _close_stream(self, fd: int) -> None:
        del self._streams[fd]
        self._epoll.unregister(fd)
        if fd == self.master:
            self.master = -1
            self._inflow.lose()
        os.close(fd)

    def _on_stdin(self, fd: int) -> None:
        self._inflow.advance(fd)
        if self._inflow.error is not None and self.error is None:  # of the caller's own code: it is raised from wait()
            self.error = self._inflow.error
            self.cancel()

    def _close_lane(self) -> None:
        self._lane_open = False
        self._epoll.unregister(self._lane)
        self._lane.close()
        self._deadline = time.monotonic() + DRAIN_SECONDS

    def check(self) -> None:
        """Raise what is no result: a caller's own error, a dead launcher."""
        if self.error is not None:
            raise self.error
        if self.ended is None and self.failure is None:
            if self.lost:
                raise ResourceError("the end of the run could not be received", hint="this process is out of descriptors")
            if self.overdue:
                raise LauncherDied("the launcher did not answer in time; the sandbox was dropped with its lane")
            raise LauncherDied("the launcher ended during the run; every sandbox in it was killed", hint="try again")

    def close(self) -> None:
        """Let go of everything. The launcher kills a sandbox whose lane is closed."""
        self._inflow.close()
        for fd in list(self._streams):
            self._close_stream(fd)
        if self._lane_open:
            self._close_lane()
        self._close_passed()
        with self._waking:  # its number may be somebody else's at once
            wire.close_all([self._wake, self.collected])
            self._wake = self.collected = -1
        self._epoll.close()

    def forget(self) -> None:
        """In a forked child: close our copies, so that the parent's pipes and lanes end when it says so."""
        self._waking = threading.RLock()
        wire.close_all([fd for fd in (*self._streams, self.collected, self._wake) if fd >= 0])
        self._inflow.forget()
        self._streams.clear()
        self.collected = self.master = self._wake = -1
        self._close_passed()
        if self._lane_open:
            self._lane_open = False
            self._lane.close()
        self._epoll.close()


def _after_fork() -> None:
    for session in list(_EVERY):
        with contextlib.suppress(OSError, ValueError):
            session.forget()


os.register_at_fork(after_in_child=_after_fork)
