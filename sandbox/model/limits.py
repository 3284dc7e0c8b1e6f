"""`Limits`: what one run may use. Every number carries its unit in its name; there is no "unlimited"."""

from __future__ import annotations

from sandbox.model.data import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of one run, all finite.

    Attributes:
        cpu_ns: CPU time (user and system, all processes together).
        wall_ns: elapsed time from the start of the payload.
        idle_ns: elapsed time in which nothing ran or was ready to run; 0 means it is not watched.
        memory_bytes: cgroup memory limit; swap is always off.
        pids: processes and threads at one time.
        cpu_quota_millicpus: CPU bandwidth, 1000 is one whole CPU; 0 means no bandwidth limit.
        output_bytes: kept of stdout and of stderr, each; exceeding it ends the run.
        scratch_bytes: all private writable places together (/tmp, /dev/shm, the work directory, an overlay).
        scratch_inodes: files, directories and links in them.
        file_bytes: size of one file (RLIMIT_FSIZE).
        open_files: descriptors of one process (RLIMIT_NOFILE).
        stack_bytes: stack of one thread (RLIMIT_STACK).
        collect_bytes: bytes of collected files, all together.
        collect_files: number of collected files.
    """

    cpu_ns: int
    wall_ns: int
    idle_ns: int
    memory_bytes: int
    pids: int
    cpu_quota_millicpus: int
    output_bytes: int
    scratch_bytes: int
    scratch_inodes: int
    file_bytes: int
    open_files: int
    stack_bytes: int
    collect_bytes: int
    collect_files: int
