"""`LaunchRequest`: what one run adds to the plan, and the reports that come back. All of it crosses the wire."""

from __future__ import annotations

from sandbox.model.record import Record

# messages from the caller on the control socket (first item of the tuple)
START = 1  # to the keeper: the control groups to remove at the end
LAUNCH = 2  # to the launcher: present descriptors, request; on the lane of a parked sandbox the same
PARK = 3  # to the launcher: as LAUNCH, but set the sandbox up only
# messages from the caller on a lane
KILL = 10
# messages from init to the launcher only
EXECUTED = 15
# messages from the launcher to the caller: on the control socket
HELLO = 20
READY = 21
START_FAILED = 22
# and on a lane
STARTED = 30
ENDED = 31
FAILED = 32

# why the launcher ended a sandbox (field `killed_by` of Ended)
NOT_KILLED = 0
BY_CALLER = 1
BY_WALL = 2
BY_CPU = 3
BY_IDLE = 4
BY_SYSCALL = 5
BY_OOM = 6
BY_LANE = 7

# the fds that may travel with LAUNCH and PARK, in this order; `present` has a bit for each
FD_LANE = 1 << 0
FD_STDIN = 1 << 1
FD_STDOUT = 1 << 2
FD_STDERR = 1 << 3
FD_FILES = 1 << 4
FD_PROGRAM = 1 << 5
FD_CPU = 1 << 6
FD_OOM = 1 << 7
FD_CGROUP2 = 1 << 8
FD_PEAK = 1 << 9
FD_STREAMS = FD_STDIN | FD_STDOUT | FD_STDERR | FD_FILES | FD_PROGRAM  # those that go on to the process that becomes the payload
# and after these `joins` descriptors of cgroup.procs files (v1)

# what a warm interpreter runs, and the switches that it knows (field `warm` of Program)
PY_SCRIPT = 1
PY_CODE = 2
PY_MODULE = 3
PY_UNBUFFERED = 1 << 0
PY_NO_BYTECODE = 1 << 1
PY_SAFE_PATH = 1 << 2


class Program(Record):
    """What is executed: read by the process that becomes the payload, and by nobody else.

    Attributes:
        argv: the arguments; `candidates` are the absolute paths tried for argv[0], in order.
        environment: NAME=value strings.
        cwd: absolute path inside.
        rlimits: (resource, soft, hard), instead of the plan's where the same resource appears.
        warm: () executes it. (kind, place, switches) lets a warm interpreter run it, when one of the candidates is that: `place`
            is the number of the argument that is the script, code or module.
    """

    argv: tuple[bytes, ...]
    candidates: tuple[bytes, ...]
    environment: tuple[bytes, ...]
    cwd: bytes
    rlimits: tuple[tuple[int, int, int], ...]
    warm: tuple[int, ...] = ()


class LaunchRequest(Record):
    """One run.

    Attributes:
        program: an encoded `Program`; empty while a sandbox is parked, and where it travels in a memfd (FD_PROGRAM).
        wall_ns, cpu_ns, idle_ns: deadlines; idle 0 = none.
        cpus: how many CPUs the run can use at once (for the time of the next CPU check).
        scratch_bytes, scratch_inodes: size of the run's private tmpfs.
        joins: number of cgroup.procs descriptors (v1).
        tty: (rows, columns), or () without a terminal.
        collect: relative names of files and directories to collect (b"." is everything).
        collect_bytes, collect_files: bounds of the collection.
        oom_bytes: the peak from which on the group itself is out of memory (v1).
        pids, memory_bytes: in degraded mode the sampled limits; 0 where the cgroup holds them.
    """

    program: bytes
    wall_ns: int
    cpu_ns: int
    idle_ns: int
    cpus: int
    scratch_bytes: int
    scratch_inodes: int
    joins: int
    tty: tuple[int, ...]
    collect: tuple[bytes, ...]
    collect_bytes: int
    collect_files: int
    oom_bytes: int
    pids: int
    memory_bytes: int


class Ended(Record):
    """How a sandbox ended, as the launcher saw it. Times are CLOCK_MONOTONIC nanoseconds.

    Attributes:
        init_ok: init reported; False when it was killed itself (then `status` is init's own wait status).
        status: wait status of the main process, as from waitpid(2).
        killed_by: NOT_KILLED, BY_CALLER, BY_WALL…; `killed_value` what was measured then.
        received, started, ended: request received; payload about to be executed (its input files are written); its
            processes gone (init may live for a moment).
        init_user_ns, init_system_ns: CPU of init itself, to be subtracted from the cgroup's.
        user_ns, system_ns: CPU of every process that was waited for or sampled (stands in without a cgroup).
        max_rss_bytes: largest single process; 0 when none was clearly larger than init (stands in without a cgroup).
        peak_pids, peak_rss_bytes: highest sampled values in degraded mode, else 0.
        scratch_free_bytes, scratch_free_inodes: of the private tmpfs at the end; -1 unknown.
        file_reached_bytes: size of a file that reached RLIMIT_FSIZE, 0 if none was found (looked for when it may matter).
        left_alive: other processes were alive when the main one ended, and were killed with the sandbox.
        denied: (syscall number, times) reported by the notify filter, in order of first appearance.
    """

    init_ok: bool
    status: int
    killed_by: int
    killed_value: int
    received: int
    started: int
    ended: int
    init_user_ns: int
    init_system_ns: int
    user_ns: int
    system_ns: int
    max_rss_bytes: int
    peak_pids: int
    peak_rss_bytes: int
    scratch_free_bytes: int
    scratch_free_inodes: int
    file_reached_bytes: int
    left_alive: bool
    denied: tuple[tuple[int, int], ...]
